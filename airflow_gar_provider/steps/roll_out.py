"""Roll out: the way of one environment of a fleet, from its turn to its verdict; and the judgement of a whole stage.

Every task of a rollout runs on whatever worker it gets, and may run again: what it has to know of the others is in the
fleet's bucket (`steps.fleet_state`), never in its own memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_gar_provider.core.choice import CandidateFile
from airflow_gar_provider.core.environment import EnvironmentName, Wish
from airflow_gar_provider.core.freeze import frozen
from airflow_gar_provider.core.plan import Item, Plan, fingerprint
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.core.rollout import BAD, DONE, StageVerdict, Verdict, outcome_of, reason_not_to_begin
from airflow_gar_provider.errors import ChangedSincePlanError, RolledBackError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.environment_dag import run_environment_dag
from airflow_gar_provider.steps.fleet_state import FleetState
from airflow_gar_provider.steps.install import Draining, Pending, proceed
from airflow_gar_provider.steps.plan import read_registry
from airflow_gar_provider.steps.record import ROLLING_BACK, read_record, slug, update_record
from airflow_gar_provider.steps.update import wait

log = logging.getLogger(__name__)
_TURN_POLL = 15.0
"""Seconds between two looks for a free place."""
LEASE = 3 * 3600.0
"""Seconds after which a place counts as left by a task that died at its last try: longer than any update."""
CHANGED = ("refuse", "replan")


def environment_run(rollout: str, environment: EnvironmentName) -> str:
    """What identifies one environment's part of a rollout: its run record has this name."""
    return f"{rollout}/{environment}"


def enter(state: FleetState, plan: Plan, item: Item, clock: Clock, *, now: datetime, attempt: int) -> Verdict | None:
    """Wait for the environment's turn; a verdict when it is not to be begun, or has ended before, else None.

    An environment that an earlier try has begun (`attempt` > 1) is gone on with, whatever the others came to: half an
    update is worse than a whole one. `now`: the time, with an offset, as the wait begins.
    """
    stage, begun = plan.stage(item.stage), clock.monotonic()
    earlier = state.verdict(item.environment)
    if earlier is not None:
        log.info("%s has ended before: %s", item.environment.name, earlier.outcome)
        # Of a try that died between its verdict and its place: nobody else would get that place for hours.
        state.give_back(item.stage, item.environment, stage.max_parallel)
        return earlier
    while True:
        waited = clock.monotonic() - begun
        moment = datetime.fromtimestamp(now.timestamp() + waited, now.tzinfo)
        if attempt > 1 and state.turn_since(item.stage, item.environment, stage.max_parallel) is not None:
            return None
        reason = reason_not_to_begin(
            stage,
            plan.before(item.stage),
            state.outcomes(),
            state.judged(),
            stopped=state.stopped,
            freeze=frozen(plan.freezes, moment, item.stage),
        )
        if reason is not None:
            verdict = Verdict(str(item.environment), item.stage, "not_started", reason)
            state.put_verdict(verdict)
            return verdict
        taken = state.take_turn(item.stage, item.environment, stage.max_parallel, now=moment.timestamp(), lease=LEASE)
        if taken:
            return None
        log.info("waiting for a turn: %d environments of stage %s are under way", stage.max_parallel, item.stage)
        clock.sleep(_TURN_POLL)


def leave(state: FleetState, plan: Plan, verdict: Verdict) -> None:
    """Keep the verdict, then free the place: who gets it next knows how this one ended."""
    state.put_verdict(verdict)
    stage = plan.stage(verdict.stage)
    state.give_back(verdict.stage, EnvironmentName.parse(verdict.environment), stage.max_parallel)


def check_unchanged(cloud: Cloud, plan: Plan, item: Item) -> None:
    """Raise ChangedSincePlanError when the environment is not what the plan was computed from.

    Once this rollout has begun to change it (its run record is there), it is not asked any more.
    """
    environment = cloud.composer.get_environment(item.environment)
    run = environment_run(plan.run, item.environment)
    begun = read_record(cloud.storage, environment.require_bucket(), run) is not None
    if not begun and fingerprint(environment) != item.fingerprint:
        raise ChangedSincePlanError(
            "the environment's packages or its image have changed since the plan was made",
            resource=str(item.environment),
            remedy='start a new rollout, so that its plan can be looked at; or allow it: changed="replan"',
        )


def check_wheels(cloud: Cloud, plan: Plan, item: Item) -> None:
    """Raise ChangedSincePlanError when a planned version has other files now. It reads the planned packages.

    A file that has come counts, too: pip prefers a wheel with a narrower tag to the one that was planned.
    """
    repository = RepositoryName.parse(plan.repository)
    names = {Requirement.parse(text).name for text in item.requirements}
    found = read_registry(cloud, repository, names).hashes
    planned = {file: sha256 for file, sha256 in plan.wheels.items() if _package_of(file) in names}
    versions = {CandidateFile(file).identity for file in planned}
    now = {file: sha256 for file, sha256 in found.items() if CandidateFile(file).identity in versions}
    wrong = [
        f"{file}: planned {planned.get(file, 'not at all')}, now {now.get(file, 'not there')}"
        for file in sorted({*planned, *now})
        if planned.get(file) != now.get(file)
    ]
    if wrong:
        raise ChangedSincePlanError(
            "the registry has other files than the plan:\n" + "\n".join(f"  - {line}" for line in wrong),
            resource=str(repository),
            remedy="find out who changed a published version, then start a new rollout",
        )


def _package_of(file: str) -> str:
    identity = CandidateFile(file).identity
    return identity[0] if identity else ""


def wish_of(plan: Plan, item: Item, **more: Any) -> Wish:
    """What the plan wants of an environment, as an install's wish; `more`: further fields of it."""
    return Wish(
        environment=item.environment,
        requirements=tuple(Requirement.parse(text) for text in item.requirements),
        absent=item.absent,
        repository=RepositoryName.parse(plan.repository),
        run=environment_run(plan.run, item.environment),
        **more,
    )


def verdict_of(item: Item, result: Mapping[str, Any], seconds: float) -> Verdict:
    """An install's result, or that of its failure, as the environment's verdict."""
    outcome = result["outcome"] if result["outcome"] in (*DONE, *BAD) else "failed"
    failed = outcome in BAD
    return Verdict(
        environment=str(item.environment),
        stage=item.stage,
        outcome=outcome,
        why=str(result.get("message", "")).splitlines()[0][:500] if failed and result.get("message") else None,
        cause=str(result.get("cause") or result.get("error") or "") or None if failed else None,
        packages=tuple(result.get("packages", ())),
        seconds=round(seconds, 1),
        link=result.get("link"),
    )


def undo(
    cloud: Cloud, environment: EnvironmentName, rollout: str, clock: Clock, *, why: str, waited: Pending | None = None
) -> Pending | Draining | dict[str, Any]:
    """Give an environment back what it had before a rollout: what to wait for, or the result when it is done.

    Outcomes: rolled_back, unchanged (the rollout changed nothing there, or it was undone before). The versions that are
    taken back are held there. Only the packages of the rollout are touched. Raises what `steps.rollback.resume` raises.
    """
    run = environment_run(rollout, environment)
    bucket = cloud.composer.get_environment(environment).require_bucket()
    record = read_record(cloud.storage, bucket, run)
    if record is None or not record.generation or record.outcome == "rolled_back" or not record.updates:
        return _undone("unchanged", environment, f"{rollout} changed nothing in {environment.name} that is still there")
    if record.phase != ROLLING_BACK:
        update_record(cloud.storage, bucket, record, phase=ROLLING_BACK, failure=why, operation=None, outcome="")
    wish = Wish(environment, (), run=run, checks=frozenset(), import_errors=False)
    try:
        return proceed(cloud, wish, clock, waited)
    except RolledBackError as end:
        return _undone("rolled_back", environment, end.what)


def undo_here(
    cloud: Cloud,
    environment: EnvironmentName,
    rollout: str,
    clock: Clock,
    *,
    why: str,
    timeout: float,
    poll_interval: float,
    on_wait: Callable[[str], None] = lambda operation: None,
) -> dict[str, Any]:
    """`undo`, waiting in this process; `timeout`: seconds for each operation that is waited for.

    `on_wait` is told each operation before it is waited for.
    """
    waited: Pending | None = None
    while True:
        found = undo(cloud, environment, rollout, clock, why=why, waited=waited)
        if isinstance(found, dict):
            return found
        if isinstance(found, Pending):
            on_wait(found.operation)
            wait(cloud, found, clock, timeout=timeout, poll_interval=poll_interval)
            waited = found


def _undone(outcome: str, environment: EnvironmentName, message: str) -> dict[str, Any]:
    return {"outcome": outcome, "message": message, "environment": str(environment)}


def note_holds(state: FleetState, item: Item, why: str) -> None:
    """Tell the plans to come that the versions of this item were rolled back in its environment."""
    for text in item.requirements:
        requirement = Requirement.parse(text)
        if requirement.pinned:
            state.hold(item.environment, requirement.name, requirement.pinned, why)


def note_undone(state: FleetState, environment: EnvironmentName, why: str) -> None:
    """The verdict of an environment that was undone, and the hold of what was taken back there.

    A second call finds it noted.
    """
    verdict = state.verdict(environment)
    if verdict is None or verdict.outcome == "rolled_back":
        return
    note_holds(state, state.read_plan().item(environment), why)
    swapped = tuple({**p, "before": p.get("after"), "after": p.get("before")} for p in verdict.packages)
    state.put_verdict(replace(verdict, outcome="rolled_back", why=why, packages=swapped))
    state.drop_verdict(verdict)


def judge(state: FleetState, plan: Plan, stage: str, trouble: Iterable[str] = ()) -> StageVerdict:
    """Whether a stage passed: no more of its environments failed than may, all were begun, and no trouble was seen.

    An environment without a verdict counts as failed: its task died, or was never begun. A stage after one that did not
    pass does not pass either, with nothing to do as well: what comes after it must not be begun.
    """
    limits, earlier = plan.stage(stage), {before.name for before in plan.before(stage)}
    ended_badly = [judged.stage for judged in state.judged() if judged.stage in earlier and not judged.passed]
    by_name = {verdict.environment: verdict for verdict in state.outcomes()}
    outcomes = {item.environment: outcome_of(item, by_name.get(str(item.environment))) for item in plan.of_stage(stage)}
    failed = [name.name for name, outcome in outcomes.items() if outcome in (*BAD, "not_reached")]
    waiting = [name.name for name, outcome in outcomes.items() if outcome == "not_started"]
    problems = list(trouble)
    refusal = state.approval(stage) if "not_reached" in outcomes.values() else None
    if ended_badly:
        problems.append(f"stage {ended_badly[0]} did not pass")
    elif refusal is not None and not refusal.approved:
        problems.append(refusal.sentence)
    elif len(failed) > limits.max_failures:
        problems.append(f"{len(failed)} failed ({_few(failed)}), {limits.max_failures} may")
    elif waiting:
        problems.append(f"{len(waiting)} were not started ({_few(waiting)})")
    verdict = StageVerdict(stage, not problems, "; ".join(problems) or None)
    state.judge(verdict)
    return verdict


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def to_undo(state: FleetState, plan: Plan) -> list[Item]:
    """The items to undo after an abort: those that were done, the last stage first."""
    done = {verdict.environment for verdict in state.outcomes() if verdict.outcome == "installed"}
    return [item for item in reversed(plan.items) if str(item.environment) in done]


def smoke(
    cloud: Cloud, environment: EnvironmentName, dag_id: str, rollout: str, clock: Clock, *, timeout: float
) -> dict[str, Any]:
    """Run a DAG of the environment and wait for it. Raises EnvironmentDagError when it does not succeed."""
    found = cloud.composer.get_environment(environment)
    return run_environment_dag(
        cloud.airflow_of(found),
        found,
        dag_id,
        run_id=f"gar-smoke-{slug(rollout)}",
        earlier_run_id=None,
        conf=None,
        unpause=False,
        timeout=timeout,
        clock=clock,
    )


def ledger_entry(
    plan: Plan, verdicts: Iterable[Verdict], judged: Iterable[StageVerdict], *, approval: object, who: str | None
) -> dict[str, Any]:
    """What outlives Airflow's database: who rolled out what, from what to what, approved by whom, and how it ended."""
    return {
        "rollout": plan.run,
        "planned": plan.made,
        "plan_digest": plan.digest,
        "repository": plan.repository,
        "triggered_by": who,
        "approval": approval,
        "wheels": dict(plan.wheels),
        "stages": [{"stage": v.stage, "passed": v.passed, "why": v.why} for v in judged],
        "environments": [verdict.to_json() for verdict in verdicts],
        "left_alone": {str(item.environment): item.outlook for item in plan.items if item.outlook != "change"},
    }
