"""An event loop whose time is virtual: a sleep takes no time, a call in a thread takes what it takes."""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.errors import NotFoundError

T = TypeVar("T")
PARENT = "projects/acme-data/locations/europe-west1"
ENVIRONMENT = f"{PARENT}/environments/dev"


class _Selector(selectors.DefaultSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        if not timeout or self.loop.at_work:
            return super().select(timeout)  # a thread works: its end is awaited in real time
        self.loop.passed += timeout
        time.sleep(timeout * self.loop.pace)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`pace`: real seconds that a virtual one takes, for what really happens elsewhere meanwhile."""

    def __init__(self, pace: float = 0.0) -> None:
        self.passed = 0.0
        self.at_work = 0
        self.pace = pace
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.passed

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self.at_work += 1
        future.add_done_callback(self._rested)
        return future

    def _rested(self, _: Any) -> None:
        self.at_work -= 1


def run(main: Coroutine[Any, Any, T], pace: float = 0.0) -> T:
    """Run a coroutine to its end in virtual time; tasks that it left behind are a defect."""
    loop = VirtualLoop(pace)
    try:
        result = loop.run_until_complete(main)
        loop.run_until_complete(asyncio.sleep(1))  # cancelled tasks get their turn
        assert not asyncio.all_tasks(loop)
        return result
    finally:
        loop.close()


def name_of(number: int) -> str:
    return f"{PARENT}/operations/o{number}"


class FakeCloud:
    """A Composer with operations of which some end at a time of the loop, and calls that can fail.

    `size` operations exist, number 0 is the newest; a page holds 100. Every call must come from another thread than
    the loop's.
    """

    def __init__(self, size: int = 0, ends: dict[int, float] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop_thread = threading.get_ident()
        self.size = size
        self.ends = ends or {}
        self.calls: list[tuple[float, str]] = []
        self.failures: dict[str, list[Exception]] = {}
        self.composer = self

    def fail(self, call: str, *errors: Exception) -> None:
        """Let the next calls of `list`, or of an operation's name, fail."""
        self.failures.setdefault(call, []).extend(errors)

    def _enter(self, call: str) -> None:
        assert threading.get_ident() != self.loop_thread, f"{call} on the event loop"
        self.calls.append((self.loop.time(), call))
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    def operations_page(self, parent: str, token: str = "") -> tuple[list[Operation], str]:
        assert parent == PARENT
        self._enter("list")
        first = int(token or 0)
        page = [self._look(number) for number in range(first, min(first + 100, self.size))]
        return page, str(first + 100) if first + 100 < self.size else ""

    def get_operation(self, name: str) -> Operation:
        self._enter(name)
        number = int(name.rsplit("/o", 1)[1])
        if number >= self.size:
            raise NotFoundError("could not look at the operation", resource=name)
        return self._look(number)

    def _look(self, number: int) -> Operation:
        done = self.loop.time() >= self.ends.get(number, float("inf"))
        return Operation(name_of(number), ENVIRONMENT, "UPDATE", "SUCCEEDED" if done else "RUNNING", done=done)

    def calls_at(self) -> dict[float, int]:
        """Moment (seconds of the loop) -> number of calls."""
        moments: dict[float, int] = {}
        for moment, _ in self.calls:
            moments[moment] = moments.get(moment, 0) + 1
        return moments
