"""Fleets in a DAG: `roll_out` makes the task group that plans, rolls out in stages, and reports."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow_gar_provider.compat import Param, TaskGroup, approval_operator, counts_deferred_tasks
from airflow_gar_provider.core.fleet import Find, Hold, Identity, Member, Packages, Stage
from airflow_gar_provider.core.fleet import Fleet as _Fleet
from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.errors import InvalidFleetError, InvalidInputError
from airflow_gar_provider.operators.begin_stage import BeginStageOperator
from airflow_gar_provider.operators.begin_undo import BeginUndoOperator
from airflow_gar_provider.operators.plan_rollout import PlanRolloutOperator
from airflow_gar_provider.operators.report_rollout import ReportRolloutOperator
from airflow_gar_provider.operators.roll_back_environment import RollBackEnvironmentOperator
from airflow_gar_provider.operators.roll_out_environment import RollOutEnvironmentOperator
from airflow_gar_provider.operators.rollout_outcome import RolloutOutcomeOperator
from airflow_gar_provider.sensors.stage_verdict import StageVerdictSensor

__all__ = ["Find", "Fleet", "Freeze", "Hold", "Identity", "Member", "Packages", "Stage", "roll_out"]

ON_FAILURE = ("stop", "roll_back")
LABEL = "{{ task.environment.split('/')[-1] }}"
"""What a mapped task is called in the UI: the environment's own id."""


class Fleet(_Fleet):
    """A fleet, as a DAG file uses it: from a YAML file beside it, and as fields of its trigger form."""

    @classmethod
    def from_file(cls, path: str | Path) -> Fleet:
        """Read a YAML file; a relative path is relative to the file that calls. Raises InvalidFleetError.

        It is read whenever the DAG file is parsed, so that stages become task groups. Environments that it looks for by
        label are found when a rollout is planned.
        """
        from airflow_gar_provider.core.fleet_file import read_fleet  # noqa: PLC0415

        file = Path(sys._getframe(1).f_code.co_filename).parent / path
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidFleetError(str(path), [f"it cannot be read: {error}"]) from error
        read = read_fleet(text, str(path))
        return cls(read.state, read.stages, read.identity, read.packages, read.freezes, read.holds)

    def params(self, *, default: Sequence[str] = ()) -> dict[str, Param]:
        """A field `environments` for the trigger form: a choice among the environments that the fleet names.

        Nothing chosen means all, those included that are found by label, and then the field is null: a template says
        `{{ params.environments or '' }}`. `default`: what is chosen at first.
        """
        names = [member.name.name for stage in self.stages for member in stage.members]
        return {
            "environments": Param(
                list(default),
                type=["array", "null"],  # else the form would not let it be emptied
                items={"type": "string", "enum": names},
                examples=names,
                uniqueItems=True,
                title="Environments",
                description_md="Which environments are rolled out; none chosen: the whole fleet.",
            )
        }


def roll_out(
    fleet: Fleet,
    *,
    repository: str,
    definition: str | None = None,
    requirements: str | Sequence[str] | None = None,
    absent: str | Sequence[str] = (),
    environments: str | Sequence[str] | None = None,
    strategy: str = "one",
    minimum_age: float = 0,
    changed: str = "refuse",
    allowed_prefixes: str | Sequence[str] | None = None,
    approve_before: str | Sequence[str] | None = None,
    approval: bool | str | Sequence[str] = True,
    approval_timeout: timedelta = timedelta(hours=24),
    approvers: Sequence[str] | None = None,
    self_approval: bool = True,
    approved_plan: str | None = None,
    on_failure: str = "stop",
    drain: float = 0,
    drain_action: str = "go",
    preflight: bool | str = True,
    skip_checks: str | Sequence[str] = (),
    smoke_dag_id: str | None = None,
    dry_run: bool | str = False,
    timeout: float = 5400,
    poll_interval: float = 30,
    retries: int = 2,
    notify: Callable[[dict[str, Any]], None] | None = None,
    group_id: str = "roll_out",
) -> TaskGroup:
    """The task group that brings a fleet to wanted packages: plan, stages with gates, undo, report, outcome.

    Each stage begins when the one before has passed. Its environments are one mapped task each, of which no more than
    `max_parallel` are under way; the rest is not started when more than `max_failures` fail, when the fleet's STOP
    switch is on, or in a freeze. The last task fails when any environment is not as planned, and so the DAG run.

    :param fleet: who, in which order, how carefully.
    :param repository: `projects/P/locations/L/repositories/R`, which each environment's pip.conf will name.
    :param definition: the `gs://` URI of a fleet file that is read when the rollout is planned, in place of `fleet`:
        environments, packages, holds, freezes and limits as they are then. Its stages and its state are those of
        `fleet`, for which the tasks are made.
    :param requirements: for every environment; not given: what the fleet says of each.
    :param absent: names of packages that must not be declared.
    :param environments: only these; not given or empty: all.
    :param strategy: one, or newest_each (see PlanRolloutOperator).
    :param minimum_age: seconds since its publication before a version is chosen for a range or a bare name; with
        newest_each, a younger one that is declared already stays.
    :param changed: an environment that changed since the plan: refuse, or replan.
    :param allowed_prefixes: prefixes, one of which every name in `requirements` and `absent` must have: no form can
        change them.
    :param approve_before: stages that somebody has to approve. Before Airflow 3.1, which can ask nobody, a run that
        changes one of them needs an `approved_plan`.
    :param approval: before which of those stages somebody is really asked: True for all, their names, or `none`; a
        template, such as a form's choice. Whoever may trigger the DAG then chooses.
    :param approval_timeout: no answer within it is a refusal.
    :param approvers: ids of the users who may approve; not given: whoever may.
    :param self_approval: whether who triggered the run may approve it.
    :param approved_plan: the `content_digest` that a dry run has shown: exactly that plan is applied, or none.
    :param on_failure: stop, or roll_back: what was done is undone, the last environment first.
    :param drain: seconds to wait for running tasks in each environment; `drain_action` is what comes then.
    :param preflight: True, False, or "resolve"; `skip_checks` names checks to leave out, `import_errors` that of the
        DAGs after the install (see InstallPrivatePackageOperator).
    :param smoke_dag_id: a DAG in each environment that has to succeed after the install.
    :param dry_run: plan and report only.
    :param timeout: seconds to wait for each update.
    :param poll_interval: seconds between two looks at an operation.
    :param retries: tries after the first one, for every task; at least two, because an update may end its own task.
    :param notify: called with the report (see ReportRolloutOperator).
    :param group_id: the task group's id.
    Raises InvalidInputError for a stage or a word that there is not.
    """
    approved = [approve_before] if isinstance(approve_before, str) else list(approve_before or ())
    for name in approved:
        fleet.stage(name)
    if on_failure not in ON_FAILURE:
        raise InvalidInputError(f"on_failure is one of {', '.join(ON_FAILURE)}, not {on_failure!r}")
    shared = _shared(fleet, max(2, retries))
    asks = bool(approved) and approval_operator() is not None
    question: dict[str, Any] = {
        "approve_before": approved,
        "approval": approval,
        "self_approval": self_approval,
        "response_timeout": approval_timeout,
        "assigned_users": [{"id": user, "name": user} for user in approvers] if approvers else None,
        "planned_only": dry_run,
        **shared,
    }
    waits: dict[str, Any] = {"timeout": timeout, "poll_interval": poll_interval}
    unit: dict[str, Any] = {
        "changed": changed,
        "rollback": on_failure == "roll_back",
        "smoke_dag_id": smoke_dag_id,
        "drain": drain,
        "drain_action": drain_action,
        "preflight": preflight,
        "skip_checks": skip_checks,
        **waits,
    }
    with TaskGroup(group_id=group_id) as group:
        plan = PlanRolloutOperator(
            task_id="plan",
            fleet=definition or fleet,
            stages=[stage.name for stage in fleet.stages],
            repository=repository,
            requirements=requirements,
            absent=absent,
            environments=environments,
            strategy=strategy,
            minimum_age=minimum_age,
            allowed_prefixes=allowed_prefixes,
            approved_plan=approved_plan,
            approve_before=[] if asks else approved,
            approval=approval,
            planned_only=dry_run,
            **shared,
        )
        before: Any = plan
        for stage in fleet.stages:
            with TaskGroup(group_id=stage.name):
                if stage.name in approved and asks:
                    before = before >> _approval(stage, question)
                before = _stage(plan, stage, before, dry_run, unit, shared)
        ends = [before, *([_undo(shared, waits, before)] if on_failure == "roll_back" else [])]
        last: dict[str, Any] = {"planned_only": dry_run, "trigger_rule": "all_done", **shared}
        report = ReportRolloutOperator(task_id="report", notify=notify, **last)
        outcome = RolloutOutcomeOperator(task_id="outcome", **last)
        ends >> report
        report >> outcome
    return group


def _shared(fleet: _Fleet, retries: int) -> dict[str, Any]:
    """What every task of a rollout gets: where the state is, as whom it is read, and how often a task is tried."""
    identity = fleet.identity
    return {
        "state": fleet.state,
        "gcp_conn_id": identity.gcp_conn_id or "google_cloud_default",
        "impersonation_chain": list(identity.impersonation_chain) if identity.impersonation_chain else None,
        "retries": retries,
    }


def _stage(  # noqa: PLR0917 -- private, and called once
    plan: Any, stage: Stage, before: Any, dry_run: bool | str, unit: dict[str, Any], shared: dict[str, Any]
) -> Any:
    """Name the environments, roll each out, judge the whole."""
    begin = BeginStageOperator(
        task_id="begin",
        stage=stage.name,
        digest=f"{{{{ ti.xcom_pull(task_ids='{plan.task_id}')['digest'] }}}}",
        planned_only=dry_run,
        **shared,
    )
    environment = RollOutEnvironmentOperator.partial(
        task_id="environment",
        state=shared["state"],
        state_gcp_conn_id=shared["gcp_conn_id"],
        state_impersonation_chain=shared["impersonation_chain"],
        # Before 3.2 a limit does not count deferred tasks: there a task waits on its worker.
        deferrable=counts_deferred_tasks,
        max_active_tis_per_dagrun=stage.max_parallel,
        retries=shared["retries"],
        map_index_template=LABEL,
        **unit,
    ).expand_kwargs(begin.output)
    verdict = StageVerdictSensor(
        task_id="verdict",
        stage=stage.name,
        planned_only=dry_run,
        poke_interval=max(10.0, min(60.0, stage.soak / 5)),
        timeout=stage.soak + 3600,
        trigger_rule="all_done",
        **shared,
    )
    before >> begin >> environment >> verdict
    return verdict


def _undo(shared: dict[str, Any], waits: dict[str, Any], after: Any) -> Any:
    """What an abort leaves to be undone, one environment after the other, the last one first."""
    with TaskGroup(group_id="undo"):
        begin = BeginUndoOperator(task_id="begin", only_after_abort=True, trigger_rule="all_done", **shared)
        undone = RollBackEnvironmentOperator.partial(
            task_id="environment",
            state=shared["state"],
            state_gcp_conn_id=shared["gcp_conn_id"],
            state_impersonation_chain=shared["impersonation_chain"],
            why="the rollout was stopped",
            max_active_tis_per_dagrun=1,
            retries=shared["retries"],
            map_index_template=LABEL,
            **waits,
        ).expand_kwargs(begin.output)
        after >> begin >> undone
    return undone


def _approval(stage: Stage, question: dict[str, Any]) -> Any:
    """Airflow's own approval; imported only where it is wanted, because a DAG file pays for it."""
    from airflow_gar_provider.operators.approve_stage import ApproveStageOperator  # noqa: PLC0415

    return ApproveStageOperator(task_id="approval", stage=stage.name, **question)
