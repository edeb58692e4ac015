"""RolloutOutcomeOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.operators.rollout_base import RolloutOperator, is_true


class RolloutOutcomeOperator(RolloutOperator):
    """Fail when any environment of a rollout is not as it was planned: the last task, and so the DAG run's state.

    A report that always runs would leave the run green, whatever it says.

    :param planned_only: a dry run: a plan is all that is asked for.
    """

    template_fields: Sequence[str] = ("planned_only", *RolloutOperator.template_fields)

    def __init__(self, *, planned_only: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planned_only = planned_only

    def execute(self, context: Context) -> str:
        """Look at the plan and at the verdicts."""
        from airflow_gar_provider.core.rollout import complaints
        from airflow_gar_provider.errors import RolloutFailedError

        with self.explained(context):
            state = self.fleet_state(context)
            plan = state.find_plan()
            if plan is None:
                raise RolloutFailedError(
                    "there is no plan, so nothing was rolled out",
                    resource=state.plan_uri,
                    remedy="look at the first task that failed",
                )
            if is_true(self.planned_only):
                return "a dry run: nothing was changed"
            wrong = complaints(plan, state.verdicts(), state.judged())
            if wrong:
                raise RolloutFailedError(
                    "the rollout did not come to what was planned:\n" + "\n".join(f"  - {line}" for line in wrong[:50]),
                    resource=state.plan_uri,
                    remedy="look at the report; a new run goes on with what is left",
                )
        return f"{len(plan.items)} environments are as planned"
