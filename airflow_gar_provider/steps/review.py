"""Review: a plan is applied only as it was approved."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_gar_provider.core.plan import Plan
from airflow_gar_provider.errors import ChangedSincePlanError, NotApprovedError
from airflow_gar_provider.steps.fleet_state import FleetState


def require_reviewed(state: FleetState, plan: Plan, approved: str | None, needed: Sequence[str]) -> None:
    """Hold a plan against the one that was approved, before it is kept.

    `approved`: the content's SHA-256 that an earlier run, such as a dry run, has shown; None: no word of approval.
    `needed`: stages that are not changed without one. Raises ChangedSincePlanError, saying what is not as it was, and
    NotApprovedError, naming the digest to give.
    """
    digest = plan.content_digest
    if approved:
        if approved != digest:
            raise ChangedSincePlanError(
                f"the plan is not the one that was approved ({approved}); now it is {digest}:\n"
                + "\n".join(f"  - {line}" for line in _since(state, plan, approved)[:20]),
                resource=str(plan.repository),
                remedy="look at the new plan (a dry run shows it), then approve that one",
            )
        return
    changing = [stage for stage in needed if plan.of_stage(stage)]
    if changing:
        state.keep_reviewed(plan)
        raise NotApprovedError(changing, digest)


def _since(state: FleetState, plan: Plan, approved: str) -> list[str]:
    reviewed = state.reviewed(approved)
    if reviewed is None:
        return ["no plan with that digest was shown for this fleet: is it the whole digest?"]
    return plan.differences(reviewed)
