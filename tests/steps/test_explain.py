"""Every cause for real: the sandbox's builds run pip, fail, and the explanation names what was done to them.

With GAR_RECORD_SAMPLES set, what pip printed is written to tests/samples/build_logs, which tests/core reads.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud.orchestration.airflow import service_v1 as composer

from airflow_gar_provider.core.environment import EnvironmentName, Wish, plan_patch
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.errors import GoogleApiError, InstallFailedError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.explain import explain
from airflow_gar_provider.steps.point import PIP_CONF
from airflow_gar_provider.steps.repository import grant_access
from tests.conftest import LOCATION, Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

pytestmark = pytest.mark.slow
SAMPLES = Path(__file__).parents[1] / "samples" / "build_logs"


@dataclass
class Failing:
    """An environment whose updates are made to fail."""

    sandbox: Running
    cloud: Cloud
    environment: EnvironmentName
    repository: RepositoryName
    clock: QuickClock
    folder: Path
    published: Callable[[Path], str]

    def publish(self, name: str, version: str = "1.0", *, metadata: str = "", tag: str = "py3-none-any") -> None:
        self.published(make_wheel(self.folder, name, version, metadata=metadata, tag=tag))

    def grant(self) -> None:
        registry, composer_ = self.cloud.artifact_registry, self.cloud.composer
        grant_access(registry, composer_, self.repository, member=None, environment=self.environment, clock=self.clock)

    def pip_conf(self, text: str = "") -> None:
        found = self.cloud.composer.get_environment(self.environment)
        text = text or f"[global]\nindex-url = {self.repository.index_url}\n"
        self.cloud.storage.write(found.bucket, PIP_CONF, text.encode())

    def update(self, requirements: str) -> Operation:
        patch = plan_patch({}, parse_requirements(requirements))
        operation = self.cloud.composer.update_packages(self.environment, patch)
        for _ in range(3000):
            operation = self.cloud.composer.get_operation(operation.name)
            if operation.done:
                return operation
            self.clock.sleep(10)
        raise AssertionError("the build does not end")

    def explained(self, requirements: str, cloud: Cloud | None = None) -> InstallFailedError:
        operation = self.update(requirements)
        assert operation.failed
        wish = Wish(self.environment, parse_requirements(requirements), repository=self.repository)
        error = explain(cloud or self.cloud, wish, operation, self.clock)
        assert isinstance(error, InstallFailedError), error
        if os.environ.get("GAR_RECORD_SAMPLES") and cloud is None:
            self.record(error.cause, requirements, operation)
        return error

    def record(self, cause: str, requirements: str, operation: Operation) -> None:
        """Keep what was printed, without this machine's paths and this run's names."""
        assert operation.created is not None
        lines = self.cloud.logs.build_log(self.environment, operation.created, operation.ended)
        lines = [line for line in lines if "Requirement already satisfied" not in line]
        searching = [line for line in lines[:-20] if "is looking at multiple versions" in line][:5]
        lines = [*lines[:3], *searching, *lines[-20:]] if len(lines) > 40 else lines
        sample = {"cause": cause, "requirements": requirements, "message": operation.error_message, "log": lines}
        text = json.dumps(sample, indent=1, ensure_ascii=False)
        for pattern, plain in (
            (re.escape(sys.prefix), "/opt/airflow"),
            (re.escape(sys.base_prefix), "/usr/local"),
            (r"/tmp/[\w./-]*", "/tmp/build"),
            (re.escape(self.environment.project), "acme-data"),
            (re.escape(self.repository.project), "acme-packages"),
            (r"project=\d+", "project=123456789012"),
        ):
            text = re.sub(pattern, plain, text)
        SAMPLES.mkdir(parents=True, exist_ok=True)
        (SAMPLES / f"{cause}-{re.split(r'[^a-z-]', requirements)[0]}.json").write_text(f"{text}\n", encoding="utf-8")


@pytest.fixture
def failing(
    sandbox: Running,
    cloud: Cloud,
    environment: EnvironmentName,
    repository: RepositoryName,
    clock: QuickClock,
    tmp_path: Path,
    published: Callable[[Path], str],
) -> Iterator[Failing]:
    made = Failing(sandbox, cloud, environment, repository, clock, tmp_path, published)
    made.pip_conf()
    yield made
    sandbox.post("/sandbox/time", {"build_timeout_seconds": 2100})


def test_no_access_and_then_nothing_published_and_then_another_version(failing: Failing) -> None:
    """The same two lines of pip, three causes."""
    failing.publish("acme_demo")
    error = failing.explained("acme-demo==1.0")
    assert error.cause == "no_access"
    assert "gcloud artifacts repositories add-iam-policy-binding python" in str(error)
    failing.grant()
    error = failing.explained("nobody==1.0")
    assert (error.cause, "holds no package nobody" in str(error)) == ("not_published", True)
    error = failing.explained("acme-demo==9.9")
    assert (error.cause, "pip saw 1.0" in str(error)) == ("wrong_version", True)


def test_a_file_that_does_not_fit(failing: Failing) -> None:
    """Another Python, another platform: both named, for a dependency too."""
    failing.grant()
    failing.publish("acme_new", metadata="Requires-Python: >=3.99\n")
    failing.publish("acme_win", tag="cp311-cp311-win_amd64")
    failing.publish("acme_app", metadata="Requires-Dist: acme-win>=1\n")
    error = failing.explained("acme-new==1.0")
    assert error.cause == "wrong_python"
    assert "needs Python >=3.99" in error.what
    error = failing.explained("acme-win==1.0")
    assert error.cause == "wrong_platform"
    assert "acme_win-1.0-cp311-cp311-win_amd64.whl does not run on Python 3." in error.what
    assert failing.explained("acme-app==1.0").cause == "wrong_platform"


def test_contradictions(failing: Failing) -> None:
    """Between wanted packages, and with what is preinstalled: both sides are named."""
    failing.grant()
    for version in ("1.0", "2.0"):
        failing.publish("acme_core", version)
    failing.publish("acme_a", metadata="Requires-Dist: acme-core==1.0\n")
    failing.publish("acme_b", metadata="Requires-Dist: acme-core==2.0\n")
    failing.publish("readme_renderer", "0.1")
    error = failing.explained("acme-a==1.0, acme-b==1.0")
    assert error.cause == "conflict"
    assert "acme-a 1.0 depends on acme-core==1.0; acme-b 1.0 depends on acme-core==2.0" in error.what
    error = failing.explained("readme-renderer==0.1")
    assert error.cause == "conflict"
    assert re.search(
        r"twine \S+ needs readme-renderer>=\S+, but the update would leave readme-renderer 0.1", error.what
    )


def test_pip_conf_broken_or_with_a_dead_key(failing: Failing) -> None:
    """The file is named, and what it hides stays hidden."""
    failing.publish("acme_demo")
    failing.pip_conf("index-url = https://user:hunter2@python.invalid/simple/\n")
    error = failing.explained("acme-demo==1.0")
    assert error.cause == "pip_conf"
    assert "hunter2" not in str(error)
    url = failing.repository.index_url.replace("https://", "https://_json_key_base64:bm90LWEta2V5@")
    failing.pip_conf(f"[global]\nindex-url = {url}\n")
    error = failing.explained("acme-demo==1.0")
    assert error.cause == "wrong_credentials"
    assert "bm90" not in str(error)


BACKEND = """
def build_wheel(*_):
    raise RuntimeError("a compiler is missing")
def get_requires_for_build_wheel(*_):
    return []
"""


def test_a_source_distribution_that_does_not_build(failing: Failing) -> None:
    """The package and the last error of its build are named."""
    failing.grant()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": BACKEND,
            "PKG-INFO": "Metadata-Version: 2.1\nName: acme_src\nVersion: 1.0\n",
        }.items():
            member = tarfile.TarInfo(f"acme_src-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    session = failing.sandbox.session()
    session.headers["authorization"] = f"Bearer {failing.cloud.session.token()}"
    fields = {":action": "file_upload", "name": "acme_src", "version": "1.0", "filetype": "sdist"}
    fields |= {"metadata_version": "2.1", "protocol_version": "1", "pyversion": "source"}
    content = ("acme_src-1.0.tar.gz", buffer.getvalue())
    answer = session.post(failing.repository.upload_url, data=fields, files={"content": content}, timeout=30)
    assert answer.status_code == 200, answer.text
    session.close()
    error = failing.explained("acme-src==1.0")
    assert error.cause == "source_build"
    assert "building it from source failed" in error.what
    assert any("a compiler is missing" in line for line in error.evidence)


def test_a_search_without_end(failing: Failing) -> None:
    """Seven pigeons and six holes: pip is stopped, and the remedy is to pin."""
    failing.grant()
    for pigeon in range(7):
        for hole in range(6):
            failing.publish(
                f"acme_pigeon{pigeon}", f"{hole}.0", metadata=f"Requires-Dist: acme-hole{hole}=={pigeon}.0\n"
            )
            if pigeon == 0:
                for version in range(7):
                    failing.publish(f"acme_hole{hole}", f"{version}.0")
    failing.sandbox.post("/sandbox/time", {"build_timeout_seconds": 5})
    error = failing.explained(", ".join(f"acme-pigeon{pigeon}" for pigeon in range(7)))
    assert error.cause == "timeout"
    assert "version after version" in error.what
    assert "pin every package" in str(error.remedy)


def test_logs_that_may_not_be_read(failing: Failing, cloud_of: Callable[[str], Cloud]) -> None:
    """The operation's own message has to do; it says enough for a first answer."""
    failing.publish("acme_demo")
    failing.grant()
    project = failing.environment.project
    account = f"roller@{project}.iam.gserviceaccount.com"
    grants = [f"serviceAccount:{account}=roles/composer.admin@projects/{project}"]
    failing.sandbox.setup(accounts=[account], grants=grants)
    before = failing.clock.slept
    error = failing.explained("acme-demo==9.9", cloud_of(account))
    assert error.cause == "wrong_version"
    assert "roles/logging.viewer" not in error.what
    assert error.log_link == failing.environment.build_log_url
    assert failing.clock.slept - before < 3000


def test_late_lines_are_waited_for(failing: Failing) -> None:
    """The log is empty at first, as on Google's side; the answer is the one of the whole log."""
    failing.publish("acme_demo")
    failing.grant()
    operation = failing.update("acme-demo==9.9")
    bare = replace(operation, error_message="Failed to install Python packages. Check the build logs for details.")
    wish = Wish(failing.environment, parse_requirements("acme-demo==9.9"), repository=failing.repository)
    real, answers = failing.cloud.logs.build_log, [[], ["Collecting acme-demo==9.9"]]

    class Late:
        def build_log(self, *arguments: Any) -> list[str]:
            return answers.pop(0) if answers else real(*arguments)

    failing.cloud.__dict__["logs"] = Late()
    error = explain(failing.cloud, wish, bare, failing.clock)
    assert isinstance(error, InstallFailedError)
    assert error.cause == "wrong_version"
    assert answers == []


def test_an_environment_that_builds_in_cloud_build(failing: Failing, sandbox: Running) -> None:
    """Composer 2: the link in the error leads to the build, its log is read there, and the link is given on."""
    project = failing.environment.project
    client = failing.cloud.composer._client
    parent = f"projects/{project}/locations/{LOCATION}"
    image = f"composer-2.17.9-airflow-{failing.cloud.composer.get_environment(failing.environment).airflow_version}"
    made = composer.Environment(
        name=f"{parent}/environments/two",
        config=composer.EnvironmentConfig(software_config=composer.SoftwareConfig(image_version=image)),
    )
    client.create_environment(parent=parent, environment=made).result(timeout=120)
    failing.environment = EnvironmentName.parse(made.name)
    failing.pip_conf()
    failing.publish("acme_demo")
    failing.grant()
    error = failing.explained("acme-demo==9.9", failing.cloud)
    assert error.cause == "wrong_version"
    assert re.fullmatch(
        r"https://console\.cloud\.google\.com/cloud-build/builds/[0-9a-f-]{36}\?project=\d+", str(error.log_link)
    )
    assert any("ERROR: Could not find a version" in line for line in error.evidence)


def test_another_failure_is_quoted_as_it_is(failing: Failing) -> None:
    """Not every failed update is about packages."""
    operation = Operation(
        "projects/p/locations/l/operations/o", "", "UPDATE", "FAILED", True, 13, "Internal. ya29.secret"
    )
    wish = Wish(failing.environment, parse_requirements("a==1"))
    error = explain(failing.cloud, wish, operation, failing.clock)
    assert isinstance(error, GoogleApiError)
    assert error.message == "Internal. ****"
