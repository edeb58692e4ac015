"""Processes that take turns: of all tries that are under way, one runs, until its next call but k; the others are held.

Who is next, and for how many calls, is chance's choice, and chance is a seed: so what the processes do to each other is
the same at every replay. A try is a process of its own, forked from this one, as in `tries`; it waits in the sandbox
(`hold_before`), which lets it go on, or, when it is to die, does not.
"""

from __future__ import annotations

import http.client
import os
import random
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from proof.dag_run import DONE, DagRun, Journal, Key, live_by
from proof.google import CALLER, Google

SECONDS = 240.0
"""Of the wall clock, for one turn."""


class Steps(DagRun):
    """A DAG run whose task instances run side by side, each try in a process of its own."""

    def ready(self) -> dict[Key, Any]:
        """The instances that may begin, or begin again, or are under way; what their trigger rules forbid is settled.

        Empty: the run has ended.
        """
        ended: set[str] = set()
        found: dict[Key, Any] = {}
        for task in self._dag.topological_sort():
            if task.upstream_task_ids <= ended:
                instances = list(self._instances(task))
                waiting = {key: make for key, make in instances if not self._has_ended(key)}
                found |= waiting
                if not waiting:
                    ended.add(task.task_id)
        return found

    def attempt(self, key: Key) -> None:
        """One try, in this process."""
        self._try(key, self.ready()[key])

    def _has_ended(self, key: Key) -> bool:
        return key in self._journal.ended and self._journal.ended[key].state in DONE


@dataclass
class Try:
    """A try that is under way."""

    run: str
    key: Key
    journal: Path
    log: Path
    dag: Any
    started: datetime
    seed: float
    """Of what Google's clients leave to chance: how long they wait before a retry."""
    process: int = 0
    """0: not begun."""
    held: int | None = None
    """The number of the call that it waits in."""

    def __str__(self) -> str:
        return f"{self.run}/{self.key}"


@dataclass(frozen=True)
class Turn:
    """How a turn ended."""

    end: str
    """held, killed or ended."""
    calls: tuple[int, int]
    """Numbers of the calls that arrived in it: from, up to."""
    released: int | None
    """The call that was held before."""


class Turns:
    """Lets tries run, one at a time."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self._waiting = 0
        """How many calls are held."""

    def go(self, one: Try, calls: int, fault: Mapping[str, Any] | None, kill: str | None) -> Turn:
        """Let a try run until `calls` of its calls are over, or its end. `fault` hits one of them; `kill`: before or
        after, it is killed at the call that comes then.
        """
        since = self._count()
        hold = {"method": "*", "kind": f"hold_{kill or 'before'}", "skip": calls}
        self._google.post("faults", [*([dict(fault)] if fault else []), hold])
        released, one.held = one.held, None
        ended, held = self._wait(one, released)
        self._forget_faults()
        until = self._count()
        if ended is not None:
            _check(one, ended)
            return Turn("ended", (since, until), released)
        number = held
        if kill is None:
            self._waiting, one.held = self._waiting + 1, number
            return Turn("held", (since, until), released)
        os.kill(one.process, signal.SIGKILL)
        os.waitpid(one.process, 0)
        self._google.post("held", {"number": number, "go_on": False})
        return Turn("killed", (since, until), released)

    def _wait(self, one: Try, released: int | None) -> tuple[int | None, int | None]:
        """Begin or go on, until it ends (its status) or is held (the number of the call)."""
        before = {call["number"] for call in self._google.get("held")["held"]} if self._waiting else set()
        before.discard(released)
        if released is None:
            one.process = os.fork()
            if one.process == 0:
                _in_child(self._google, one)
        else:
            self._waiting -= 1
            self._google.post("held", {"number": released, "go_on": True})
        handle = os.pidfd_open(one.process)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._google.port, timeout=SECONDS + 20)
            with closing(connection):
                connection.request("GET", f"/sandbox/held?wait={SECONDS:.0f}&more_than={len(before)}")
                ready, _, _ = select.select([handle, connection.sock], [], [], SECONDS)
                if not ready:
                    raise RuntimeError(f"{one} neither called nor ended: {one.log.read_text()[-2000:]}")
                if handle in ready:
                    return os.waitpid(one.process, 0)[1], None
        finally:
            os.close(handle)
        new = [call["number"] for call in self._google.get("held")["held"] if call["number"] not in before]
        if len(new) != 1:
            raise RuntimeError(f"{one} is held in {len(new)} calls: its calls have no order")
        return None, new[0]

    def _count(self) -> int:
        count: int = self._google.get("calls?since=1000000000")["count"]
        return count

    def _forget_faults(self) -> None:
        url = f"http://127.0.0.1:{self._google.port}/sandbox/faults?keep_held=true"
        self._google._own.delete(url, timeout=30).raise_for_status()


def _check(one: Try, status: int) -> None:
    if os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"the harness failed in {one}: {one.log.read_text(errors='replace')[-3000:]}")


def _in_child(google: Google, one: Try) -> None:
    """One try, and the end of the process: 2 for our own defects."""
    code = 2
    try:
        handle = os.open(one.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        live_by(google.port)
        random.seed(one.seed)
        _one_call_at_a_time()
        Steps(one.dag, Journal(one.journal), one.started, google.port).attempt(one.key)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _one_call_at_a_time() -> None:
    """Threads of the product that call side by side would make an order that no seed knows: one of each is left."""
    from airflow_gar_provider.steps import plan, supply  # noqa: PLC0415 -- the child's

    plan.CONNECTIONS = supply._AT_ONCE = 1  # type: ignore[attr-defined]


def of_product(call: Mapping[str, Any]) -> bool:
    """Whether a call is the product's, or one for its token; not what google-auth asks in a thread of its own."""
    return call["principal"] in (CALLER, None) and not call["method"].endswith("GetAllowedLocations")
