"""ReportRolloutOperator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.storage import LedgerLink
from airflow_gar_provider.metrics import count, level, took
from airflow_gar_provider.operators.rollout_base import RolloutOperator, is_true, requester_of

if TYPE_CHECKING:
    from airflow_gar_provider.core.plan import Plan
    from airflow_gar_provider.core.rollout import Verdict


class ReportRolloutOperator(RolloutOperator):
    """Tell how a rollout ended: a table, an entry in the ledger of the fleet's bucket, metrics, and a notification.

    What was answered before its stages (ApproveStageOperator) is in the report and in the ledger, also a refusal.

    :param approval: who approved it, for the ledger: any JSON, in place of those answers.
    :param notify: called with the report, such as a function that posts its `table` to a chat; an error in it is a
        line of the log.
    :param planned_only: a dry run: the report is the plan, with outcome `planned`, and the ledger gets no entry.
    :return: {"outcome": succeeded | failed | planned, "message", "complaints": [line], "rows": [one for each package of
        each environment, those that were left alone last; at most 500], "approvals": [{"stage", "outcome", "by",
        "at"}], "table": Markdown, "ledger": URI, "content_digest" (of a dry run)}. A rollout that failed before it had
        a plan has neither rows nor an entry in the ledger.
    """

    template_fields: Sequence[str] = ("approval", "planned_only", *RolloutOperator.template_fields)
    operator_extra_links = (*RolloutOperator.operator_extra_links, LedgerLink())

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
        from airflow_gar_provider.core.markdown import code
        from airflow_gar_provider.core.rollout import complaints, markdown, report
        from airflow_gar_provider.steps.roll_out import ledger_entry

        with self.explained(context):
            state = self.fleet_state(context)
            plan = state.find_plan()
            if plan is None:
                return self._told({"outcome": "failed", "message": "there is no plan, so nothing was rolled out"}, "")
            if is_true(self.planned_only):
                return self._told(_planned(plan), plan.markdown())
            verdicts, judged, approvals = state.verdicts(), state.judged(), state.approvals()
            wrong, rows = complaints(plan, verdicts, judged), report(plan, verdicts)
            told = [approval.to_json() for approval in approvals]
            approval = self.approval if self.approval is not None else told
            entry = ledger_entry(plan, verdicts, judged, approval=approval, who=requester_of(context))
            ledger = state.write_ledger(entry)
            LedgerLink().persist_object(context, ledger)
        done = sum(verdict.outcome == "installed" for verdict in verdicts)
        self._count(plan, verdicts, failed=bool(wrong))
        return self._told(
            {
                "outcome": "failed" if wrong else "succeeded",
                "message": f"{done} of {len(plan.items)} environments were changed; {len(wrong)} complaints",
                "complaints": wrong[:50],
                "rows": [vars(row) for row in sorted(rows, key=lambda row: row.outcome == "nothing")][:500],
                "approvals": told,
                "ledger": ledger,
            },
            "\n\n".join([markdown(rows), *(f"Stage {a.stage}: {code(a.sentence)}" for a in approvals)]),
        )

    def _told(self, result: dict[str, Any], table: str) -> dict[str, Any]:
        self.log.info("%s\n%s", result["message"], table)
        whole = {**result, "table": table}
        self._notify(whole)
        return whole

    def _count(self, plan: Plan, verdicts: Sequence[Verdict], *, failed: bool) -> None:
        """Metrics with few tags: no package, no version, no environment."""
        count("rollout.finished", "failed" if failed else "succeeded")
        for verdict in verdicts:
            count("rollout.environment", verdict.outcome)
            if verdict.outcome == "installed":
                took("rollout.environment_duration", verdict.seconds)
        level("rollout.environments", len(plan.items))

    def _notify(self, result: dict[str, Any]) -> None:
        if self.notify is None:
            return
        try:
            self.notify(result)
        except Exception:  # the rollout has ended as it has, whatever the notifier does
            self.log.exception("the notifier failed")


def _planned(plan: Plan) -> dict[str, Any]:
    digest = plan.content_digest
    message = f"a dry run: nothing was changed; to apply exactly this plan, start a run with approved_plan={digest}"
    return {"outcome": "planned", "message": message, "content_digest": digest}
