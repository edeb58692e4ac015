"""RollBackEnvironmentOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.links.operation import BuildLogLink, OperationLink, persist_update
from airflow_gar_provider.metrics import count
from airflow_gar_provider.operators.base import GarOperator
from airflow_gar_provider.operators.rollout_base import THIS_RUN

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import EnvironmentName


class RollBackEnvironmentOperator(GarOperator):
    """Give an environment back the packages and the pip.conf that it had before a rollout, in one update.

    What was there is in the run record that the rollout left in the environment's bucket. Only the packages of the
    rollout are touched; the versions that are taken back are held there until released.

    :param environment: `projects/P/locations/L/environments/E`.
    :param state: `gs://BUCKET/PREFIX`, the fleet's `state`, where the verdict becomes `rolled_back`; not given: only
        the environment knows of it.
    :param state_gcp_conn_id: the connection for `state`.
    :param state_impersonation_chain: whom to act as for `state`.
    :param rollout: what identifies the rollout: `DAG_ID/RUN_ID` of its DAG run.
    :param why: for the log, and for the hold.
    :param timeout: seconds to wait for the update.
    :param poll_interval: seconds between two looks at the operation.
    :return: {"outcome": rolled_back | unchanged, "message", "environment"}.
    """

    template_fields: Sequence[str] = (
        "environment",
        "state",
        "rollout",
        "why",
        "state_gcp_conn_id",
        "state_impersonation_chain",
        *GarOperator.template_fields,
    )
    operator_extra_links = (EnvironmentLink(), OperationLink(), BuildLogLink())

    def __init__(
        self,
        *,
        environment: str,
        state: str | None = None,
        rollout: str = THIS_RUN,
        why: str = "the rollout was undone",
        timeout: float = 5400,
        poll_interval: float = 30,
        state_gcp_conn_id: str = "google_cloud_default",
        state_impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.state = state
        self.rollout = rollout
        self.why = why
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.state_gcp_conn_id = state_gcp_conn_id
        self.state_impersonation_chain = state_impersonation_chain

    def execute(self, context: Context) -> dict[str, Any]:
        """Restore, wait, confirm."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.steps.roll_out import undo_here

        with self.explained(context):
            name = EnvironmentName.parse(self.environment)
            EnvironmentLink().persist(context, name.console_url)
            result = undo_here(
                self.cloud(),
                name,
                self.rollout,
                self.clock(),
                why=self.why,
                timeout=self.timeout,
                poll_interval=self.poll_interval,
                on_wait=lambda operation: persist_update(context, name, operation),
            )
            if self.state:
                self._note(name)
        count("rollback.finished", result["outcome"])
        self.log.info(result["message"])
        return result

    def _note(self, name: EnvironmentName) -> None:
        from airflow_gar_provider.hooks.gar import GarHook
        from airflow_gar_provider.steps.fleet_state import FleetState
        from airflow_gar_provider.steps.roll_out import note_undone

        hook = GarHook(gcp_conn_id=self.state_gcp_conn_id, impersonation_chain=self.state_impersonation_chain)
        note_undone(FleetState(hook.cloud.storage, self.state or "", self.rollout), name, self.why)
