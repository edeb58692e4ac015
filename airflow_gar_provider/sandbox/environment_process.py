"""The program that runs inside an environment's image: its scheduler and its REST API, without a network.

It is started as a script by the image's Python (see `environment_airflow.py`) and is never imported by the sandbox. It
imports Airflow once and forks: one child answers REST requests with **Airflow's own API application**, called in
process; others parse the DAG folder into the database or run one queued DAG run, one at a time. Each try of a task is a
fork of its own. So a run costs no import of Airflow, and user code never stays in the long-lived process.

Orders arrive as JSON lines on standard input: `{"id": 1, "do": "parse"}` or `{"id": 2, "do": "run"}`; each is
answered on
the original standard output with `{"id": 1, "code": 0}`. Requests and answers go over the socket whose number is the
first
argument. The end of standard input ends everything.

Not played: schedules (only runs that somebody triggers), parallel tasks, a triggerer process (a deferred task's trigger
runs in line, as in `airflow dags test`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LINE_LIMIT = 64 * 1024 * 1024
IDLE_SECONDS = 0.3
POLL_SECONDS = 0.02


def main() -> None:
    """Serve orders until standard input ends."""
    api = socket.socket(fileno=int(sys.argv[1]))
    answers = os.dup(1)
    os.dup2(2, 1)  # what Airflow prints belongs to the process log, not between the answers
    airflow = airflow_part()
    airflow.alone = len(sys.argv) == 2
    airflow.prepare()
    children: dict[int, int] = {}
    try:
        api_pid = fork(lambda: serve_requests(api, airflow))
        children[api_pid] = 0
        api.close()
        serve_orders(airflow, children, api_pid, answers)
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def airflow_part() -> Any:
    """Return the module for the Airflow of this image: what differs between 2 and 3 is there.

    It is beside this file, and loaded by path: on sys.path this folder would give user code an `errors` and a `store`.
    """
    major = version("apache-airflow").partition(".")[0]
    spec = spec_from_file_location("_sandbox_airflow", Path(__file__).parent / f"environment_airflow{major}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def fork(work: Callable[[], int]) -> int:
    """Run a function in a child process whose exit code it returns; an exception is printed and becomes 1."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def serve_orders(airflow: Any, children: dict[int, int], api_pid: int, answers: int) -> None:
    """Start a child for each order and report its exit code; `children` maps a process to its order."""
    warm = not airflow.alone  # beside a scheduler it runs nothing
    buffer = b""
    while True:
        idle = len(children) == 1 and not warm
        ready, _, _ = select.select([0], [], [], IDLE_SECONDS if idle else POLL_SECONDS if len(children) > 1 else 1.0)
        if ready:
            chunk = os.read(0, 65536)
            if not chunk:
                return
            *orders, buffer = (buffer + chunk).split(b"\n")
            for order in map(json.loads, orders):
                if order["do"] == "run" and not warm:
                    airflow.warm()
                    warm = True
                work = {"parse": airflow.parse, "run": airflow.run_next}[order["do"]]
                children[fork(work)] = order["id"]
        elif idle:
            # The slow part of a first run is done while nobody waits.
            airflow.warm()
            warm = True
        for pid, code in ended(children):
            if pid == api_pid:
                return
            os.write(answers, json.dumps({"id": children.pop(pid), "code": code}).encode() + b"\n")


def ended(children: Mapping[int, int]) -> list[tuple[int, int]]:
    """Return the children that have ended, with their exit codes (negative: the signal)."""
    found = []
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            found.append((pid, os.waitstatus_to_exitcode(status)))
    return found


def serve_requests(api: socket.socket, airflow: Any) -> int:
    """Answer REST requests, one JSON line each, with Airflow's own application until the other end closes."""
    asyncio.run(_serve_requests(api, airflow))
    return 0


async def _serve_requests(api: socket.socket, airflow: Any) -> None:
    reader, writer = await asyncio.open_connection(sock=api, limit=LINE_LIMIT)
    call = airflow.application()
    pending: set[asyncio.Task[None]] = set()

    async def answer(line: bytes) -> None:
        request = json.loads(line)
        try:
            status, body = await call(request["method"], request["path"], request["query"], request["body"])
        except Exception:
            status, body = 500, {"detail": traceback.format_exc()}
        writer.write(json.dumps({"id": request["id"], "status": status, "body": body}).encode() + b"\n")

    while line := await reader.readline():
        task = asyncio.ensure_future(answer(line))
        pending.add(task)
        task.add_done_callback(pending.discard)


if __name__ == "__main__":
    main()
