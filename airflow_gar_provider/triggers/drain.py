"""Waits in the triggerer until no task runs in an environment any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from asgiref.sync import sync_to_async

from airflow_gar_provider.compat import BaseTrigger, TriggerEvent
from airflow_gar_provider.core.operation import POLL_FLOOR
from airflow_gar_provider.errors import GarProviderError
from airflow_gar_provider.triggers.base import GoogleTrigger, event, no_client, same

if TYPE_CHECKING:
    from airflow_gar_provider.gcp.cloud import Cloud


class DrainTrigger(GoogleTrigger, BaseTrigger):
    """Fires when no task runs in the environment, or at the deadline: "look again". The task decides what it means.

    The event: {"status": idle | over | lost, "drain": True, "message"}. It changes nothing, so a triggerer that takes
    it over goes on where the other one ended.

    :param environment: name of the environment.
    :param run: identifies the task that waits; it does not wait for itself.
    :param deadline: seconds since the epoch; the event then says `over`.
    :param poll_interval: seconds between two looks; never less than 10 for the first one.
    """

    arguments: ClassVar = {**same("environment", "deadline", "poll_interval"), "run": "run_of_task"}

    def __init__(
        self,
        *,
        environment: str,
        run: str,
        deadline: float,
        poll_interval: float,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self.environment = environment
        self.run_of_task = run
        self.deadline = deadline
        self.poll_interval = poll_interval

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, look, sleep again; an error that may pass is a line of the log."""
        try:
            # Airflow's own calls (the connection) have to run in asgiref's thread; Google's may run in any.
            cloud = await sync_to_async(self._connect)()
        except Exception as error:
            await self._sleep(POLL_FLOOR)
            yield self._event("lost", no_client(error))
            return
        pause = max(POLL_FLOOR, min(self.poll_interval, self.deadline - time.time()))
        while True:
            await self._sleep(pause)
            try:
                tasks = await asyncio.to_thread(self._running, cloud)
            except GarProviderError as error:
                self.log.warning("looking again in %s s: %s", self.poll_interval, error)
            else:
                if not tasks:
                    yield self._event("idle", "")
                    return
                self.log.info("%d task(s) still run: %s", len(tasks), ", ".join(tasks))
            left = self.deadline - time.time()
            if left <= 0:
                yield self._event("over", "")
                return
            pause = min(self.poll_interval, left)

    def _running(self, cloud: Cloud) -> tuple[str, ...]:
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.steps.drain import running

        return running(cloud, EnvironmentName.parse(self.environment), self.run_of_task)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _event(self, status: str, message: str) -> TriggerEvent:
        return event(status=status, drain=True, message=message)
