"""StageVerdictSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cache
from typing import Any

from airflow_gar_provider.compat import BaseSensorOperator, Context
from airflow_gar_provider.operators.rollout_base import RolloutOperator, is_true


class StageVerdictSensor(RolloutOperator, BaseSensorOperator):
    """Watch a stage for its `soak`, then say whether it passed; fail when it did not.

    Watched are new DAG import errors in its environments and, where the stage says so, the share of failed DAG runs.
    Trouble ends the soak at once. Between two looks no worker is taken: `mode` is `reschedule`.

    :param stage: the stage's name.
    :param planned_only: a dry run: nothing was begun, so there is nothing to judge.
    """

    template_fields: Sequence[str] = ("stage", "planned_only", *RolloutOperator.template_fields)

    def __init__(
        self, *, stage: str, planned_only: bool | str = False, mode: str = "reschedule", **kwargs: Any
    ) -> None:
        super().__init__(mode=mode, **kwargs)
        self.stage = stage
        self.planned_only = planned_only

    def poke(self, context: Context) -> bool:
        """One look at all environments of the stage; the verdict at the end."""
        from airflow_gar_provider.errors import RolloutFailedError
        from airflow_gar_provider.steps.roll_out import judge
        from airflow_gar_provider.steps.soak import soak

        if is_true(self.planned_only):
            return True
        with self.explained(context):
            state = self.fleet_state(context)
            plan = state.read_plan()
            limits = plan.stage(self.stage)
            over, trouble = soak(cache(self.cloud_of), state, plan, limits, datetime.now(timezone.utc))
            if not over:
                return False
            verdict = judge(state, plan, self.stage, trouble)
            if not verdict.passed:
                raise RolloutFailedError(
                    f"stage {self.stage} did not pass: {verdict.why}",
                    resource=state.plan_uri,
                    remedy="look at its environments' tasks; later stages are not started",
                )
            self.log.info("stage %s passed", self.stage)
            return True
