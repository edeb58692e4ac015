"""One environment, one repository, and all that a test of installing asks of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.cloud.orchestration.airflow import service_v1 as composer
from google.oauth2.credentials import Credentials
from google.protobuf import field_mask_pb2

from airflow_gar_provider.core.environment import Environment, EnvironmentName, Wish
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.deploy_dag import deploy_dags
from airflow_gar_provider.steps.install import begin, install, proceed
from airflow_gar_provider.steps.record import RunRecord, read_record, record_name
from airflow_gar_provider.steps.repository import grant_access
from airflow_gar_provider.steps.update import Pending, wait
from tests.conftest import Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"
GET = "google.cloud.orchestration.airflow.service.v1.Environments.GetEnvironment"
RUN = "dag/run/install"


@dataclass
class Site:
    """What a test of installing needs; `cloud` belongs to who may do everything."""

    sandbox: Running
    cloud: Cloud
    cloud_of: Callable[[str], Cloud]
    owner: str
    environment: EnvironmentName
    repository: RepositoryName
    clock: QuickClock
    folder: Path
    published: Callable[[Path], str]

    # What is there

    def now(self) -> Environment:
        return self.cloud.composer.get_environment(self.environment)

    def packages(self) -> dict[str, str]:
        return dict(self.now().packages)

    def calls(self, method: str) -> int:
        return sum(call["method"] == method for call in self.sandbox.calls(self.environment.project))

    def updates(self) -> int:
        """How many updates Composer accepted."""
        calls = self.sandbox.calls(self.environment.project)
        return sum(call["method"] == UPDATE and call["status"] == 200 for call in calls)

    def record(self, run: str = RUN) -> RunRecord | None:
        return read_record(self.cloud.storage, self.now().bucket, run)

    def stored(self, run: str = RUN) -> dict[str, Any]:
        found = self.cloud.storage.read(self.now().bucket, record_name(run))
        assert found is not None
        return dict(json.loads(found[0]))

    def pip_conf(self) -> str | None:
        found = self.cloud.storage.read(self.now().bucket, "config/pip/pip.conf")
        return None if found is None else found[0].decode()

    # What is done

    def wish(self, requirements: str = "acme-demo==1.0", **other: Any) -> Wish:
        """The DAGs are not looked at unless asked for: that starts an Airflow."""
        kept = {"run": RUN, "repository": self.repository, "import_errors": False, **other}
        return Wish(self.environment, parse_requirements(requirements), **kept)

    def publish(self, version: str = "1.0", name: str = "acme_demo", **other: Any) -> None:
        assert self.published(make_wheel(self.folder, name, version, **other)) == "uploaded"

    def grant(self) -> None:
        """Let the environment's service account read the repository."""
        grant_access(
            self.cloud.artifact_registry,
            self.cloud.composer,
            self.repository,
            member=None,
            environment=self.environment,
            clock=self.clock,
        )

    def install(self, wish: Wish | None = None, cloud: Cloud | None = None, **other: Any) -> dict[str, Any]:
        """What the operator does in its blocking mode."""
        wish = wish or self.wish(**other)
        return install(cloud or self.cloud, wish, self.clock, timeout=5400, poll_interval=20)

    def start(self, wish: Wish | None = None) -> Pending:
        """Our own update, accepted: where a worker may die."""
        found = begin(self.cloud, wish or self.wish(), self.clock)
        assert isinstance(found, Pending)
        return found

    def wait(self, pending: Pending) -> None:
        wait(self.cloud, pending, self.clock, timeout=5400, poll_interval=20)

    def proceed(self, wish: Wish, pending: Pending) -> Any:
        return proceed(self.cloud, wish, self.clock, pending)

    def another_worker(self, **changes: Any) -> Site:
        """The same task on another machine: nothing is remembered but what Google knows."""
        return replace(self, cloud=self.cloud_of(self.owner), clock=QuickClock(), **changes)

    def deploy(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        deploy_dags(self.cloud.storage, self.now(), str(path))

    def patch(self, packages: dict[str, str], *paths: str) -> Any:
        """Somebody else's update, sent as gcloud sends it; the operation."""
        client = composer.EnvironmentsClient(credentials=Credentials(self.sandbox.token(self.owner)))
        software = composer.SoftwareConfig(pypi_packages=packages)
        mask = [f"config.software_config.pypi_packages.{path}" for path in paths or packages]
        return client.update_environment(
            name=str(self.environment),
            environment=composer.Environment(config=composer.EnvironmentConfig(software_config=software)),
            update_mask=field_mask_pb2.FieldMask(paths=mask),
        )
