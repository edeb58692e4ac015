"""Tries in processes of their own, which are killed when the call comes at which they are to die.

A try is forked from this process, which has imported everything and opened nothing: no connection, no thread. It is
killed by SIGKILL while the sandbox holds its call.
"""

from __future__ import annotations

import http.client
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from proof.dag_run import DagRun, Ended, Journal, Key, live_by
from proof.google import Google
from proof.world import World

PROCESSES = 12
"""After so many a run does not end any more."""
SECONDS = 300.0
"""Of the wall clock, for one process."""


@dataclass(frozen=True)
class Run:
    """What one run came to."""

    ended: dict[Key, Ended]
    """How each task instance ended."""
    history: list[tuple[Key, Ended]]
    """Every try that was not killed."""
    calls: list[dict[str, Any]]
    """Every call to Google, in the order of their arrival, as the sandbox recorded it."""
    state: dict[str, Any]
    """Of the world afterwards (`World.state`)."""
    hit: dict[str, Any] | None
    """The call that was held, or hit by a fault; None when the run had ended before."""
    killed: int
    """Processes that were killed."""
    log: str
    """What all its processes printed."""


def run(
    google: Google, world: World, make_dag: Callable[[World], Any], faults: list[dict[str, Any]], home: Path
) -> Run:
    """Run a DAG in a world, with faults queued before its first call; to its end, as Airflow would."""
    assert threading.active_count() == 1, "a thread here would be lost in the forked process"
    journal, log = home / "journal", home / "log"
    for path in (journal, log):
        path.unlink(missing_ok=True)
    started = datetime.fromisoformat(google.get("time")["now"].replace("Z", "+00:00"))
    since, killed = len(google.calls()), 0
    google.clear_faults()
    if faults:
        google.post("faults", faults)
    for _ in range(PROCESSES):
        over, was_killed = _process(google, world, make_dag, started, journal, log, watched=not killed and bool(faults))
        killed += was_killed
        if over:
            break
    else:
        raise RuntimeError(f"it did not end in {PROCESSES} processes")
    google.clear_faults()
    calls = google.calls(since)
    hit = next((call for call in calls if "fault" in call), None)
    written = Journal(journal)
    return Run(written.ended, written.history, calls, world.state(), hit, killed, log.read_text(errors="replace"))


def _process(  # noqa: PLR0917 -- private
    google: Google,
    world: World,
    make_dag: Callable[[World], Any],
    started: datetime,
    journal: Path,
    log: Path,
    *,
    watched: bool,
) -> tuple[bool, bool]:
    """One process; whether the run has ended with it, and whether it was killed."""
    with closing(google.wait_for_held()) if watched else closing(http.client.HTTPConnection("127.0.0.1")) as held:
        child = os.fork()
        if child == 0:
            _in_child(google, world, make_dag, started, journal, log)
        handle = os.pidfd_open(child)
        try:
            waited = [handle, held.sock] if held.sock is not None else [handle]
            ready, _, _ = select.select(waited, [], [], SECONDS)
            if handle not in ready:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        finally:
            os.close(handle)
    if not ready:
        raise RuntimeError(f"a process did not end in {SECONDS:.0f} s: {log.read_text(errors='replace')[-2000:]}")
    if os.WIFSIGNALED(status):
        google.clear_faults()  # what is held is let go, and never done
        return False, True
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise RuntimeError(f"the harness failed: {log.read_text(errors='replace')[-3000:]}")
    return code == 0, False


def _in_child(  # noqa: PLR0917 -- private
    google: Google, world: World, make_dag: Callable[[World], Any], started: datetime, journal: Path, log: Path
) -> None:
    """Go on with the run, and end: 0 when it has ended, 1 when another process has to go on, 2 for our own defects."""
    code = 2
    try:
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        live_by(google.port)
        code = 0 if DagRun(make_dag(world), Journal(journal), started, google.port).go_on() else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
