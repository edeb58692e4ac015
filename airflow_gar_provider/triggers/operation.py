"""Waits for a Composer operation, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from airflow_gar_provider.compat import BaseTrigger, TriggerEvent
from airflow_gar_provider.core.operation import POLL_FLOOR, Operation, OperationName
from airflow_gar_provider.errors import InvalidNameError, NoClientError, NotFoundError
from airflow_gar_provider.triggers.base import GoogleTrigger, event, same

if TYPE_CHECKING:
    from airflow_gar_provider.triggers.poller import Look, Poller

ANSWER_SECONDS = 90.0
"""How long after the deadline a look that is under way may still bring the end."""


class ComposerOperationTrigger(GoogleTrigger, BaseTrigger):
    """Fires when the operation has ended, or at the deadline: "look again". What it means is decided by the task.

    All that the task needs is in the event: {"status": ended | timed_out | lost, "operation", "ours", "message"}.
    It holds no state but its arguments, so a triggerer that takes it over goes on where the other one ended. All
    triggers of a triggerer that wait in one location as one identity share a poller (`triggers.poller`).

    :param operation: name of the operation.
    :param ours: whether the task began it.
    :param deadline: seconds since the epoch; the event then says `timed_out`.
    :param poll_interval: seconds between two looks, and between two lines in the log. The first look is 10 seconds
        after the start or later: a task that is resumed at once may be marked failed by the scheduler.
    """

    arguments: ClassVar = same("operation", "ours", "deadline", "poll_interval")

    def __init__(
        self,
        *,
        operation: str,
        ours: bool,
        deadline: float,
        poll_interval: float,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self.operation = operation
        self.ours = ours
        self.deadline = deadline
        self.poll_interval = poll_interval
        self._told = float("-inf")

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for what the poller sees, and say how it goes; an error that may pass is a line of the log."""
        try:
            name = OperationName.parse(self.operation)
        except InvalidNameError as error:
            await asyncio.sleep(POLL_FLOOR)
            yield self._event("lost", error.what)
            return
        yield await self._wait(name)

    async def _wait(self, name: OperationName) -> TriggerEvent:
        """The event that ends the wait."""
        begun, look = _now(), None
        # At least one look is awaited, also by a trigger that starts after its deadline (the triggerer was down).
        until = begun + max(self.deadline - self._time(), POLL_FLOOR)
        async with self._poller(name).waiting(self.operation, self.poll_interval) as waiter:
            while _now() < until or look is None:
                try:
                    look = await asyncio.wait_for(waiter.looks.get(), max(until + ANSWER_SECONDS - _now(), 0.0))
                except asyncio.TimeoutError:
                    break
                if (ended := self._ended(look)) is not None:
                    return ended
                self._progress(name, look, _now() - begun)
        state = look.state if isinstance(look, Operation) else "unknown"
        return self._event("timed_out", f"{state} after {_now() - begun:.0f} s in the triggerer: {name.url}")

    def _ended(self, look: Look) -> TriggerEvent | None:
        """The event for a look that ends the wait."""
        if isinstance(look, Operation):
            return self._event("ended", look.state) if look.done else None
        if isinstance(look, NotFoundError):
            return self._event("lost", "Composer does not know the operation any more")
        return self._event("lost", look.what) if isinstance(look, NoClientError) else None

    def _progress(self, name: OperationName, look: Look, elapsed: float) -> None:
        """A line of the log, not oftener than the poll interval: the poller may look oftener, for others."""
        if _now() < self._told + self.poll_interval:
            return
        self._told = _now()
        if isinstance(look, Operation):
            self.log.info("operation %s is %s after %.0f s: %s", name.id, look.state, elapsed, name.url)
        else:
            self.log.warning("operation %s could not be looked at, trying again: %s", name.id, look)

    async def on_kill(self) -> None:
        """Somebody ended the task by hand (Airflow 3.3 calls this): say that the operation goes on, and where."""
        name = OperationName.parse(self.operation)
        self.log.warning(
            "the task was ended, operation %s was not: Composer cannot cancel one. Watch it at %s or by `%s`; "
            "when the task runs again, it follows it",
            name.id,
            name.url,
            name.gcloud,
        )

    def _poller(self, name: OperationName) -> Poller:
        """The one that this trigger shares."""
        from airflow_gar_provider.triggers.poller import pollers

        chain = self.impersonation_chain
        identity = (self.gcp_conn_id, chain if isinstance(chain, str | None) else tuple(chain))
        return pollers().get(identity, name.parent, self._connect, _import_clients)

    def _time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def _event(self, status: str, message: str) -> TriggerEvent:
        return event(status=status, operation=self.operation, ours=self.ours, message=message)


def _import_clients() -> None:
    """Import what `_connect` needs: a second of work, for a thread of the poller's."""
    import airflow_gar_provider.hooks.gar  # noqa: F401


def _now() -> float:
    return asyncio.get_running_loop().time()
