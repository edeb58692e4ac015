"""BeginStageOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.operators.rollout_base import RolloutOperator, is_true, own_environment


class BeginStageOperator(RolloutOperator):
    """The environments of a stage that the plan changes, for the mapped task that rolls them out.

    Checks that the plan is still the one whose digest was reviewed. The environment that runs the rollout comes last.

    :param stage: the stage's name.
    :param digest: SHA-256 of the plan, from PlanRolloutOperator's result.
    :param planned_only: a dry run: begin nothing.
    :return: [{"environment", "gcp_conn_id", "impersonation_chain"}], for `expand_kwargs`.
    """

    template_fields: Sequence[str] = ("stage", "digest", "planned_only", *RolloutOperator.template_fields)

    def __init__(
        self, *, stage: str, digest: str | None = None, planned_only: bool | str = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.digest = digest
        self.planned_only = planned_only

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read the plan, name the environments."""
        from airflow_gar_provider.errors import ChangedSincePlanError
        from airflow_gar_provider.steps.plan import own_last

        with self.explained(context):
            state = self.fleet_state(context)
            plan = state.read_plan()
            if self.digest and plan.digest != self.digest:
                raise ChangedSincePlanError(
                    f"the plan is not the one that was reviewed (SHA-256 {plan.digest}, reviewed {self.digest})",
                    resource=state.plan_uri,
                    remedy="find out who wrote to the fleet's bucket, then start a new rollout",
                )
            items = own_last(plan.of_stage(self.stage), own_environment())
        if is_true(self.planned_only):
            self.log.info("a dry run: %d environments would be begun", len(items))
            return []
        self.log.info("stage %s: %s", self.stage, ", ".join(i.environment.name for i in items) or "nothing to do")
        return [self.mapped(item.environment, item.identity) for item in items]
