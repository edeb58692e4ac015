"""A fleet on the sandbox, and a real Airflow that rolls packages out to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.oauth2.credentials import Credentials

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.point import PIP_CONF
from airflow_gar_provider.steps.publish import publish
from airflow_gar_provider.steps.repository import create_repository, grant_access
from tests.conftest import LOCATION, Running
from tests.wheels import make_wheel

PROJECT = "rollout-tests"
CALLER = f"roller@{PROJECT}.iam.gserviceaccount.com"
REPOSITORY = f"projects/{PROJECT}/locations/{LOCATION}/repositories/python"
DAG = """
from datetime import timedelta
from airflow import DAG
from airflow_gar_provider.deadline import finish_within
from airflow_gar_provider.rollout import Fleet, roll_out

with DAG({dag_id!r}, schedule=None, params={{"requirements": "acme-lib==1.0"}},
         default_args={{"retry_delay": timedelta(seconds={retry_delay})}},
         **finish_within(timedelta(seconds={late_after}))):
    roll_out(
        Fleet.from_file("{dag_id}.yaml"),
        repository={repository!r},
        requirements="{{{{ params.requirements }}}}",
        poll_interval=10,
        {options}
    )
"""


@dataclass
class World:
    """The fleets of this test run: each DAG has a fleet of its own."""

    sandbox: Running
    cloud: Cloud
    dags: Path
    stack: Any = None
    """AirflowStack, or what stands for it on Airflow 2.11."""
    environments: dict[str, list[str]] = field(default_factory=dict)

    def fleet(
        self,
        dag_id: str,
        stages: list[dict[str, Any]],
        options: str = "",
        denied: tuple[str, ...] = (),
        retry_delay: float = 2,
        late_after: float = 3600,
    ) -> None:
        """Environments, a fleet file and a DAG; the environments in `denied` may not read the repository."""
        project = f"fleet-{dag_id.replace('_', '-')}"
        name = f"projects/{project}/locations/{LOCATION}/environments/{{}}".format
        texts = [name(text) for stage in stages for text in stage["environments"]]
        self.sandbox.setup(
            projects=[project],
            environments=texts,
            buckets=[f"{project}/{project}-state"],
            grants=[f"serviceAccount:{CALLER}=roles/owner@projects/{project}"],
        )
        readers = [EnvironmentName.parse(text) for text in texts if text.rsplit("/", 1)[1] not in denied]
        registry, composer = self.cloud.artifact_registry, self.cloud.composer
        grant_access(registry, composer, RepositoryName.parse(REPOSITORY), environment=readers, clock=Clock())
        named = [{**stage, "environments": [name(text) for text in stage["environments"]]} for stage in stages]
        file = {"state": f"gs://{project}-state/gar", "stages": named}
        (self.dags / f"{dag_id}.yaml").write_text(yaml.safe_dump(file, sort_keys=False))
        seconds = {"retry_delay": retry_delay, "late_after": late_after}
        dag = DAG.format(dag_id=dag_id, repository=REPOSITORY, options=options, **seconds)
        (self.dags / f"{dag_id}.py").write_text(dag)
        self.environments[dag_id] = texts

    def start(self, dag_id: str, **conf: Any) -> Run:
        """Trigger a run."""
        assert self.stack is not None
        self.stack.wait_for_dag(dag_id)
        return Run(self, dag_id, self.stack.client.trigger(dag_id, conf))

    def declared(self, dag_id: str) -> dict[str, str | None]:
        """Environment -> what it declares of acme-lib."""
        found = [self.cloud.composer.get_environment(EnvironmentName.parse(text)) for text in self.environments[dag_id]]
        return {environment.name.name: environment.version_of("acme-lib") for environment in found}

    def overlaps(self, dag_id: str) -> int:
        """The most updates of one fleet that were under way at one time."""
        parent = self.environments[dag_id][0].split("/environments/")[0]
        page, _ = self.cloud.composer.operations_page(parent)
        spans = [(o.created, o.ended) for o in page if o.kind == "UPDATE" and o.created and o.ended]
        return most_at_once(spans)

    def under_way(self, run: Run) -> list[tuple[datetime, datetime]]:
        """For each environment of a run, when it was written to first, and when its verdict was written."""
        bucket, found = f"fleet-{run.dag_id.replace('_', '-')}-state", []
        verdicts = [o.name for o in self.cloud.storage.list(bucket, "gar/") if "/verdicts/" in o.name]
        for text in self.environments[run.dag_id]:
            environment = self.cloud.composer.get_environment(EnvironmentName.parse(text))
            [verdict] = [name for name in verdicts if name.endswith(f",{environment.name.name}.json")]
            begun = self.cloud.storage.written(environment.require_bucket(), PIP_CONF)
            ended = self.cloud.storage.written(bucket, verdict)
            assert begun is not None
            assert ended is not None
            found.append((begun, ended))
        return found


def most_at_once(spans: list[tuple[datetime, datetime]]) -> int:
    """How many were under way when the most were."""
    return max((sum(a <= begin < b for a, b in spans) for begin, _ in spans), default=0)


@dataclass
class Run:
    """One DAG run."""

    world: World
    dag_id: str
    run_id: str

    @property
    def client(self) -> Any:
        assert self.world.stack is not None
        return self.world.stack.client

    def wait(self, seconds: float = 600) -> str:
        """Until it has ended; the state it ended in."""
        deadline = time.monotonic() + seconds
        while (state := self.client.run_state(self.dag_id, self.run_id)) not in ("success", "failed"):
            assert time.monotonic() < deadline, f"still {state}: {self.states()}"
            time.sleep(1)
        return str(state)

    def states(self) -> dict[str, str | None]:
        """Task (with its label) -> state."""
        found = self.client.task_instances(self.dag_id, self.run_id)
        named = {
            task.task_id.removeprefix("roll_out.") + (f"[{task.label}]" if task.map_index >= 0 else ""): task.state
            for task in found
        }
        return dict(sorted(named.items()))

    def answer(self, task_id: str, option: str, seconds: float = 240) -> None:
        """Answer a question, once it is asked."""
        self.world.stack.wait_for_question(self.dag_id, self.run_id, task_id, seconds)
        path = f"dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self.client._call("PATCH", path, {"chosen_options": [option], "params_input": {}})

    def report(self) -> dict[str, Any]:
        """What the report says."""
        return dict(self.client.xcom(self.dag_id, self.run_id, ("roll_out.report", -1)))

    def outcomes(self) -> dict[str, str]:
        """Environment -> outcome, of the report; without those in which there was nothing to do."""
        rows = self.report()["rows"]
        return {row["environment"]: row["outcome"] for row in rows if row["outcome"] != "nothing"}


@pytest.fixture(scope="module")
def world(sandbox: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The repository with two versions of a package; fleets come with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in sandbox.unset:
            patch.delenv(name, raising=False)
        for name, value in sandbox.env.items():
            patch.setenv(name, value)
        sandbox.setup(
            projects=[PROJECT],
            accounts=[CALLER],
            grants=[f"serviceAccount:{CALLER}=roles/owner@projects/{PROJECT}"],
        )
        cloud = Cloud(Session(Credentials(token=sandbox.token(CALLER))))
        base = tmp_path_factory.mktemp("rollout")
        name = RepositoryName.parse(REPOSITORY)
        create_repository(cloud.artifact_registry, name)
        for version in ("1.0", "1.1", "1.10"):
            publish(cloud, check([make_wheel(base, "acme_lib", version)]), name, Clock())
        dags = base / "dags"
        dags.mkdir()
        yield World(sandbox, cloud, dags)
        cloud.session.http.close()
