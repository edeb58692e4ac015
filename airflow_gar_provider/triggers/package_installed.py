"""Waits until an environment has packages, in the triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from asgiref.sync import sync_to_async

from airflow_gar_provider.compat import BaseTrigger, TriggerEvent
from airflow_gar_provider.core.operation import POLL_FLOOR
from airflow_gar_provider.errors import GarProviderError
from airflow_gar_provider.triggers.base import GoogleTrigger, event, no_client, same

if TYPE_CHECKING:
    from airflow_gar_provider.gcp.cloud import Cloud


class PackageInstalledTrigger(GoogleTrigger, BaseTrigger):
    """Fires when the environment has the packages, or when looking makes no sense: "look again".

    The event is {"status": installed | lost, "message"}: the task looks itself then, and raises what is to be raised.

    :param environment: `projects/P/locations/L/environments/E`.
    :param requirements: as text, one each.
    :param poll_interval: seconds between two looks; the first one is 10 seconds after the start or later.
    """

    arguments: ClassVar = same("environment", "requirements", "poll_interval")

    def __init__(
        self,
        *,
        environment: str,
        requirements: Sequence[str],
        poll_interval: float,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self.environment = environment
        self.requirements = list(requirements)
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
        while True:
            try:
                result = await asyncio.to_thread(self._look, cloud)
            except GarProviderError as error:
                if not error.retryable:
                    yield self._event("lost", error.what)
                    return
                self.log.warning("looking again in %s s: %s", self.poll_interval, error)
            else:
                if result is not None:
                    yield self._event("installed", result["message"])
                    return
                self.log.info("%s does not have %s yet", self.environment, ", ".join(self.requirements))
            await asyncio.sleep(self.poll_interval)

    def _look(self, cloud: Cloud) -> dict[str, Any] | None:
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.core.requirement import parse_requirements
        from airflow_gar_provider.steps.installed import installed

        return installed(cloud, EnvironmentName.parse(self.environment), parse_requirements(self.requirements))

    def _event(self, status: str, message: str) -> TriggerEvent:
        return event(status=status, message=message)


def _import_clients() -> None:
    import airflow_gar_provider.hooks.gar
    import airflow_gar_provider.steps.installed  # noqa: F401
