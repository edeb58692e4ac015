"""One poller serves all triggers of a process that wait for operations of one location as one identity.

A trigger joins (`Poller.waiting`) and is told of every look at its operation. While anybody waits, one task on the
event loop looks at all of them together; it ends with the last one who leaves. Whatever blocks (imports of Google's
clients, credentials, gRPC channels, calls) happens in a few threads, never on the loop: a triggerer whose loop stands
still for minutes is taken for dead.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async

from airflow_gar_provider.core.operation import POLL_FLOOR, Operation, Round
from airflow_gar_provider.errors import AccessDeniedError, GarProviderError, NoClientError
from airflow_gar_provider.triggers.base import no_client

if TYPE_CHECKING:
    from airflow_gar_provider.gcp.cloud import Cloud

log = logging.getLogger(__name__)
T = TypeVar("T")
THREADS = 4
"""All pollers of a process share these. More would only wait for each other: reading answers takes the interpreter."""
LIST_AGAIN = 600.0
"""Seconds until a list that was denied is tried again: somebody may have granted the permission."""
AT_ONCE = 50
"""Operations that are got, or waiters that are told, before the loop gets its turn."""
EARLY = 0.1
"""Part of its interval by which a waiter is looked after too early, to share a look with others."""
CONNECT_TRIES = 3
"""Looks in a row without a client before those who wait are told so: the task then sees the reason itself."""

Look = Operation | GarProviderError
"""What a look brought: the operation as it is, or why that is not known this time."""


@dataclass(eq=False)
class Waiter:
    """One trigger that waits."""

    operation: str
    """Its operation's name."""
    interval: float
    """Seconds between two looks that it asks for."""
    earliest: float
    """Time of the loop before which it is not told anything."""
    due: float
    """Time of the loop at which it wants the next look."""
    looks: asyncio.Queue[Look] = field(default_factory=lambda: asyncio.Queue(1))
    """The newest look that it has not seen."""

    def tell(self, look: Look) -> None:
        """Hand over a look; an older one that was not taken yet says nothing any more."""
        if self.looks.full():
            self.looks.get_nowait()
        self.looks.put_nowait(look)


class Poller:
    """Looks at the operations of one location, as one identity, for whoever waits.

    `connect` makes Google's clients; it is called in asgiref's thread, because Airflow's own calls (the connection)
    have to be. `prepare` is called before in one of our threads: it may import what takes a second.
    """

    def __init__(
        self,
        parent: str,
        connect: Callable[[], Cloud],
        *,
        threads: ThreadPoolExecutor,
        prepare: Callable[[], object] = lambda: None,
        on_idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._parent = parent
        self._connect = connect
        self._prepare = prepare
        self._threads = threads
        self._on_idle = on_idle
        self._waiters: dict[str, set[Waiter]] = {}
        self._task: asyncio.Task[None] | None = None
        self._looked = float("-inf")
        self._due = float("inf")
        self._joined = asyncio.Event()
        self._cloud: Cloud | None = None
        self._failures = 0
        self._deep: frozenset[str] = frozenset()
        self._list_from = 0.0
        self.calls = 0
        """Calls to Composer so far."""

    @asynccontextmanager
    async def waiting(self, operation: str, interval: float) -> AsyncIterator[Waiter]:
        """Wait for an operation: inside, `looks` of the waiter brings one look after the other."""
        earliest = _now() + POLL_FLOOR
        waiter = Waiter(operation, max(interval, 1.0), earliest, earliest)
        self._waiters.setdefault(operation, set()).add(waiter)
        if self._next_look_for(waiter) < self._due:
            self._joined.set()
        if self._task is None:
            # In a context of its own: what the task logs is not part of the log of the trigger that came first.
            self._task = contextvars.Context().run(asyncio.get_running_loop().create_task, self._run())
        try:
            yield waiter
        finally:
            self._leave(waiter)

    def _leave(self, waiter: Waiter) -> None:
        self._waiters[waiter.operation].discard(waiter)
        if not self._waiters[waiter.operation]:
            del self._waiters[waiter.operation]
        if not self._waiters and self._task is not None:
            self._task.cancel()
            self._task = None
            self._on_idle()

    async def _run(self) -> None:
        """Look, sleep until the next look is due, look again, until nobody waits (then it is cancelled)."""
        # (A cancellation can be lost in `wait_for` when what it waits for happens at the same moment.)
        while self._task is asyncio.current_task():
            self._due = self._next_look()
            self._joined.clear()
            if self._due > _now():
                with suppress(asyncio.TimeoutError):  # somebody who joins may be due earlier
                    await asyncio.wait_for(self._joined.wait(), self._due - _now())
                continue
            self._looked = _now()
            try:
                await self._look(self._wanted())
            except Exception:
                # A defect of ours must not leave hundreds waiting for a task that has died.
                log.exception("looking at operations in %s failed", self._parent)

    def _next_look(self) -> float:
        """When the first of those who wait is due."""
        return min(self._next_look_for(waiter) for waiters in self._waiters.values() for waiter in waiters)

    def _next_look_for(self, waiter: Waiter) -> float:
        """Whoever joins waits for its interval after the last look at anything: so all fall into step."""
        return max(waiter.due, self._looked + waiter.interval)

    def _wanted(self) -> set[str]:
        """The operations to look at now: those that are due, or will be in a moment."""
        names = set()
        for name, waiters in self._waiters.items():
            for waiter in waiters:
                if waiter.due <= self._looked + EARLY * waiter.interval and waiter.earliest <= self._looked:
                    waiter.due = self._looked + waiter.interval
                    names.add(name)
        return names

    async def _look(self, names: set[str]) -> None:
        """Look at all of these once, with as few calls as `Round` says."""
        if await self._client(names) is None:
            return
        deep = self._deep & names
        this = Round(frozenset(names), deep, more=_now() >= self._list_from)
        page_token, denied = "", None
        while this.next == "list":
            try:
                operations, page_token = await self._call("operations_page", self._parent, page_token)
            except AccessDeniedError as error:
                denied, this = error, this.without_pages()
            except GarProviderError as error:
                log.warning("listing operations in %s: %s", self._parent, error)
                await self._tell_all(this.awaited, error)
                return
            else:
                this = this.after_page((found.name for found in operations), more=bool(page_token))
                for found in operations:
                    if found.name in this.found:
                        self._tell(found.name, found)
        self._deep = this.sunk
        singly, got = sorted(this.awaited), list[Look]()
        for first in range(0, len(singly), AT_ONCE):
            got += await asyncio.gather(*(self._get(name) for name in singly[first : first + AT_ONCE]))
        self._judge(denied, got)

    def _judge(self, denied: AccessDeniedError | None, got: list[Look]) -> None:
        """After a denial: may operations not be listed, or is the identity itself refused?"""
        refused = [look for look in got if isinstance(look, AccessDeniedError)]
        if refused and len(refused) == len(got):
            # A token that expired or was withdrawn, or a key that was rotated: begin anew with the connection.
            self._cloud = None
        elif denied is not None:
            log.warning("operations in %s are looked at one by one: %s", self._parent, denied)
            self._list_from = _now() + LIST_AGAIN

    async def _client(self, names: set[str]) -> Cloud | None:
        if self._cloud is None:
            try:
                await self._in_thread(self._prepare)
                self._cloud = await sync_to_async(self._connect)()
            except Exception as error:
                # Whatever it is (Airflow raises its own kinds), those who wait are told, and the log shows it.
                self._failures += 1
                shown = no_client(error)
                log.warning("%s (try %s): %s", self._parent, self._failures, shown)
                if self._failures >= CONNECT_TRIES:
                    await self._tell_all(names, NoClientError(shown))
                return None
        self._failures = 0
        return self._cloud

    async def _get(self, name: str) -> Look:
        try:
            look: Look = await self._call("get_operation", name)
        except GarProviderError as error:
            look = error
        self._tell(name, look)
        return look

    async def _call(self, method: str, *arguments: str) -> Any:
        """Call a method of the Composer client in a thread, where the client itself is made, too."""
        self.calls += 1
        cloud = self._cloud
        return await self._in_thread(lambda: getattr(cloud.composer, method)(*arguments))  # type: ignore[union-attr]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _tell(self, name: str, look: Look) -> None:
        for waiter in self._waiters.get(name, ()):
            if waiter.earliest <= self._looked:
                waiter.tell(look)

    async def _tell_all(self, names: set[str] | frozenset[str], look: Look) -> None:
        for number, name in enumerate(names, start=1):
            self._tell(name, look)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)


class Pollers:
    """The pollers of one event loop, and their threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="composer-operations")
        self._pollers: dict[Hashable, Poller] = {}

    def get(
        self, identity: Hashable, parent: str, connect: Callable[[], Cloud], prepare: Callable[[], object]
    ) -> Poller:
        """The poller for an identity and a location, made when there is none."""
        key = (identity, parent)
        if key not in self._pollers:
            self._pollers[key] = Poller(
                parent,
                connect,
                threads=self._threads,
                prepare=prepare,
                on_idle=functools.partial(self._forget, key),
            )
        return self._pollers[key]

    def _forget(self, key: Hashable) -> None:
        """Nobody waits here any more; the threads end with the last poller."""
        self._pollers.pop(key, None)
        if not self._pollers:
            _forget(self)

    def close(self) -> None:
        """End the threads when they have done what they do."""
        self._threads.shutdown(wait=False)


_current: list[Pollers] = []
"""Those of the loop that runs; none when nobody waits."""


def pollers() -> Pollers:
    """The pollers of the running event loop. A new loop (a forked process, a test) starts anew."""
    loop = asyncio.get_running_loop()
    if not _current or _current[0].loop is not loop:
        _current[:] = [Pollers(loop)]
    return _current[0]


def _forget(those: Pollers) -> None:
    those.close()
    if _current and _current[0] is those:
        _current.clear()


def _now() -> float:
    return asyncio.get_running_loop().time()
