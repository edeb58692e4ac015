"""Runs a program as the leader of a process group of its own, and ends that group as a whole.

A build starts compilers and a task starts shells: ending only the first process would leave the others running.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# A line of a log may be long (pip prints whole requirement lists, Airflow whole tracebacks in one JSON line).
LINE_LIMIT = 64 * 1024 * 1024

# What a child may know of its parent's environment. Everything else (PIP_*, AIRFLOW__*, proxies, tokens) stays out.
INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")


def clean_environment(*, first_on_path: Path) -> dict[str, str]:
    """Return a small process environment with one folder in front of PATH."""
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment["PATH"] = f"{first_on_path}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment


async def end_group(process: asyncio.subprocess.Process, *, grace: float = 5) -> None:
    """End a process that was started with ``start_new_session=True`` and all that it started: TERM, wait, KILL.

    Without a time of grace: KILL at once.
    """
    if grace > 0:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
    # The leader may be gone while a child of it lives: the group is killed in any case.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # Airflow puts each task into a group of its own, but the session stays the same.
    for member in living_members(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    await process.wait()
    # asyncio leaves the pipes of a process open until they are read to their end, and has no public way to close them.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def living_members(session: int) -> list[int]:
    """The processes of a session that live; a zombie that nobody reaps does not count. None where there is no /proc."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # pid (name) state ppid pgrp session …; the name may hold anything, so read from behind it.
            state, _, _, member_of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(member_of) == session and state not in {"Z", "X"}:
                found.append(int(folder.name))
    return found


async def run_lines(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    on_line: Callable[[str], None],
    on_start: Callable[[asyncio.subprocess.Process], None] = lambda _: None,
) -> int:
    """Run a program to its end and hand over each line of its output (both streams) as it appears.

    `on_start` gets the process, which somebody else may end with `end_group`. Returns the exit code. The program reads
    nothing. When the caller is cancelled (a time limit, a shutdown), the program's group is ended before the
    cancellation goes on.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
        limit=LINE_LIMIT,
    )
    assert process.stdout is not None
    on_start(process)
    try:
        while line := await process.stdout.readline():
            on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
        return await process.wait()
    finally:
        # Shielded: a second cancellation must not leave the group running.
        await asyncio.shield(end_group(process))
