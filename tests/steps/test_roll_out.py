"""The way of one environment through a rollout, and the soak of its stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Fleet, Member, Packages, Stage
from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.core.plan import Item, Plan
from airflow_gar_provider.core.planning import Request
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.core.rollout import StageVerdict, Verdict
from airflow_gar_provider.errors import ChangedSincePlanError, UnavailableError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.fleet_state import FleetState
from airflow_gar_provider.steps.install import install
from airflow_gar_provider.steps.plan import make_plan
from airflow_gar_provider.steps.repository import grant_access
from airflow_gar_provider.steps.roll_out import (
    check_unchanged,
    check_wheels,
    enter,
    judge,
    leave,
    note_undone,
    to_undo,
    undo_here,
    verdict_of,
    wish_of,
)
from airflow_gar_provider.steps.soak import soak
from tests.conftest import LOCATION, Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


@dataclass
class Way:
    """A fleet of one stage with three environments, and its plan."""

    cloud: Cloud
    state: FleetState
    plan: Plan

    @property
    def items(self) -> tuple[Item, ...]:
        return self.plan.items

    def enter(self, number: int, clock: QuickClock, attempt: int = 1) -> Verdict | None:
        return enter(self.state, self.plan, self.items[number], clock, now=NOW, attempt=attempt)

    def end(self, number: int, outcome: str) -> Verdict:
        verdict = Verdict(str(self.items[number].environment), "dev", outcome, "why" if outcome == "failed" else None)
        leave(self.state, self.plan, verdict)
        return verdict


@pytest.fixture
def way(
    sandbox: Running,
    cloud: Cloud,
    project: str,
    owner: str,
    repository: RepositoryName,
    published: Callable[[Path], str],
    tmp_path: Path,
) -> Way:
    published(make_wheel(tmp_path, "acme_lib", "1.0"))
    texts = [f"projects/{project}/locations/{LOCATION}/environments/{name}" for name in ("one", "three", "two")]
    sandbox.setup(environments=texts, buckets=[f"{project}/{project}-state"])
    members = tuple(Member(EnvironmentName.parse(text)) for text in texts)
    fleet = Fleet(f"gs://{project}-state/gar", (Stage("dev", members),))
    request = Request(Packages(parse_requirements("acme-lib==1.0")))
    plan = make_plan(lambda _: cloud, fleet, repository, request, run="dag/run", now=NOW)
    state = FleetState(cloud.storage, fleet.state, "dag/run")
    return Way(cloud, state, state.write_plan(plan))


class GivingBack(QuickClock):
    """A clock that ends another environment while somebody waits for its place."""

    def __init__(self, end: Callable[[], object]) -> None:
        super().__init__()
        self._end = end

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._end()


def test_one_after_the_other(way: Way, clock: QuickClock) -> None:
    """The second environment waits until the first has its verdict, and then has the place."""
    assert way.enter(0, clock) is None
    waiting = GivingBack(lambda: way.end(0, "installed"))
    assert way.enter(1, waiting) is None
    assert waiting.slept == 15
    assert way.state.turn_since("dev", way.items[0].environment, 1) is None


def test_a_task_dies_between_its_verdict_and_its_place(way: Way, clock: QuickClock) -> None:
    """Its next try frees the place: nobody waits for hours until it counts as left."""
    assert way.enter(0, clock) is None
    way.state.put_verdict(Verdict(str(way.items[0].environment), "dev", "installed"))
    ended = way.enter(0, clock, attempt=2)
    assert ended is not None
    assert ended.outcome == "installed"
    assert way.enter(1, clock) is None
    assert clock.slept == 0


def test_what_waits_learns_that_too_many_failed(way: Way) -> None:
    """A failure while others wait: they are not started, and say why."""
    assert way.enter(0, QuickClock()) is None
    verdict = way.enter(1, GivingBack(lambda: way.end(0, "failed")))
    assert verdict is not None
    assert (verdict.outcome, verdict.why) == ("not_started", "1 of stage dev failed (one), 0 may")
    assert way.enter(1, QuickClock()) == verdict, "a second try finds the verdict"


def test_a_retry_goes_on_whatever_the_others_came_to(way: Way, clock: QuickClock) -> None:
    """An environment that is under way is finished: half an update is worse than a whole one."""
    plan = replace(way.plan, stages=(replace(way.plan.stages[0], max_parallel=2),))
    both = replace(way, plan=plan)
    assert both.enter(0, clock) is None
    assert both.enter(1, clock) is None
    both.end(1, "failed")
    assert both.enter(0, clock, attempt=2) is None
    verdict = both.enter(2, clock)
    assert verdict is not None
    assert verdict.outcome == "not_started"


def test_a_freeze_begins_while_one_waits(way: Way) -> None:
    """The freeze is looked at when the turn comes, not when the task began."""
    begin = (NOW + timedelta(seconds=10)).isoformat()
    frozen = replace(way, plan=replace(way.plan, freezes=(Freeze.parse(begin, "2027-01-01", "sale"),)))
    assert frozen.enter(0, QuickClock()) is None
    verdict = frozen.enter(1, QuickClock())
    assert verdict is not None
    assert verdict.why == "frozen: sale"


def test_an_environment_that_changed_is_refused(way: Way, sandbox: Running, clock: QuickClock) -> None:
    """Another image than planned: refused, unless this rollout itself has begun there."""
    item = way.items[0]
    check_unchanged(way.cloud, way.plan, item)
    other = replace(item, fingerprint="0" * 16)
    with pytest.raises(ChangedSincePlanError, match="have changed since the plan was made"):
        check_unchanged(way.cloud, way.plan, other)


def test_a_replaced_wheel_is_refused(way: Way) -> None:
    """What the registry serves has to be what was planned, file by file."""
    check_wheels(way.cloud, way.plan, way.items[0])
    [file] = way.plan.wheels
    with pytest.raises(ChangedSincePlanError) as caught:
        check_wheels(way.cloud, replace(way.plan, wheels={file: "0" * 64}), way.items[0])
    assert f"{file}: planned {'0' * 64}, now {way.plan.wheels[file]}" in str(caught.value)


def test_a_file_that_came_since_the_plan_is_noticed(way: Way, published: Callable[[Path], str], tmp_path: Path) -> None:
    """A wheel with a narrower tag would be what pip takes; another version is nobody's business here."""
    published(make_wheel(tmp_path, "acme_lib", "1.1"))
    check_wheels(way.cloud, way.plan, way.items[0])
    published(make_wheel(tmp_path, "acme_lib", "1.0", tag="cp311-none-any"))
    with pytest.raises(ChangedSincePlanError, match=r"acme_lib-1\.0-cp311-none-any\.whl: planned not at all, now "):
        check_wheels(way.cloud, way.plan, way.items[0])


def test_a_stage_is_judged(way: Way, clock: QuickClock) -> None:
    """Every environment needs a verdict; one without counts as failed, because its task has died."""
    assert judge(way.state, way.plan, "dev") == StageVerdict(
        "dev", passed=False, why="3 failed (one, three, two), 0 may"
    )
    way.end(0, "installed")
    way.end(1, "unchanged")
    way.end(2, "failed")
    assert judge(way.state, way.plan, "dev").why == "1 failed (two), 0 may"
    tolerant = replace(way.plan, stages=(replace(way.plan.stages[0], max_failures=1),))
    assert judge(way.state, tolerant, "dev").passed
    assert judge(way.state, tolerant, "dev", ["one: broken"]) == StageVerdict("dev", passed=False, why="one: broken")
    assert way.state.judged() == [StageVerdict("dev", passed=False, why="one: broken")]


def test_a_stage_without_work_does_not_pass_after_one_that_failed(way: Way) -> None:
    """Else what comes after it would be begun, and somebody asked to approve it."""
    longer = replace(way.plan, stages=(*way.plan.stages, replace(way.plan.stages[0], name="staging")))
    assert judge(way.state, longer, "staging").passed, "nothing failed yet, and there is nothing to do"
    judge(way.state, longer, "dev")
    assert judge(way.state, longer, "staging") == StageVerdict("staging", passed=False, why="stage dev did not pass")


def test_verdicts_come_from_results(way: Way) -> None:
    """A failure's first line, cause and link are in the verdict; a success has its packages."""
    item = way.items[0]
    failed = {
        "outcome": "failed",
        "error": "InstallFailedError",
        "cause": "no_access",
        "message": "a\nb",
        "link": "https://l",
    }
    verdict = verdict_of(item, failed, 61.04)
    assert (verdict.outcome, verdict.why, verdict.cause, verdict.link, verdict.seconds) == (
        "failed",
        "a",
        "no_access",
        "https://l",
        61.0,
    )
    done = verdict_of(item, {"outcome": "installed", "message": "m", "packages": [{"package": "x"}]}, 1)
    assert (done.why, done.cause, done.packages) == (None, None, ({"package": "x"},))


@pytest.mark.slow
def test_what_was_done_is_undone_once(way: Way, clock: QuickClock, repository: RepositoryName) -> None:
    """Undo gives the packages of before back, holds what was taken back, and a second undo changes nothing."""
    item = way.items[0]
    grant_access(way.cloud.artifact_registry, way.cloud.composer, repository, environment=item.environment, clock=clock)
    wish = wish_of(way.plan, item, import_errors=False)
    result = install(way.cloud, wish, clock, timeout=6000, poll_interval=10)
    assert result["outcome"] == "installed"
    leave(way.state, way.plan, verdict_of(item, result, 60))
    check_unchanged(way.cloud, way.plan, item)
    assert to_undo(way.state, way.plan) == [item]

    def undone() -> dict[str, Any]:
        return undo_here(way.cloud, item.environment, "dag/run", clock, why="too slow", timeout=6000, poll_interval=10)

    assert undone()["outcome"] == "rolled_back"
    note_undone(way.state, item.environment, "too slow")
    assert way.cloud.composer.get_environment(item.environment).packages == {}
    assert undone()["outcome"] == "unchanged"
    note_undone(way.state, item.environment, "too slow")
    assert to_undo(way.state, way.plan) == []
    assert [(v.outcome, v.why) for v in way.state.verdicts()] == [("rolled_back", "too slow")]
    assert list(way.state.holds()[item.environment]) == ["acme-lib==1.0"]


@dataclass
class Calm:
    """An environment's Airflow, as the soak sees it."""

    errors: dict[str, str] = field(default_factory=dict)
    runs: tuple[int, int] = (0, 0)
    silent: bool = False
    composer: Any = None

    def __post_init__(self) -> None:
        self.composer = self

    def get_environment(self, name: EnvironmentName) -> EnvironmentName:
        return name

    def airflow_of(self, _: object) -> Calm:
        return self

    def import_errors(self) -> dict[str, str]:
        if self.silent:
            raise UnavailableError("the web server does not answer")
        return self.errors

    def ended_runs(self, since: datetime) -> tuple[int, int]:
        assert since == NOW
        return self.runs


@pytest.mark.parametrize(
    ("change", "seconds", "over", "trouble"),
    [
        ({}, 60, False, ""),
        ({}, 600, True, ""),
        ({"errors": {"dags/a.py": "Traceback\nModuleNotFoundError: acme"}}, 60, True, "ModuleNotFoundError: acme"),
        ({"runs": (3, 10)}, 60, True, "one: 3 of 10 DAG runs failed, 20% may"),
        ({"runs": (2, 10)}, 60, False, ""),
        ({"runs": (3, 4)}, 60, False, ""),
        ({"silent": True}, 60, False, ""),
    ],
)
def test_a_soak_watches(way: Way, change: dict[str, Any], seconds: float, over: bool, trouble: str) -> None:
    """New import errors and failed DAG runs end it at once; calm, or silence, lasts until its end."""
    airflow = Calm(errors={"dags/old.py": "Traceback\nOldError: x"})
    stage = replace(way.plan.stages[0], soak=600, max_dag_failure_rate=0.2)
    way.end(0, "installed")

    def look(now: datetime) -> tuple[bool, list[str]]:
        return soak(lambda _: cast("Cloud", airflow), way.state, way.plan, stage, now)

    assert look(NOW) == (False, [])
    if "errors" in change:
        change = {"errors": {**airflow.errors, **change["errors"]}}
    for name, value in change.items():
        setattr(airflow, name, value)
    found_over, found = look(NOW + timedelta(seconds=seconds))
    assert found_over is over
    assert (trouble in " ".join(found)) if trouble else (found == [])


def test_without_a_soak_nothing_is_watched(way: Way) -> None:
    """A stage that does not soak, or that changed nothing, is judged at once."""
    way.end(0, "unchanged")
    stage = replace(way.plan.stages[0], soak=600)
    assert soak(lambda _: way.cloud, way.state, way.plan, stage, NOW) == (True, [])
    assert soak(lambda _: way.cloud, way.state, way.plan, way.plan.stages[0], NOW) == (True, [])
