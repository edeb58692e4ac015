"""Waits for a Composer operation, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from airflow_gar_provider.compat import BaseTrigger, TriggerEvent
from airflow_gar_provider.core.operation import POLL_FLOOR
from airflow_gar_provider.errors import GarProviderError, NotFoundError

if TYPE_CHECKING:
    from airflow_gar_provider.gcp.cloud import Cloud


class ComposerOperationTrigger(BaseTrigger):
    """Fires when the operation has ended, or at the deadline: "look again". What it means is decided by the task.

    All that the task needs is in the event: {"status": ended | timed_out | lost, "operation", "ours", "message"}.
    It holds no state but its arguments, so a triggerer that takes it over goes on where the other one ended.

    :param operation: name of the operation.
    :param ours: whether the task began it.
    :param deadline: seconds since the epoch; the event then says `timed_out`.
    :param poll_interval: seconds between two looks; never less than 10 for the first one, because a task that is
        resumed at once may be marked failed by the scheduler.
    """

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
        super().__init__()  # type: ignore[no-untyped-call]
        self.operation = operation
        self.ours = ours
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The arguments, for the database. No credentials: they come from the connection."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "operation": self.operation,
                "ours": self.ours,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, sleep, look again; an error that may pass is a line of the log."""
        from airflow_gar_provider.steps.install import check

        await self._sleep(max(self.poll_interval, POLL_FLOOR))
        try:
            # Airflow's own calls (the connection) have to run in asgiref's thread; Google's may run in any.
            cloud = await sync_to_async(self._connect)()
        except Exception as error:
            yield self._event("lost", f"no Google client could be made: {error}")
            return
        begun = time.monotonic()
        while True:
            try:
                operation = await asyncio.to_thread(check, cloud, self.operation)
            except NotFoundError:
                yield self._event("lost", "Composer does not know the operation any more")
                return
            except GarProviderError as error:
                self.log.warning("looking again in %s s: %s", self.poll_interval, error)
            else:
                if operation.done:
                    yield self._event("ended", operation.state)
                    return
                self.log.info("%s is %s after %.0f s", self.operation, operation.state, time.monotonic() - begun)
            if time.time() > self.deadline:
                yield self._event("timed_out", "")
                return
            await self._sleep(self.poll_interval)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _connect(self) -> Cloud:
        from airflow_gar_provider.hooks.gar import GarHook

        hook = GarHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        return hook.cloud

    def _event(self, status: str, message: str) -> TriggerEvent:
        event = {"status": status, "operation": self.operation, "ours": self.ours, "message": message}
        return TriggerEvent(event)  # type: ignore[no-untyped-call]
