"""The example DAGs, unchanged, in a real Airflow, over the world that their constants name.

`tests/test_wheel_as_shipped.py` runs it, with the example DAGs of the wheel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from airflow_gar_provider.compat import approval_operator
from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.publish import publish
from airflow_gar_provider.steps.repository import create_repository, grant_access
from tests.conftest import LOCATION, serving
from tests.rollout import airflow2
from tests.rollout.conftest import Run, World
from tests.wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
FOLDER = "GAR_EXAMPLE_DAGS"
"""The environment variable that names the folder of the DAG files; without it, they are those of the sources."""
EXAMPLES = Path(os.environ.get(FOLDER) or ROOT / "example_dags")
CONSUMER = EXAMPLES / "haversine_distance.py"
SOURCE = ROOT / "example_packages" / "mypythonlib" / "src" / "mypythonlib"
REPOSITORY = f"projects/acme-packages/locations/{LOCATION}/repositories/python"
BUILDS = "acme-packages/acme-packages-builds"
READER = "pip-reader@acme-packages.iam.gserviceaccount.com"
NAMES = ("dev", "staging", "prod")
ENVIRONMENTS = [f"projects/acme-data/locations/{LOCATION}/environments/{name}" for name in NAMES]
DEV = EnvironmentName.parse(ENVIRONMENTS[0])
PUBLISH = """
from airflow import DAG
from airflow_gar_provider.operators import PublishWheelOperator

with DAG("publish", schedule=None):
    PublishWheelOperator(task_id="publish", wheels={wheel!r}, repository={repository!r})
"""


def library(folder: Path, version: str) -> Path:
    """The example package, in any version."""
    members = {f"mypythonlib/{file.name}": file.read_text() for file in SOURCE.iterdir() if file.is_file()}
    return make_wheel(folder, "mypythonlib", version, members=members)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A sandbox of its own, because it is told another date: 1.0.0 is four days old, 1.0.1 is of today."""
    base = tmp_path_factory.mktemp("examples")
    options = [f"--environment={environment}" for environment in ENVIRONMENTS]
    options += ["--project=acme-packages", "--project=acme-data", f"--bucket={BUILDS}", f"--account={READER}"]
    options += [f"--grant=serviceAccount:{READER}=roles/artifactregistry.reader@projects/acme-packages"]
    with serving(base, "--allow-host=127.0.0.1", *options) as sandbox, pytest.MonkeyPatch.context() as patch:
        for name in sandbox.unset:
            patch.delenv(name, raising=False)
        for name, value in sandbox.env.items():
            patch.setenv(name, value)
        cloud = Cloud(Session(Credentials(token=sandbox.token("caller@acme-packages.iam.gserviceaccount.com"))))
        repository = RepositoryName.parse(REPOSITORY)
        created = datetime.now(timezone.utc) - timedelta(days=4)
        sandbox.post("/sandbox/time", {"virtual": True, "at": created.isoformat()})
        create_repository(cloud.artifact_registry, repository)
        publish(cloud, check([library(base, "1.0.0")]), repository, Clock())
        sandbox.post("/sandbox/time", {"virtual": False})
        publish(cloud, check([library(base, "1.0.1")]), repository, Clock())
        readers = [EnvironmentName.parse(environment) for environment in ENVIRONMENTS]
        grant_access(cloud.artifact_registry, cloud.composer, repository, environment=readers, clock=Clock())
        dags = base / "dags"
        dags.mkdir()
        for file in (*EXAMPLES.glob("*.py"), EXAMPLES / "fleet.yaml"):
            (dags / file.name).symlink_to(file)
        wheel = str(library(base, "1.1.0"))
        (dags / "publish.py").write_text(PUBLISH.format(wheel=wheel, repository=REPOSITORY))
        with airflow2.start(home=base / "home", dags=dags, environ=sandbox.child_env(), parallelism=4) as stack:
            yield World(sandbox, cloud, dags, stack)
        cloud.session.http.close()
        assert sandbox.get("/healthz")["bugs"] == [], "the sandbox has a bug"


def declared(world: World) -> list[str | None]:
    """What dev, staging and prod declare of the package."""
    found = [world.cloud.composer.get_environment(EnvironmentName.parse(text)) for text in ENVIRONMENTS]
    return [environment.version_of("mypythonlib") for environment in found]


def let_go(world: World, dag_id: str, begin: Callable[[], object] = lambda: None) -> Run:
    """Let a DAG's runs start, do what begins one, and wait until Airflow has made the run."""
    assert world.stack is not None
    world.stack.wait_for_dag(dag_id)
    begin()
    deadline = time.monotonic() + 60
    while not (found := world.stack.client.unfinished_runs(dag_id)):
        assert time.monotonic() < deadline, f"nothing has started {dag_id}"
        time.sleep(0.5)
    return Run(world, dag_id, found[0])


def result(run: Run, task_id: str) -> dict[str, Any]:
    """What a task returned."""
    return dict(run.client.xcom(run.dag_id, run.run_id, (task_id, -1)))


def succeed(run: Run) -> None:
    """Wait for a run, and show every task of one that does not succeed."""
    assert run.wait(600) == "success", (run.dag_id, run.states())


def held_keys(world: World) -> list[str]:
    """The ids of the keys in dev's pip.conf."""
    bucket = world.cloud.composer.get_environment(DEV).require_bucket()
    found = world.cloud.storage.read(bucket, "config/pip/pip.conf")
    assert found is not None
    return [key.id for key in pip_conf.keys_in(pip_conf.decode(found[0]))]


def test_team_package(world: World) -> None:
    """The version is there, so it is installed in dev, and the team's DAG computes a distance with it there."""
    bucket = world.cloud.composer.get_environment(DEV).require_bucket()
    world.cloud.storage.write(bucket, f"dags/{CONSUMER.name}", CONSUMER.read_bytes())
    run = world.start("team_package", requirement="mypythonlib==1.0.0")
    succeed(run)
    assert result(run, "published")["version"] == "1.0.0"
    assert result(run, "install")["outcome"] == "installed"
    [returned] = result(run, "use")["returned"].values()
    assert returned == {"distance_km": pytest.approx(314.4, abs=0.1), "package": "mypythonlib", "version": "1.0.0"}
    assert declared(world) == ["==1.0.0", None, None]


def test_nightly_rollout_while_rotate_key_works_in_dev(world: World) -> None:
    """The others get the version that is old enough, not that of today; dev has it, and gets new keys meanwhile.

    A second rotation disables the key of the first one, once an install has worked with its own.
    """
    night = let_go(world, "nightly_rollout")  # its schedule makes the run of the night before at once
    while night.states().get("dev.verdict") != "success":
        assert night.client.run_state(night.dag_id, night.run_id) in ("queued", "running"), night.states()
        time.sleep(0.5)
    first = world.start("rotate_key", requirement="mypythonlib==1.0.1")
    succeed(first)
    [old] = held_keys(world)
    assert result(first, "rotate")["key"] == old
    assert result(first, "retire")["outcome"] == "unchanged"
    second = world.start("rotate_key")
    succeed(second)
    [new] = held_keys(world)
    assert result(second, "retire")["disabled"] == [old]
    assert {key.id: key.disabled for key in world.cloud.iam.list_keys(READER)} == {old: True, new: False}
    succeed(night)
    assert night.outcomes() == {"staging": "installed", "prod": "installed"}
    assert declared(world) == ["==1.0.0"] * 3


def test_roll_out_on_publish_and_roll_back(world: World) -> None:
    """A publish starts a rollout of all three to it; undone by its name, all have again what they had before."""
    run = let_go(world, "roll_out_on_publish", begin=lambda: succeed(world.start("publish")))
    succeed(run)
    assert run.run_id.startswith(("asset_triggered", "dataset_triggered"))
    assert run.outcomes() == dict.fromkeys(NAMES, "installed")
    assert declared(world) == ["==1.1.0"] * 3
    undo = world.start("roll_back", rollout=f"{run.dag_id}/{run.run_id}")
    succeed(undo)
    assert undo.states() == {"begin": "success", **{f"environment[{name}]": "success" for name in sorted(NAMES)}}
    assert declared(world) == ["==1.0.0"] * 3


def test_publish_and_roll_out_as_it_was_planned_in_a_dry_run(world: World) -> None:
    """The form, with nothing to publish: a dry run changes nothing; what it showed is applied, and used in dev."""
    form = {"source": None, "wheels": None, "requirement": "mypythonlib==1.0.1", "environments": ["dev"]}
    dry = world.start("publish_and_roll_out", **form, dry_run=True)
    succeed(dry)
    assert dry.states()["create_repository"] == dry.states()["use.run_dag"] == "skipped"
    assert declared(world) == ["==1.0.0"] * 3
    digest = result(dry, "roll_out.report")["content_digest"]
    run = world.start("publish_and_roll_out", **form, grant_access=False, approved_plan=digest)
    succeed(run)
    assert run.states()["publish"] == run.states()["grant_access"] == "skipped"
    if approval_operator() is not None:
        assert result(run, "roll_out.staging.approval")["outcome"] == "not_asked"
    assert declared(world) == ["==1.0.1", "==1.0.0", "==1.0.0"]
    used = run.client.xcom(run.dag_id, run.run_id, ("use.run_dag", 0))
    assert [value["version"] for value in used["returned"].values()] == ["1.0.1"]
