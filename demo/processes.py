"""One process with a log file, and the end of everything that it started.

Airflow's components make process groups of their own (every task is one), so ending a group leaves orphans. They make
no sessions: each component is started as the leader of a session, and the session is what is counted and ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # comes with Airflow, without types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

ALONE = 3.0
"""Seconds after which a leader that was told to end, and has no child left, is killed. Airflow's triggerer otherwise
waits ten more seconds for the child that has ended already, also when it is told again."""


@dataclass(frozen=True)
class Socket:
    """One socket that waits for others: a TCP listener, or a bound UDP socket."""

    pid: int
    """The process that holds it."""
    kind: str
    """``tcp`` or ``udp``."""
    address: str
    """The local address, such as ``127.0.0.1`` or ``0.0.0.0``."""
    port: int
    """The local port."""


class Component:
    """A process in a session of its own, in `folder` (ours when None); what it prints goes to a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        log_file: Path,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.log_file = log_file
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                cwd=folder,
                start_new_session=True,
            )

    @property
    def session(self) -> int:
        """The session's id, which is the process's id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status, or None as long as the process runs."""
        return self._process.poll()

    def wait(self, timeout: float) -> int | None:
        """Wait for the process itself; returns its exit status, or None when it still runs after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def last_lines(self, count: int = 15) -> list[str]:
        """The last lines of the log, without empty ones."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]


def members(sessions: Iterable[int]) -> list[psutil.Process]:
    """All living processes of these sessions."""
    wanted = set(sessions)
    return [process for process in psutil.process_iter() if _session_of(process) in wanted]


def _session_of(process: psutil.Process) -> int | None:
    """The process's session; None when it has ended, or is somebody else's."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (OSError, psutil.Error):
        return None


def listening_sockets(sessions: Iterable[int]) -> list[Socket]:
    """Every socket of these sessions that others could reach."""
    found = []
    for process in members(sessions):
        try:
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        for connection in connections:
            is_tcp = connection.type == 1  # SOCK_STREAM
            if connection.laddr and (connection.status == psutil.CONN_LISTEN if is_tcp else not connection.raddr):
                kind = "tcp" if is_tcp else "udp"
                found.append(Socket(process.pid, kind, connection.laddr.ip, connection.laddr.port))
    return found


def end(sessions: Sequence[int], *, grace: float) -> None:
    """End all processes of these sessions: TERM to the leaders, wait up to `grace` seconds, KILL what is left.

    The leaders get the first TERM alone, because each of them ends its children in order; a child that dies under a
    living leader is started again, or is reported as a failed task.
    """
    _signal([process for process in members(sessions) if process.pid in sessions], signal.SIGTERM)
    start = time.monotonic()
    while (left := members(sessions)) and time.monotonic() < start + grace:
        leaders = {process.pid for process in left if process.pid in sessions}
        _signal([process for process in left if _session_of(process) not in leaders], signal.SIGTERM)  # orphans
        if time.monotonic() > start + ALONE:
            busy = {_session_of(process) for process in left if process.pid not in leaders}
            _signal([process for process in left if process.pid in leaders - busy], signal.SIGKILL)
        time.sleep(0.2)
    deadline = time.monotonic() + 5
    while (left := members(sessions)) and time.monotonic() < deadline:
        _signal(left, signal.SIGKILL)
        time.sleep(0.05)


def kill(session: int) -> None:
    """End a session as a machine's death does: KILL to all of it at once, until nothing is left."""
    deadline = time.monotonic() + 5
    while (left := members([session])) and time.monotonic() < deadline:
        _signal(left, signal.SIGKILL)
        time.sleep(0.02)


def _signal(living: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in living:
        with suppress(psutil.Error):
            process.send_signal(number)  # psutil checks that the pid was not reused


class Keeper:
    """Ends the sessions that it was told when we die without ending them ourselves (SIGKILL, power of the OOM killer).

    It is a small process that reads session ids from a pipe. The pipe's end is our death; `release` is our orderly end.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__], stdin=subprocess.PIPE, start_new_session=True, text=True
        )
        assert self._process.stdin is not None
        self._pipe: IO[str] = self._process.stdin

    def watch(self, session: int) -> None:
        """Add a session."""
        self._pipe.write(f"{session}\n")
        self._pipe.flush()

    def release(self) -> None:
        """Say that all sessions have ended, and end the keeper."""
        try:
            self._pipe.write("released\n")
            self._pipe.close()
        except BrokenPipeError:  # somebody ended the keeper; there is nothing left for it to do
            pass
        self._process.wait(10)


def _keep() -> None:
    """Run as the keeper: read sessions until the pipe ends, then end them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: list[int] = []
    for line in sys.stdin:
        if line.strip() == "released":
            return
        sessions.append(int(line))
    end(sessions, grace=10)


if __name__ == "__main__":
    _keep()
