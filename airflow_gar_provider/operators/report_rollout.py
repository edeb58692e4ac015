"""ReportRolloutOperator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context, stats
from airflow_gar_provider.operators.rollout_base import RolloutOperator, is_true

if TYPE_CHECKING:
    from airflow_gar_provider.core.plan import Plan
    from airflow_gar_provider.core.rollout import Verdict


class ReportRolloutOperator(RolloutOperator):
    """Tell how a rollout ended: a table, an entry in the ledger of the fleet's bucket, metrics, and a notification.

    :param approval: who approved it, for the ledger: any JSON.
    :param notify: called with the report, such as a function that posts its `table` to a chat; an error in it is a
        line of the log.
    :param planned_only: a dry run: the report is the plan, with outcome `planned`, and the ledger gets no entry.
    :return: {"outcome": succeeded | failed | planned, "message", "complaints": [line], "rows": [one for each package of
        each environment that was not left alone], "table": Markdown, "ledger": URI}.
    """

    template_fields: Sequence[str] = ("approval", "planned_only", *RolloutOperator.template_fields)

    def __init__(
        self,
        *,
        approval: Any = None,
        notify: Callable[[dict[str, Any]], None] | None = None,
        planned_only: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.planned_only = planned_only
        self.approval = approval
        self.notify = notify

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the plan and the verdicts; tell, keep, count, notify."""
        from airflow_gar_provider.core.rollout import complaints, markdown, report
        from airflow_gar_provider.steps.roll_out import ledger_entry

        with self.explained(context):
            state = self.fleet_state()
            plan = state.read_plan()
            if is_true(self.planned_only):
                return self._told({"outcome": "planned", "message": "a dry run: nothing was changed"}, plan.markdown())
            verdicts, judged = state.verdicts(), state.judged()
            wrong, rows = complaints(plan, verdicts, judged), report(plan, verdicts)
            entry = ledger_entry(plan, verdicts, judged, approval=self.approval, who=_who(context))
            ledger = state.write_ledger(entry)
        done = sum(verdict.outcome == "installed" for verdict in verdicts)
        self._count(plan, verdicts, failed=bool(wrong))
        return self._told(
            {
                "outcome": "failed" if wrong else "succeeded",
                "message": f"{done} of {len(plan.items)} environments were changed; {len(wrong)} complaints",
                "complaints": wrong[:50],
                "rows": [vars(row) for row in rows if row.outcome != "nothing"][:500],
                "ledger": ledger,
            },
            markdown(rows),
        )

    def _told(self, result: dict[str, Any], table: str) -> dict[str, Any]:
        self.log.info("%s\n%s", result["message"], table)
        whole = {**result, "table": table}
        self._notify(whole)
        return whole

    def _count(self, plan: Plan, verdicts: Sequence[Verdict], *, failed: bool) -> None:
        """Metrics with few tags: no package, no version, no environment."""
        stats().incr("gar.rollout.finished", tags={"outcome": "failed" if failed else "succeeded"})
        for verdict in verdicts:
            stats().incr("gar.rollout.environment", tags={"outcome": verdict.outcome})
            if verdict.outcome == "installed":
                stats().timing("gar.rollout.environment_seconds", verdict.seconds * 1000)
        stats().gauge("gar.rollout.environments", len(plan.items))

    def _notify(self, result: dict[str, Any]) -> None:
        if self.notify is None:
            return
        try:
            self.notify(result)
        except Exception:  # the rollout has ended as it has, whatever the notifier does
            self.log.exception("the notifier failed")


def _who(context: Context) -> str | None:
    """Who triggered the run, where Airflow says it (3.1 and later)."""
    run = context.get("dag_run")
    return getattr(run, "triggering_user_name", None)
