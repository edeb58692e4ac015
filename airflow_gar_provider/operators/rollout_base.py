"""What the operators of a rollout share: where its state is kept, and what identifies it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import BaseOperatorLink, Context
from airflow_gar_provider.links.storage import PlanLink
from airflow_gar_provider.operators.base import GarOperator

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import EnvironmentName
    from airflow_gar_provider.core.fleet import Identity
    from airflow_gar_provider.gcp.cloud import Cloud
    from airflow_gar_provider.steps.fleet_state import FleetState

THIS_RUN = "{{ dag.dag_id }}/{{ run_id }}"
"""A rollout is a DAG run: whatever task of it is tried again finds the same plan."""


class RolloutOperator(GarOperator):
    """Base of the operators that work on one rollout.

    :param state: `gs://BUCKET/PREFIX`: the fleet's `state`. `gcp_conn_id` and `impersonation_chain` are for it.
    :param rollout: what identifies the rollout.
    """

    template_fields: Sequence[str] = ("state", "rollout", *GarOperator.template_fields)
    operator_extra_links: Sequence[BaseOperatorLink] = (PlanLink(),)

    def __init__(self, *, state: str, rollout: str = THIS_RUN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state = state
        self.rollout = rollout

    def fleet_state(self, context: Context | None = None) -> FleetState:
        """The rollout's objects. With a context, the task's page leads to the plan from now on."""
        from airflow_gar_provider.steps.fleet_state import FleetState

        state = FleetState(self.cloud().storage, self.state, self.rollout)
        if context is not None:
            PlanLink().persist_object(context, state.plan_uri)
        return state

    def cloud_of(self, identity: Identity) -> Cloud:
        """Google as an identity of the fleet sees it; what it leaves open is this operator's own."""
        from airflow_gar_provider.hooks.gar import GarHook

        chain = self.impersonation_chain if identity.impersonation_chain is None else identity.impersonation_chain
        hook = GarHook(gcp_conn_id=identity.gcp_conn_id or self.gcp_conn_id, impersonation_chain=chain)
        return hook.cloud

    def mapped(self, environment: EnvironmentName, identity: Identity) -> dict[str, Any]:
        """One environment for a mapped task: less than 2 KB, whatever the plan has for it."""
        chain = self.impersonation_chain if identity.impersonation_chain is None else identity.impersonation_chain
        return {
            "environment": str(environment),
            "gcp_conn_id": identity.gcp_conn_id or self.gcp_conn_id,
            "impersonation_chain": chain if isinstance(chain, str) or chain is None else list(chain),
        }


def is_true(value: bool | str) -> bool:
    """A flag that a template may have rendered to text."""
    return value is True or str(value).strip().lower() == "true"


def requester_of(context: Context) -> str | None:
    """Who triggered the run, where Airflow says it (3.1 and later); None for a run that nobody triggered by hand."""
    return getattr(context.get("dag_run"), "triggering_user_name", None)


def own_environment() -> EnvironmentName | None:
    """The environment that this process runs in; None outside Composer.

    Composer sets these variables in every component (Google: "Environment variables", reserved ones).
    """
    from airflow_gar_provider.core.environment import EnvironmentName

    parts = [os.environ.get(name) for name in ("GCP_PROJECT", "COMPOSER_LOCATION", "COMPOSER_ENVIRONMENT")]
    project, location, name = parts
    return EnvironmentName(project, location, name) if project and location and name else None
