"""ApproveStageOperator. It needs Airflow 3.1, and imports Airflow's own approval: nothing else imports this module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import BaseOperator, Context, approval_operator
from airflow_gar_provider.errors import InvalidInputError, NotApprovedError
from airflow_gar_provider.operators.base import goes_on
from airflow_gar_provider.operators.rollout_base import RolloutOperator, is_true, requester_of

if TYPE_CHECKING:
    from airflow.providers.standard.operators.hitl import ApprovalOperator as _Approval

    from airflow_gar_provider.core.approval import Approval
else:
    _Approval = approval_operator() or BaseOperator


class ApproveStageOperator(RolloutOperator, _Approval):
    """Ask somebody before a stage is begun, with the plan for the rest and the outcomes so far before their eyes.

    It is Airflow's ApprovalOperator: the answer is given in the UI or through the API, and a rejection skips the stage.
    Nobody is asked in a dry run, when the stage has nothing to do, or when the rollout was stopped already: then it
    succeeds and says so. The answer is kept in the fleet's bucket, for the report and the ledger. A refusal ends the
    rollout; a new run goes on with what is left, and asks again.

    Airflow loses an answer that is given before its scheduler has heard that the process that asked is gone, mostly a
    second (tried, 3.3.2); the next try asks again. It goes on showing the text of the first try: what the last one asks
    is in its log.

    :param stage: the stage's name.
    :param approve_before: all stages of the rollout before which somebody may be asked.
    :param approval: before which of them somebody is: True, False, their names, or `none`; a template, such as a form's
        choice.
    :param self_approval: whether who triggered the run may approve it.
    :param planned_only: a dry run: there is nothing to approve.
    :return: {"outcome": approved | rejected | not_asked, "message", "stage", "by", "at" (ISO 8601)}. All other
        parameters are those of ApprovalOperator, without subject, body and options.
    """

    template_fields: Sequence[str] = ("approval", "planned_only", *RolloutOperator.template_fields)

    def __init__(
        self,
        *,
        stage: str,
        approve_before: Sequence[str] = (),
        approval: bool | str | Sequence[str] = True,
        self_approval: bool = True,
        planned_only: bool | str = False,
        **kwargs: Any,
    ) -> None:
        if approval_operator() is None:
            raise InvalidInputError(
                "ApproveStageOperator needs Airflow 3.1 or later",
                remedy="before that, give PlanRolloutOperator an approved_plan",
            )
        super().__init__(subject=f"Roll out to stage {stage}?", defaults="Reject", **kwargs)
        self.stage = stage
        self.approve_before = approve_before or (stage,)
        self.approval = approval
        self.self_approval = self_approval
        self.planned_only = planned_only

    def execute(self, context: Context) -> Any:
        """Say why nobody is asked, or ask."""
        from airflow_gar_provider.core.approval import asked, body, why_not_asked

        with self.explained(context):
            state = self.fleet_state(context)
            plan, verdicts, judged, earlier = state.read_plan(), state.verdicts(), state.judged(), None
            if is_true(self.planned_only):
                reason: str | None = "it is a dry run"
            elif self.stage not in asked(self.approve_before, self.approval):
                reason = "no approval was wanted"
            else:
                earlier = state.approval(self.stage)
                reason = why_not_asked(plan, self.stage, verdicts, judged, stopped=state.stopped)
        # Of a try that died before its end. Somebody who clears the task wants to be asked again.
        if earlier is not None and (earlier.approved or goes_on(self, context)):
            chosen = self.APPROVE if earlier.approved else self.REJECT
            at, by = datetime.fromisoformat(earlier.at), {"id": earlier.by, "name": earlier.by} if earlier.by else None
            event = {"chosen_options": [chosen], "params_input": {}, "responded_at": at, "responded_by_user": by}
            return self._end(context, earlier, event)
        if reason is not None:
            self.log.info("nobody is asked: %s", reason)
            return {"outcome": "not_asked", "message": f"nobody is asked: {reason}", "stage": self.stage}
        # Set here and no template field: text of others must not be rendered as a template.
        self.body = body(
            plan, self.stage, verdicts, judged, at=datetime.now(timezone.utc).isoformat(timespec="seconds")
        )
        if goes_on(self, context):
            self.log.warning(
                "the try before ended without an answer; whoever has answered already must do so once more"
            )
        self.log.info("asking before stage %s:\n%s", self.stage, self.body)
        return inspect.unwrap(_Approval.execute)(self, context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Keep the answer; a rejection skips the stage, as Airflow does it."""
        with self.explained(context):
            answer = self._answer(context, event)
            self.fleet_state().keep_approval(answer)
        return self._end(context, answer, event)

    def _end(self, context: Context, answer: Approval, event: Mapping[str, Any]) -> Any:
        if answer.outcome == "own_run":
            with self.explained(context):
                raise NotApprovedError([self.stage], why=answer.sentence)
        result = self._result(answer)
        context["ti"].xcom_push(key="return_value", value=result)  # a rejection ends in an exception of Airflow's
        super().execute_complete(context, dict(event))
        return result

    def _result(self, answer: Approval) -> dict[str, Any]:
        message = f"stage {self.stage}: {answer.sentence}"
        self.log.info(message)
        return {**answer.to_json(), "outcome": "approved" if answer.approved else "rejected", "message": message}

    def _answer(self, context: Context, event: Mapping[str, Any]) -> Approval:
        from airflow_gar_provider.core.approval import judged_answer

        at = event.get("responded_at") or datetime.now(timezone.utc)
        return judged_answer(
            self.stage,
            approve=event.get("chosen_options") == [self.APPROVE],
            timed_out=bool(event.get("timedout")),
            by=event.get("responded_by_user"),
            at=at.isoformat(timespec="seconds") if isinstance(at, datetime) else str(at),
            requester=None if self.self_approval else requester_of(context),
        )
