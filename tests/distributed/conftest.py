"""A distributed Airflow and a Google that plays its images; both live for all tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.repository import grant_access
from distributed.services import missing
from distributed.stack import DistributedStack
from tests.conftest import LOCATION, Running
from tests.rollout.conftest import CALLER, REPOSITORY, Run, World, world  # noqa: F401 -- `world` is a fixture

UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"
PROJECT = "apart-tests"
ENVIRONMENT = f"projects/{PROJECT}/locations/{LOCATION}/environments/blocking"
BUCKET = f"{PROJECT}-builds"
HEAD = """
from datetime import timedelta
from airflow.sdk import DAG
from airflow_gar_provider.operators import BuildWheelOperator, InstallPrivatePackageOperator, PublishWheelOperator

WHEEL = "{{ ti.xcom_pull(task_ids='build')['wheel'] }}"
default_args = {"retries": 2, "retry_delay": timedelta(seconds=2)}
"""
BLOCKING = f"""{HEAD}
with DAG("blocking", schedule=None, default_args=default_args):
    InstallPrivatePackageOperator(
        task_id="install", environment={ENVIRONMENT!r}, repository={REPOSITORY!r}, requirements="acme-lib==1.0",
        deferrable=False, poll_interval=10, skip_checks="import_errors",
    )
"""
BUILD = f"""{HEAD}
with DAG("build_and_publish", schedule=None, default_args=default_args):
    built = BuildWheelOperator(
        task_id="build", source="gs://{BUCKET}/source/tiny-1.0.tar.gz", destination="gs://{BUCKET}/built",
        queue="worker-1",
    )
    built >> PublishWheelOperator(task_id="publish", wheels=WHEEL, repository={REPOSITORY!r}, queue="worker-2")
"""


@dataclass(frozen=True)
class Try:
    """One try of a task, as Airflow tells it."""

    host: str
    state: str | None
    triggerer: str | None


@dataclass
class Distributed:
    """Airflow, Google, and what is asked of both."""

    world: World
    stack: DistributedStack
    sandbox: Running

    def now(self, run: Run, task_id: str, label: str | None = None) -> Try:
        """Where a task is."""
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances?task_id={task_id}&limit=100"
        found = self.stack.client._call("GET", path)["task_instances"]
        [task] = [task for task in found if label is None or task["rendered_map_index"] == label]
        return _try(task)

    def tries(self, run: Run, task_id: str, label: str | None = None) -> list[Try]:
        """Where it has been."""
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
        found = self.stack.client._call("GET", f"{path}?task_id={task_id}&limit=100")["task_instances"]
        [index] = [task["map_index"] for task in found if label is None or task["rendered_map_index"] == label]
        place = f"{path}/{task_id}" if index < 0 else f"{path}/{task_id}/{index}"
        return [_try(task) for task in self.stack.client._call("GET", f"{place}/tries")["task_instances"]]

    def kill_the_worker_of(self, run: Run, task_id: str, label: str | None = None) -> str:
        """Kill the worker that runs a task, let another one take its place; the dead one's name."""
        task = self.now(run, task_id, label)
        assert task.state == "running", task
        self.stack.kill(task.host)
        assert not (self.stack.home / task.host).exists()
        self.stack.begin(f"worker-{self._number()}")
        return task.host

    def held(self) -> str:
        """Wait until Google holds a call; the environment that it is about."""
        self.until(lambda: bool(self.sandbox.get("/sandbox/held?wait=2")["held"]))
        [call] = self.sandbox.get("/sandbox/held?wait=0")["held"]
        return str(call["resource"]).rsplit("/", 1)[1]

    def cut(self) -> None:
        """Let go of the call that is held; its client is dead."""
        self.sandbox.own.delete(f"http://127.0.0.1:{self.sandbox.port}/sandbox/faults", timeout=30).raise_for_status()

    def until(self, holds: Callable[[], bool], seconds: float = 480) -> None:
        """Wait for something."""
        deadline = time.monotonic() + seconds
        while not holds():
            self.stack.check()
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.5)

    def updates(self, project: str) -> Counter[str]:
        """Environment -> how many updates Composer took."""
        page, _ = self.world.cloud.composer.operations_page(f"projects/{project}/locations/{LOCATION}")
        return Counter(operation.resource.rsplit("/", 1)[1] for operation in page if operation.kind == "UPDATE")

    def _number(self) -> int:
        return 1 + max(int(path.stem.partition("-")[2]) for path in self.stack.home.glob("worker-*.log"))


def _try(task: dict[str, Any]) -> Try:
    return Try(task["hostname"], task["state"], (task.get("triggerer_job") or {}).get("hostname"))


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Running]:
    """A Google of its own: no pip runs, and an update takes twelve seconds."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.fleet_google", "0", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as google:
        assert google.stdin is not None
        assert google.stdout is not None
        try:
            value = json.loads(google.stdout.readline())
            running = Running(value["port"], value["env"], value["unset"], google.pid)
            running.post("/sandbox/time", {"operation_seconds": 12})
            yield running
            assert running.get("/healthz")["bugs"] == [], "the sandbox has a bug"
            running.own.close()
        finally:
            google.stdin.close()


@pytest.fixture(scope="module")
def airflow(
    world: World,  # noqa: F811 -- the fixture
    sandbox: Running,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Distributed]:
    """All DAGs, and the Airflow that runs them."""
    if needed := missing():
        if os.environ.get("GAR_REQUIRE_DISTRIBUTED") == "1":
            pytest.fail("; ".join(needed))
        pytest.skip("; ".join(needed))
    stages: list[dict[str, Any]] = [
        {"name": "dev", "environments": ["dev"]},
        {"name": "canary", "environments": ["canary-1", "canary-2"], "max_parallel": 2},
        {"name": "prod", "environments": ["one", "two", "three"], "max_parallel": 2},
    ]
    world.fleet("survivor", stages, 'skip_checks="import_errors", ')
    sandbox.setup(
        projects=[PROJECT],
        environments=[ENVIRONMENT],
        buckets=[f"{PROJECT}/{BUCKET}"],
        grants=[f"serviceAccount:{CALLER}=roles/owner@projects/{PROJECT}"],
    )
    registry, composer = world.cloud.artifact_registry, world.cloud.composer
    readers = [EnvironmentName.parse(ENVIRONMENT)]
    grant_access(registry, composer, RepositoryName.parse(REPOSITORY), environment=readers, clock=Clock())
    (world.dags / "blocking.py").write_text(BLOCKING)
    (world.dags / "build_and_publish.py").write_text(BUILD)
    home: Path = tmp_path_factory.mktemp("stack") / "home"
    with DistributedStack(
        home=home, dags=world.dags, environ=sandbox.child_env(), parallelism=8, timeout=420
    ) as running:
        world.stack = running
        yield Distributed(world, running, sandbox)
