"""Builds fail for the true reason, say it in Google's words and in the build log, and leave the old image."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from google.cloud.orchestration.airflow import service_v1 as composer
from google.oauth2.credentials import Credentials

from tests.airflows import IMAGE
from tests.conftest import LOCATION, Running

from .test_artifact_registry import CALLER, upload
from .test_composer import PACKAGES, update
from .test_composer_operations import command_output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

pytestmark = pytest.mark.slow


@dataclass
class World:
    """An environment that has `acme-base 1.0` from a repository of its own project."""

    sandbox: Running
    session: requests.Session
    project: str
    environment: str
    bucket: str
    client: composer.EnvironmentsClient
    published: set[str] = field(default_factory=set)

    def repository(self, project: str) -> None:
        answer = self.session.post(
            f"https://artifactregistry.googleapis.com/v1/projects/{project}/locations/{LOCATION}/repositories",
            params={"repositoryId": "python"},
            json={"format": "PYTHON"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text

    def publish(self, name: str, version: str, *, project: str = "", **kind: Any) -> None:
        status, text, _ = upload(self.session, project or self.project, name, version, **kind)
        assert status == 200, text

    def pip_conf(self, text: str) -> None:
        url = f"https://storage.googleapis.com/upload/storage/v1/b/{self.bucket}/o"
        query = {"uploadType": "media", "name": "config/pip/pip.conf"}
        assert self.session.post(url, params=query, data=text, timeout=30).status_code == 200

    def point(self, project: str = "") -> None:
        url = f"https://{LOCATION}-python.pkg.dev/{project or self.project}/python/simple/"
        self.pip_conf(f"[global]\nindex-url = {url}\n")

    def install(self, packages: dict[str, str]) -> Any:
        paths = [f"{PACKAGES}.{name}" for name in packages]
        return update(self.client, self.environment, paths, {"pypi_packages": packages})

    def fails(self, packages: dict[str, str]) -> tuple[str, list[str]]:
        """The reason in the operation's error, and the build log, of an update that has to fail."""
        operation = self.install(packages)
        with pytest.raises(exceptions.InvalidArgument) as caught:
            operation.result(timeout=120)
        head, _, rest = caught.value.message.partition("\n")
        assert head == "Failed to install Python packages. "
        reason, _, end = rest.partition(
            ". Check the build logs for details. They can be found in the Environment logs "
        )
        project_number = f"/environments/detail/{LOCATION}/dev/logs?project="
        assert end.startswith("https://console.cloud.google.com/composer")
        assert project_number in end
        assert end.endswith("https://cloud.google.com/composer/docs/troubleshooting-package-installation")
        return reason, self.log(operation.operation.name)

    def log(self, operation: str) -> list[str]:
        query = {
            "resourceNames": [f"projects/{self.project}"],
            "filter": f'logName="projects/{self.project}/logs/build-log-{operation.rpartition("/")[2]}"',
            "orderBy": "timestamp asc",
            "pageSize": 1000,
        }
        answer = self.session.post("https://logging.googleapis.com/v2/entries:list", json=query, timeout=30)
        return [entry["textPayload"] for entry in answer.json()["entries"]]

    def unchanged(self) -> None:
        """The old packages are declared, and they really are there."""
        found = self.client.get_environment(name=self.environment)
        assert found.state == composer.Environment.State.RUNNING
        assert dict(found.config.software_config.pypi_packages) == {"acme-base": "==1.0"}
        _, lines = command_output(self.client, self.environment, "list-packages", "pip list")
        listed = {line.split()[0]: line.split()[1] for line in lines[2:]}
        assert listed["acme-base"] == "1.0"
        ours = {name for name in listed if name.startswith("acme-")}
        assert ours == {"acme-base"}
        assert listed["readme_renderer"] == importlib.metadata.version("readme_renderer")


@pytest.fixture
def world(google_: Running, project: str) -> Iterator[World]:
    environment = f"projects/{project}/locations/{LOCATION}/environments/dev"
    bucket = google_.setup(environments=[environment])["environments"][environment]
    client = composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER)))
    with google_.session(CALLER) as session:
        world = World(google_, session, project, environment, bucket, client)
        world.repository(project)
        world.publish("acme-base", "1.0")
        world.point()
        world.install({"acme-base": "==1.0"}).result(timeout=120)
        yield world


def test_builds_fail_for_the_true_reason_and_leave_the_old_image(world: World) -> None:
    # A version that nobody serves.
    reason, log = world.fails({"acme-base": "==9"})
    text = "Could not find a version that satisfies the requirement acme-base==9 (from versions: 1.0)"
    assert reason == text
    assert f"ERROR: {text}" in log
    assert "ERROR: No matching distribution found for acme-base==9" in log
    assert log[0] == f"Using gs://{world.bucket}/config/pip/pip.conf"
    assert log[-1].endswith("returned a non-zero code: 1")
    world.unchanged()

    # A wheel of another platform.
    world.publish("acme-native", "1.0", tag="cp311-cp311-win_amd64")
    reason, _ = world.fails({"acme-native": "==1.0"})
    assert reason == "Could not find a version that satisfies the requirement acme-native==1.0 (from versions: none)"
    world.unchanged()

    # Two packages that contradict each other: pip's resolver names both sides.
    world.publish("acme-core", "1")
    world.publish("acme-core", "2")
    world.publish("acme-a", "1", requires=("acme-core==1",))
    world.publish("acme-b", "1", requires=("acme-core==2",))
    reason, log = world.fails({"acme-a": "==1", "acme-b": "==1"})
    assert reason.startswith("Cannot install")
    assert "conflicting dependencies" in reason
    assert "acme-a 1 depends on acme-core==1" in reason
    assert "acme-b 1 depends on acme-core==2" in reason
    assert any(line.strip() == "acme-a 1 depends on acme-core==1" for line in log)
    world.unchanged()

    # What the update would do to a preinstalled package: `pip check` finds it.
    world.publish("readme-renderer", "0.1")
    reason, log = world.fails({"readme-renderer": "==0.1"})
    twine = importlib.metadata.version("twine")
    assert reason.startswith(f"twine {twine} has requirement readme-renderer")
    assert reason.endswith("but you have readme-renderer 0.1")
    assert "+ python3 -m pip check" in log
    world.unchanged()


def test_a_wheel_whose_members_lead_outside_is_refused_by_the_build(world: World, tmp_path: Path) -> None:
    evil = tmp_path / "evil.py"
    world.publish(
        "acme-evil", "1.0", extra={str(evil): "x = 1\n", "../../../../../../../../acme_evil_out.py": "x = 1\n"}
    )
    reason, _ = world.fails({"acme-evil": "==1.0"})
    assert "outside" in reason
    assert not evil.exists()
    world.unchanged()


def test_a_repository_that_the_environment_may_not_read_looks_empty_to_pip(world: World) -> None:
    other = f"{world.project}-other"
    world.sandbox.setup(projects=[other])
    world.repository(other)
    for name in ("acme-base", "acme-secret"):
        world.publish(name, "1.0", project=other)
    world.point(other)
    reason, log = world.fails({"acme-secret": "==1.0"})
    assert reason.startswith("Could not find a version that satisfies the requirement acme-")
    assert reason.endswith("==1.0 (from versions: none)")
    assert not any("403" in line for line in log)  # pip keeps it to itself
    world.unchanged()
    account = f"dev-sa@{world.project}.iam.gserviceaccount.com"
    repository = f"projects/{other}/locations/{LOCATION}/repositories/python"
    world.sandbox.setup(grants=[f"serviceAccount:{account}=roles/artifactregistry.reader@{repository}"])
    world.install({"acme-secret": "==1.0"}).result(timeout=120)
    found = world.client.get_environment(name=world.environment).config.software_config.pypi_packages
    assert dict(found) == {"acme-base": "==1.0", "acme-secret": "==1.0"}


def test_a_broken_pip_conf_fails_the_build_without_its_credentials_in_the_error(world: World) -> None:
    world.publish("acme-more", "1.0")
    world.pip_conf("index-url = https://user:hunter2@python.invalid/simple/\n")
    reason, log = world.fails({"acme-more": "==1.0"})
    assert "Configuration file could not be loaded" in reason
    assert "contains no section headers" in reason
    assert "hunter2" not in reason
    assert log[-1].endswith("returned a non-zero code: 2")
    world.unchanged()


def test_a_resolver_that_finds_no_end_is_stopped(world: World) -> None:
    # Eight pigeons and seven holes: no assignment works, and a resolver has no better way than to try them all.
    pigeons, holes = 8, 7
    for pigeon in range(pigeons):
        for hole in range(holes):
            world.publish(f"acme-pigeon{pigeon}", str(hole), requires=(f"acme-hole{hole}=={pigeon}",))
            world.publish(f"acme-hole{hole}", str(pigeon))
    world.sandbox.post("/sandbox/time", {"build_timeout_seconds": 5})
    try:
        reason, log = world.fails({f"acme-pigeon{pigeon}": "" for pigeon in range(pigeons)})
    finally:
        world.sandbox.post("/sandbox/time", {"build_timeout_seconds": 2100})
    assert reason == "The build did not finish within 5 seconds and was stopped"
    assert any("is looking at multiple versions of acme-" in line for line in log)
    world.unchanged()


def test_an_upgrade_check_reports_a_conflict_and_fails_for_any_other_reason(world: World) -> None:
    """The packages as they are, built again: with an index that has changed since."""
    request = {"environment": world.environment, "image_version": IMAGE}
    world.pip_conf("[global]\nno-index = true\n")
    with pytest.raises(exceptions.InvalidArgument, match=r"\(from versions: none\)"):
        world.client.check_upgrade(request).result(timeout=120)
    world.unchanged()
    other = f"{world.project}-other"
    world.sandbox.setup(projects=[other])
    world.repository(other)
    world.publish("acme-base", "1.0", project=other, requires=("readme-renderer==0.1",))
    world.publish("readme-renderer", "0.1", project=other)
    account = f"dev-sa@{world.project}.iam.gserviceaccount.com"
    repository = f"projects/{other}/locations/{LOCATION}/repositories/python"
    world.sandbox.setup(grants=[f"serviceAccount:{account}=roles/artifactregistry.reader@{repository}"])
    world.point(other)
    answer = world.client.check_upgrade(request).result(timeout=120)
    assert answer.contains_pypi_modules_conflict == composer.CheckUpgradeResponse.ConflictResult.CONFLICT
    assert "but you have readme-renderer 0.1." in answer.pypi_conflict_build_log_extract
    assert dict(answer.pypi_dependencies) == {"acme-base": "==1.0"}
    world.unchanged()
