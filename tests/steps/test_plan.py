"""A plan is read from Google once, with list calls; nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airflow_gar_provider import __version__
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Find, Fleet, Identity, Member, Packages, Stage
from airflow_gar_provider.core.planning import Request
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.core.rollout import StageVerdict, Verdict
from airflow_gar_provider.errors import InvalidFleetError, InvalidInputError, NotFoundError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.fleet_state import FleetState
from airflow_gar_provider.steps.glances import Glance, dumps, loads
from airflow_gar_provider.steps.plan import make_plan, own_last, read_fleet_object
from airflow_gar_provider.steps.point import PIP_CONF, point
from airflow_gar_provider.steps.repository import create_repository
from tests.conftest import LOCATION, Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

NOW = datetime.now(timezone.utc)


@pytest.fixture
def bucket(sandbox: Running, project: str) -> str:
    name = f"{project}-state"
    sandbox.setup(buckets=[f"{project}/{name}"])
    return name


@pytest.fixture
def names(sandbox: Running, project: str, owner: str) -> list[EnvironmentName]:
    """Three environments of one location."""
    texts = [f"projects/{project}/locations/{LOCATION}/environments/{name}" for name in ("one", "three", "two")]
    sandbox.setup(environments=texts)
    return [EnvironmentName.parse(text) for text in texts]


@pytest.fixture
def fleet(bucket: str, names: list[EnvironmentName], project: str) -> Fleet:
    one = Stage("dev", (Member(names[0]),))
    rest = Stage("prod", find=(Find((project,), (LOCATION,)),))
    return Fleet(f"gs://{bucket}/rollouts", (one, rest))


def request(text: str = "acme-lib", **more: object) -> Request:
    return Request(Packages(parse_requirements(text)), **more)  # type: ignore[arg-type]


def test_a_plan_costs_lists_only(
    sandbox: Running,
    cloud: Cloud,
    fleet: Fleet,
    names: list[EnvironmentName],
    repository: RepositoryName,
    published: Callable[[Path], str],
    tmp_path: Path,
    clock: QuickClock,
) -> None:
    """One page of environments, one of image versions, the registry's pages, one pip.conf each; no change."""
    for version in ("1.0", "1.1"):
        published(make_wheel(tmp_path, "acme_lib", version))
    point(cloud.storage, cloud.composer.get_environment(names[0]), repository, clock=clock)
    before = len(sandbox.calls(names[0].project))
    plan = make_plan(lambda _: cloud, fleet, repository, request(), run="dag/run", now=NOW)
    assert [(item.environment.name, item.stage, item.outlook) for item in plan.items] == [
        ("one", "dev", "change"),
        ("three", "prod", "change"),
        ("two", "prod", "change"),
    ]
    assert [item.requirements for item in plan.items] == [("acme-lib==1.1",)] * 3
    assert [item.pip_conf for item in plan.items] == [False, True, True]
    [(file, sha256)] = plan.wheels.items()
    assert file == "acme_lib-1.1-py3-none-any.whl"
    assert len(sha256) == 64
    calls = sandbox.calls(names[0].project)[before:]
    counted = Counter(str(call["method"]).rsplit(".", 1)[-1] for call in calls)
    assert counted["ListEnvironments"] == 1
    assert counted["ListImageVersions"] == 1
    assert counted["GetEnvironment"] == 0
    assert not [call for call in calls if any(verb in str(call["method"]) for verb in ("Update", "insert", "Patch"))]


def test_a_pip_conf_that_has_not_changed_is_not_sent_again(
    sandbox: Running,
    cloud: Cloud,
    fleet: Fleet,
    names: list[EnvironmentName],
    repository: RepositoryName,
    clock: QuickClock,
) -> None:
    """The next plan asks for each pip.conf on condition: 304 without content keeps the answer, a new one is read."""
    state, other = FleetState(cloud.storage, fleet.state, "r"), replace(repository, name="other")
    create_repository(cloud.artifact_registry, other)

    buckets = {cloud.composer.get_environment(name).require_bucket() for name in names}

    def planned(where: RepositoryName) -> tuple[list[bool], Counter[int]]:
        before = sandbox.mark()
        with state.glances(where) as glances:
            plan = make_plan(lambda _: cloud, fleet, where, request("public==1"), run="r", now=NOW, glances=glances)
        calls = sandbox.get("/sandbox/calls")["calls"][before:]
        statuses = Counter(call["status"] for call in calls if buckets & set(str(call["resource"]).split("/")))
        return [item.pip_conf for item in plan.items], statuses

    point(cloud.storage, cloud.composer.get_environment(names[0]), repository, clock=clock)
    assert planned(repository) == ([False, True, True], Counter({200: 1, 404: 2}))
    assert planned(repository) == ([False, True, True], Counter({304: 1, 404: 2}))
    point(cloud.storage, cloud.composer.get_environment(names[1]), repository, clock=clock)
    cloud.storage.write(cloud.composer.get_environment(names[0]).require_bucket(), PIP_CONF, b"")
    assert planned(repository) == ([True, False, True], Counter({200: 2, 404: 1}))
    assert planned(repository) == ([True, False, True], Counter({304: 2, 404: 1}))
    assert planned(other) == ([True, True, True], Counter({200: 2, 404: 1}))


def test_what_was_seen_is_for_one_repository_and_one_version(
    names: list[EnvironmentName], repository: RepositoryName, caplog: pytest.LogCaptureFixture
) -> None:
    """Glances of another repository or of another version of this package are none, and so is what cannot be read."""
    seen = {names[0]: Glance(points=True, generation=5), names[1]: Glance(points=False)}
    text = dumps(seen, repository)
    assert loads(text, repository) == {names[0]: Glance(points=True, generation=5)}
    assert loads(text, replace(repository, name="other")) == {}
    assert loads(text.replace(__version__, "0.0"), repository) == {}
    assert not caplog.records
    for broken in ("", "{}", "[1]", text.replace("[5, true]", "5"), text.replace("environments", "x")):
        assert loads(broken, repository) == {}
    assert "read anew" in caplog.records[-1].message
    assert len(caplog.records) == 5


def test_without_the_check_no_bucket_is_read(
    sandbox: Running, cloud: Cloud, fleet: Fleet, names: list[EnvironmentName], repository: RepositoryName
) -> None:
    """`check_pip_conf=False` reads no environment's bucket; a package that nobody published stays as it is written."""
    before = len(sandbox.calls(names[0].project))
    plan = make_plan(lambda _: cloud, fleet, repository, request("public==1"), run="r", now=NOW, check_pip_conf=False)
    assert [item.pip_conf for item in plan.items] == [False] * 3
    assert [item.requirements for item in plan.items] == [("public==1",)] * 3
    calls = sandbox.calls(names[0].project)[before:]
    assert not [call for call in calls if "storage" in str(call["method"])]


def test_ages_come_from_the_registry(
    cloud: Cloud, fleet: Fleet, repository: RepositoryName, published: Callable[[Path], str], tmp_path: Path
) -> None:
    """A version is as old as the registry says: younger ones wait."""
    published(make_wheel(tmp_path, "acme_lib", "1.0"))
    day = timedelta(days=1)
    young = make_plan(lambda _: cloud, fleet, repository, request(minimum_age=day), run="r", now=NOW)
    assert {item.outlook for item in young.items} == {"blocked"}
    assert "younger than 24 hours" in (young.items[0].why or "")
    later = make_plan(lambda _: cloud, fleet, repository, request(minimum_age=day), run="r", now=NOW + 2 * day)
    assert {item.outlook for item in later.items} == {"change"}


def test_what_an_identity_may_not_list_is_blocked(
    cloud_of: Callable[[str], Cloud],
    cloud: Cloud,
    fleet: Fleet,
    names: list[EnvironmentName],
    repository: RepositoryName,
) -> None:
    """An identity that may list nothing blocks its environments, with Google's reason; the others are planned."""
    stranger = cloud_of(f"stranger@{names[0].project}.iam.gserviceaccount.com")
    strange = Identity("stranger")
    whole = replace(fleet, stages=(replace(fleet.stages[0], identity=strange), *fleet.stages[1:]))
    plan = make_plan(
        lambda identity: stranger if identity == strange else cloud, whole, repository, request("public==1"),
        run="r", now=NOW,
    )  # fmt: skip
    assert [(item.environment.name, item.outlook) for item in plan.items] == [
        ("one", "blocked"),
        ("three", "change"),
        ("two", "change"),
    ]
    assert "its location cannot be listed" in (plan.items[0].why or "")


def test_a_plan_is_kept_once(
    cloud: Cloud, fleet: Fleet, repository: RepositoryName, names: list[EnvironmentName]
) -> None:
    """The first plan of a rollout is the one that is applied, whatever a second try would plan."""
    state = FleetState(cloud.storage, fleet.state, "dag/run")
    with pytest.raises(InvalidInputError, match="has no plan"):
        state.read_plan()
    first = make_plan(lambda _: cloud, fleet, repository, request("public==1"), run="dag/run", now=NOW)
    second = make_plan(lambda _: cloud, fleet, repository, request("public==2"), run="dag/run", now=NOW)
    assert state.write_plan(first) == first
    assert state.write_plan(second) == first
    assert state.read_plan().digest == first.digest


def test_verdicts_are_read_from_one_listing(cloud: Cloud, fleet: Fleet, names: list[EnvironmentName]) -> None:
    """Who failed is known without reading an object; the whole verdict is there for the report."""
    state = FleetState(cloud.storage, fleet.state, "dag/run")
    assert state.outcomes() == []
    failed = Verdict(str(names[0]), "dev", "failed", "no access", "AccessDenied", seconds=60)
    state.put_verdict(failed)
    state.put_verdict(Verdict(str(names[1]), "prod", "installed"))
    assert [(v.environment, v.stage, v.outcome, v.why) for v in state.outcomes()] == [
        (str(names[0]), "dev", "failed", None),
        (str(names[1]), "prod", "installed", None),
    ]
    assert state.verdict(names[0]) == failed
    assert state.verdict(names[2]) is None
    assert failed in state.verdicts()
    state.judge(StageVerdict("dev", passed=False, why="import errors"))
    assert state.judged() == [StageVerdict("dev", passed=False, why="import errors")]


def test_turns_are_taken_and_given_back(cloud: Cloud, fleet: Fleet, names: list[EnvironmentName]) -> None:
    """No more than the places of a stage are taken; a retry keeps its own; a dead holder loses it."""
    state = FleetState(cloud.storage, fleet.state, "dag/run")

    def take(number: int, now: float) -> bool:
        return state.take_turn("prod", names[number], 2, now=now, lease=100)

    assert take(0, 0)
    assert take(1, 10)
    assert not take(2, 20)
    assert take(0, 30), "a retry finds its own place"
    state.give_back("prod", names[1], 2)
    assert take(2, 40)
    assert not take(1, 50)
    assert take(1, 101), "the first holder has not ended for longer than the lease"
    assert not state.take_turn("prod", names[0], 2, now=110, lease=100)


def test_the_switch_and_holds(cloud: Cloud, fleet: Fleet, names: list[EnvironmentName]) -> None:
    """An object STOP stops; what was rolled back is known to the next plan until its object is deleted."""
    state = FleetState(cloud.storage, fleet.state, "dag/run")
    assert not state.stopped
    bucket = fleet.state.removeprefix("gs://").split("/")[0]
    cloud.storage.write(bucket, "rollouts/STOP", b"")
    assert state.stopped
    assert state.holds() == {}
    state.hold(names[0], "acme-lib", "1.0+cu12", "import errors")
    [(name, held)] = state.holds().items()
    assert name == names[0]
    assert list(held) == ["acme-lib==1.0+cu12"]
    assert "delete gs://" in held["acme-lib==1.0+cu12"]


def test_the_own_environment_goes_last(
    cloud: Cloud, fleet: Fleet, repository: RepositoryName, names: list[EnvironmentName]
) -> None:
    """The environment that runs the rollout is updated after all others of its stage."""
    plan = make_plan(lambda _: cloud, fleet, repository, request("public==1"), run="r", now=NOW)
    items = own_last(plan.of_stage("prod"), names[1])
    assert [item.environment.name for item in items] == ["two", "three"]
    assert own_last(plan.of_stage("prod"), None) == list(plan.of_stage("prod"))


def test_a_fleet_file_in_a_bucket(cloud: Cloud, bucket: str, names: list[EnvironmentName]) -> None:
    """It is read when the rollout is planned; stages that the DAG was not made for are an error, with both lists."""
    uri = f"gs://{bucket}/fleet.yaml"
    with pytest.raises(NotFoundError, match="there is no fleet file"):
        read_fleet_object(cloud.storage, uri)
    text = f"state: gs://{bucket}/gar\nstages:\n  - name: dev\n    environments: [{names[0]}]\n"
    cloud.storage.write(bucket, "fleet.yaml", text.encode())
    fleet = read_fleet_object(cloud.storage, uri, stages=["dev"], state=f"gs://{bucket}/gar/")
    assert [member.name for member in fleet.stages[0].members] == [names[0]]
    with pytest.raises(InvalidFleetError) as caught:
        read_fleet_object(cloud.storage, uri, stages=["dev", "prod"], state="gs://other/gar")
    assert "its stages are dev; the DAG was made for dev, prod" in str(caught.value)
    assert f"its state is gs://{bucket}/gar; the DAG was made for gs://other/gar" in str(caught.value)
    cloud.storage.write(bucket, "fleet.yaml", b"\xff")
    with pytest.raises(InvalidFleetError, match="it is not UTF-8 text"):
        read_fleet_object(cloud.storage, uri)
