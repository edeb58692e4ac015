"""BeginUndoOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.operators.rollout_base import RolloutOperator


class BeginUndoOperator(RolloutOperator):
    """The environments that a rollout changed, the last one first, for the mapped task that undoes them.

    :param only_after_abort: name none unless a stage did not pass.
    :return: [{"environment", "gcp_conn_id", "impersonation_chain"}], for `expand_kwargs`.
    """

    template_fields: Sequence[str] = RolloutOperator.template_fields

    def __init__(self, *, only_after_abort: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.only_after_abort = only_after_abort

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read the plan and the verdicts."""
        from airflow_gar_provider.steps.roll_out import to_undo

        with self.explained(context):
            state = self.fleet_state(context)
            plan = state.read_plan()
            if self.only_after_abort and all(judgement.passed for judgement in state.judged()):
                self.log.info("every stage passed: there is nothing to undo")
                return []
            items = to_undo(state, plan)
        self.log.info("to undo: %s", ", ".join(item.environment.name for item in items) or "nothing")
        return [self.mapped(item.environment, item.identity) for item in items]
