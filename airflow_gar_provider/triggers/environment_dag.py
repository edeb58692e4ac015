"""Waits for a run of a DAG in an environment, in the triggerer."""

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

GONE_LOOKS = 3
"""Looks in a row that find no such run, before it counts as deleted."""


class EnvironmentDagTrigger(GoogleTrigger, BaseTrigger):
    """Fires when the run has ended, or at the deadline: "look again". What it means is decided by the task.

    The event is {"status": ended | timed_out | lost, "run_id", "message"}; the message is the run's state, or why it
    is not known.

    :param environment: `projects/P/locations/L/environments/E`.
    :param dag_id: the DAG's id there.
    :param run_id: the run's id there.
    :param deadline: seconds since the epoch; the event then says `timed_out`.
    :param poll_interval: seconds between two looks; the first one is 10 seconds after the start or later.
    """

    arguments: ClassVar = {
        **same("environment", "deadline", "poll_interval"),
        "dag_id": "environment_dag_id",
        "run_id": "environment_run_id",
    }

    def __init__(
        self,
        *,
        environment: str,
        dag_id: str,
        run_id: str,
        deadline: float,
        poll_interval: float,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self.environment = environment
        self.environment_dag_id = dag_id
        self.environment_run_id = run_id
        self.deadline = deadline
        self.poll_interval = poll_interval

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, sleep, look again; an error that may pass is a line of the log."""
        await asyncio.sleep(max(self.poll_interval, POLL_FLOOR))
        try:
            await asyncio.to_thread(_import_clients)
            # Airflow's own calls (the connection) have to run in asgiref's thread; Google's may run in any.
            cloud = await sync_to_async(self._connect)()
        except Exception as error:  # Airflow raises its own kinds: the task sees the reason itself
            yield self._event("lost", no_client(error))
            return
        missing = 0
        while True:
            try:
                state = await asyncio.to_thread(self._look, cloud)
            except GarProviderError as error:
                self.log.warning("looking again in %s s: %s", self.poll_interval, error)
            else:
                missing = 0 if state else missing + 1
                if state in ("success", "failed") or missing == GONE_LOOKS:
                    yield self._event("ended", state or "gone")
                    return
                self.log.info("run %s of DAG %s is %s", self.environment_run_id, self.environment_dag_id, state)
            if self._time() > self.deadline:
                yield self._event("timed_out", "")
                return
            await asyncio.sleep(self.poll_interval)

    async def on_kill(self) -> None:
        """Somebody ended the task by hand (Airflow 3.3 calls this): say that the run goes on."""
        self.log.warning(
            "the task was ended, run %s of DAG %s in %s was not: end it there if it shall not go on",
            self.environment_run_id,
            self.environment_dag_id,
            self.environment,
        )

    def _look(self, cloud: Cloud) -> str:
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.steps.environment_dag import state_of

        environment = cloud.composer.get_environment(EnvironmentName.parse(self.environment))
        return state_of(cloud.airflow_of(environment), self.environment_dag_id, self.environment_run_id)

    def _time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def _event(self, status: str, message: str) -> TriggerEvent:
        return event(status=status, run_id=self.environment_run_id, message=message)


def _import_clients() -> None:
    import airflow_gar_provider.hooks.gar
    import airflow_gar_provider.steps.environment_dag  # noqa: F401
