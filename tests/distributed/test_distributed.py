"""Rollouts on CeleryExecutor, Redis and PostgreSQL, whose workers, triggerer and scheduler are killed on the way."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from airflow_gar_provider.core.repository import RepositoryName
from tests.distributed.conftest import BUCKET, ENVIRONMENT, PROJECT, REPOSITORY, UPDATE, Distributed
from tests.operators.test_build_and_publish import make_source
from tests.rollout.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(1500)]
GROUP = "roll_out."


def test_one_worker_builds_and_another_one_publishes(airflow: Distributed, tmp_path: Path) -> None:
    """The wheel goes through the bucket: the two workers have no folder in common."""
    archive = tmp_path / "tiny-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(make_source(tmp_path / "tiny"), "tiny-1.0")
    cloud = airflow.world.cloud
    cloud.storage.upload(BUCKET, "source/tiny-1.0.tar.gz", archive)
    run = airflow.world.start("build_and_publish")
    assert run.wait(600) == "success", run.states()
    assert airflow.now(run, "build").host == "worker-1"
    assert airflow.now(run, "publish").host == "worker-2"
    built = airflow.stack.client.xcom(run.dag_id, run.run_id, ("build", -1))
    published = airflow.stack.client.xcom(run.dag_id, run.run_id, ("publish", -1))
    assert [(file["file"], file["outcome"], file["sha256"]) for file in published["files"]] == [
        ("tiny-1.0-py3-none-any.whl", "uploaded", built["sha256"])
    ]
    names = {file.name for file in cloud.artifact_registry.list_files(RepositoryName.parse(REPOSITORY))}
    assert "tiny-1.0-py3-none-any.whl" in names


def test_a_worker_dies_while_it_waits(airflow: Distributed) -> None:
    """Not deferred: the update goes on without its worker; the next try, on another one, follows it."""
    run = airflow.world.start("blocking")
    airflow.until(lambda: airflow.updates(PROJECT).total() > 0)
    dead = airflow.kill_the_worker_of(run, "install")
    assert run.wait(600) == "success", run.states()
    first, second = airflow.tries(run, "install")
    assert (first.host, first.state) == (dead, "failed")
    assert second.host != dead
    assert airflow.updates(PROJECT) == {ENVIRONMENT.rsplit("/", 1)[1]: 1}
    assert airflow.stack.client.xcom(run.dag_id, run.run_id, ("install", -1))["outcome"] == "installed"


def test_a_rollout_survives(airflow: Distributed) -> None:
    """Two workers, the triggerer and the scheduler die: each environment gets its one update, and the report is right.

    One worker dies when Composer has taken the update and it does not know so yet; the other one before Composer has
    seen the update, with pip.conf and the run record written. Their folders die with them.
    """
    sandbox = airflow.sandbox
    sandbox.fault(UPDATE, kind="hold_after")
    run = airflow.world.start("survivor")
    assert airflow.held() == "dev"
    taken = airflow.kill_the_worker_of(run, f"{GROUP}dev.environment")
    airflow.cut()
    sandbox.fault(UPDATE, kind="hold_before")
    label = airflow.held()
    assert label.startswith("canary"), "dev was updated once more"
    untaken = airflow.kill_the_worker_of(run, f"{GROUP}canary.environment", label)
    airflow.cut()
    killed = kill_the_control_plane(airflow, run)
    assert run.wait(600) == "success", run.states()
    assert sandbox.unused() == []
    environments = ("dev", "canary-1", "canary-2", "one", "two", "three")
    assert airflow.updates("fleet-survivor") == dict.fromkeys(environments, 1)
    assert airflow.world.overlaps("survivor") <= 2
    assert airflow.world.declared("survivor") == dict.fromkeys(environments, "==1.0")
    assert run.outcomes() == dict.fromkeys(environments, "installed")
    check_ledger(airflow, run)
    for task, dead in (("dev", taken), (label, untaken)):
        stage = task.partition("-")[0]
        first, *_, last = airflow.tries(run, f"{GROUP}{stage}.environment", task)
        assert (first.host, first.state) == (dead, "failed")
        assert last.host != dead
        assert last.state == "success"
    assert set(killed) <= {"one", "two", "three"}
    for task in killed:
        [only] = airflow.tries(run, f"{GROUP}prod.environment", task)  # a triggerer's death costs no try
        assert only.state == "success"


def kill_the_control_plane(airflow: Distributed, run: Run) -> list[str]:
    """Kill triggerer and scheduler while two updates are waited for, and start others; who was waited for."""

    def waiting() -> list[str]:
        tasks = {name: state for name, state in run.states().items() if name.startswith("prod.environment[")}
        names = [name[len("prod.environment[") : -1] for name, state in tasks.items() if state == "deferred"]
        return [name for name in names if airflow.now(run, f"{GROUP}prod.environment", name).triggerer == "triggerer-1"]

    airflow.until(lambda: len(waiting()) == 2)
    found = waiting()
    airflow.stack.kill("triggerer-1")
    airflow.stack.kill("scheduler")
    airflow.stack.begin("triggerer-2")
    airflow.stack.begin("scheduler")
    return found


def check_ledger(airflow: Distributed, run: Run) -> None:
    """The report counts every environment once, and so does the ledger in the bucket."""
    report = run.report()
    assert report["message"] == "6 of 6 environments were changed; 0 complaints"
    bucket, _, name = report["ledger"].removeprefix("gs://").partition("/")
    found = airflow.world.cloud.storage.read(bucket, name)
    assert found is not None
    ledger = json.loads(found[0])
    assert ledger["rollout"] == f"survivor/{run.run_id}"
    assert len(ledger["environments"]) == 6
