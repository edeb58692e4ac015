"""The program in an environment's image (`environment_process.py`), seen from the sandbox: orders, requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.sandbox.process_group import LINE_LIMIT, end_group

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAM = Path(__file__).with_name("environment_process.py")


class EndedError(RuntimeError):
    """The process ended before it answered."""


class Child:
    """The child in the image: orders over its standard streams, requests over a socket pair."""

    def __init__(self, process: asyncio.subprocess.Process, image: Path, dags: Path, log: Path) -> None:
        self.process = process
        self.image = image
        self.dags = dags
        self.log = log
        self.parsed: str | None = None
        self.alive = True
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._requests: asyncio.StreamWriter

    @classmethod
    async def start(
        cls, image: Path, dags: Path, home: Path, environment: Mapping[str, str], *, alone: bool = True
    ) -> Child:
        """Start the child. What it prints goes to a file in the environment's folder.

        `alone`: it also runs what is triggered, as there is no scheduler beside it.
        """
        log = home / "process.log"
        ours, its = socket.socketpair()
        with its, log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                str(image / "bin" / "python"),
                "-I",  # keeps this package's folder out of the user code's sys.path
                "-B",
                str(_PROGRAM),
                str(its.fileno()),
                *([] if alone else ["beside-a-scheduler"]),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                cwd=home,
                env=dict(environment),
                pass_fds=(its.fileno(),),
                start_new_session=True,
            )
        self = cls(process, image, dags, log)
        reader, self._requests = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
        assert process.stdout is not None
        self._tasks = [asyncio.create_task(self._read(stream)) for stream in (reader, process.stdout)]
        return self

    async def order(self, do: str) -> int:
        """Have the child parse the folder or run what is queued; return its exit code."""
        assert self.process.stdin is not None
        answer = await self._ask(self.process.stdin, {"do": do})
        return int(answer["code"])

    async def request(self, method: str, path: str, query: Mapping[str, str], body: object) -> tuple[int, object]:
        """Ask Airflow's REST application."""
        question = {"method": method, "path": path, "query": dict(query), "body": body}
        answer = await self._ask(self._requests, question)
        return int(answer["status"]), answer["body"]

    async def _ask(self, writer: asyncio.StreamWriter, question: dict[str, object]) -> dict[str, Any]:
        self._last_id += 1
        key = self._last_id
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            if self.alive:
                writer.write(json.dumps({"id": key, **question}).encode() + b"\n")
            else:
                raise EndedError(f"The environment's Airflow has ended: {self.log_tail()}")
            answer: dict[str, Any] = await future
        finally:
            del self._waiting[key]
        return answer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand answers to those who wait, until the child ends."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                answer = json.loads(line)
                future = self._waiting.get(answer["id"])
                if future is not None and not future.done():
                    future.set_result(answer)
        self.alive = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EndedError(f"The environment's Airflow has ended: {self.log_tail()}"))

    def log_tail(self) -> str:
        """Return the end of what the child printed."""
        return "\n".join(read_text(self.log).splitlines()[-20:])

    async def close(self) -> None:
        """End the child and all that it started."""
        self.alive = False
        await end_group(self.process)
        self._requests.close()
        assert self.process.stdin is not None
        self.process.stdin.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def read_text(file: Path) -> str:
    """The text of a file, "" when there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
