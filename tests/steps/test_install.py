"""Install: one update, followed, verified, explained. The sandbox really runs pip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_gar_provider.core.environment import EnvironmentName, Wish
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.errors import (
    AccessDeniedError,
    EnvironmentDagError,
    InstallFailedError,
    NotFoundError,
    OperationTimeoutError,
    VerificationError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.environment_dag import deploy_dags, run_environment_dag
from airflow_gar_provider.steps.install import Pending, request, settle, verify, wait
from airflow_gar_provider.steps.record import record_name
from airflow_gar_provider.steps.repository import grant_access
from tests.conftest import Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"
WISH = Callable[..., Wish]
WHICH = """
from airflow.sdk import DAG, task
with DAG("which", schedule=None):
    @task
    def which():
        import acme_demo
        return acme_demo.VERSION
    which()
"""


@pytest.fixture
def wish(environment: EnvironmentName, repository: RepositoryName) -> WISH:
    def make(requirements: str = "acme-demo==1.0", **other: object) -> Wish:
        kept = {"run": "dag/run/install", "repository": repository, **other}
        return Wish(environment, parse_requirements(requirements), **kept)  # type: ignore[arg-type]

    return make


@pytest.fixture
def granted(cloud: Cloud, repository: RepositoryName, environment: EnvironmentName, clock: QuickClock) -> None:
    grant_access(cloud.artifact_registry, cloud.composer, repository, member=None, environment=environment, clock=clock)


def finish(cloud: Cloud, wish: Wish, clock: QuickClock, pending: Pending | None) -> dict[str, object]:
    """What the operator does, in its blocking mode."""
    ours = None
    while pending is not None:
        wait(cloud, pending, clock, timeout=5400, poll_interval=20)
        ours = pending.operation if pending.ours else None
        pending = settle(cloud, wish, pending, clock)
    return verify(cloud, wish, operation=ours)


def updates(sandbox: Running, environment: EnvironmentName) -> int:
    return sum(call["method"] == UPDATE for call in sandbox.calls(environment.project))


@pytest.mark.slow
def test_installed_once_then_upgraded(
    cloud: Cloud,
    wish: WISH,
    clock: QuickClock,
    tmp_path: Path,
    published: Callable[[Path], str],
    granted: None,
    sandbox: Running,
    environment: EnvironmentName,
) -> None:
    """Installed, then unchanged without an update, then upgraded with the version before, then taken out.

    A DAG in the environment sees each: what it prints is computed by what is installed there.
    """
    (tmp_path / "which.py").write_text(WHICH)
    found = cloud.composer.get_environment(environment)
    deploy_dags(cloud.storage, found, str(tmp_path / "which.py"))

    def version_there(run_id: str) -> object:
        ran = run_environment_dag(
            cloud.airflow_of(found),
            found,
            "which",
            run_id=run_id,
            earlier_run_id=None,
            conf=None,
            unpause=False,
            timeout=20_000,
            clock=clock,
        )
        return ran["returned"]

    published(make_wheel(tmp_path, version="1.0"))
    published(make_wheel(tmp_path, version="1.1"))
    first = finish(cloud, wish(), clock, request(cloud, wish(), clock))
    assert first["outcome"] == "installed"
    assert first["packages"] == [{"package": "acme-demo", "before": None, "after": "1.0"}]
    assert first["message"] == "dev now has acme-demo 1.0"

    assert version_there("one") == {"which": "1.0"}

    assert request(cloud, wish(), clock) is None
    again = verify(cloud, wish())
    assert (again["outcome"], again["message"]) == ("unchanged", "dev already had acme-demo 1.0")
    assert updates(sandbox, environment) == 1

    upgrade = wish("acme-demo==1.1", run="dag/other/install")
    second = finish(cloud, upgrade, clock, request(cloud, upgrade, clock))
    assert second["packages"] == [{"package": "acme-demo", "before": "1.0", "after": "1.1"}]

    assert version_there("two") == {"which": "1.1"}

    gone = wish("", absent=("acme-demo",), run="dag/third/install")
    third = finish(cloud, gone, clock, request(cloud, gone, clock))
    assert third["packages"] == [{"package": "acme-demo", "before": "1.1", "after": None}]
    assert cloud.composer.get_environment(environment).packages == {}
    with pytest.raises(EnvironmentDagError, match="ModuleNotFoundError: No module named 'acme_demo'"):
        version_there("three")


@pytest.mark.slow
def test_no_access_is_explained_and_the_grant_cures_it(
    cloud: Cloud,
    wish: WISH,
    clock: QuickClock,
    tmp_path: Path,
    published: Callable[[Path], str],
    environment: EnvironmentName,
    repository: RepositoryName,
) -> None:
    """pip says "not found"; the error says who may not read what, and what to grant."""
    published(make_wheel(tmp_path))
    pending = request(cloud, wish(), clock)
    assert pending is not None
    wait(cloud, pending, clock, timeout=5400, poll_interval=20)
    with pytest.raises(InstallFailedError) as caught:
        settle(cloud, wish(), pending, clock)
    assert caught.value.cause == "no_access"
    text = str(caught.value)
    for part in (
        f"dev-sa@{environment.project}.iam.gserviceaccount.com",
        str(repository),
        "roles/artifactregistry.reader",
        "ERROR: Could not find a version that satisfies the requirement acme-demo==1.0 (from versions: none)",
        pending.operation,
        "keeps running with the packages that it had before",
    ):
        assert part in text
    assert cloud.composer.get_environment(environment).packages == {}
    assert json.loads(json.dumps(caught.value.as_result()))["outcome"] == "failed"

    grant_access(cloud.artifact_registry, cloud.composer, repository, member=None, environment=environment, clock=clock)
    result = finish(cloud, wish(), clock, request(cloud, wish(), clock))
    assert result["outcome"] == "installed"


@pytest.mark.slow
def test_a_crash_after_the_patch_is_followed(
    cloud: Cloud,
    wish: WISH,
    clock: QuickClock,
    tmp_path: Path,
    published: Callable[[Path], str],
    granted: None,
    sandbox: Running,
    environment: EnvironmentName,
) -> None:
    """A second try finds the update in flight: it follows it, patches nothing, and still knows what was before."""
    published(make_wheel(tmp_path))
    assert request(cloud, wish(), clock) is not None  # the worker dies here
    pending = request(cloud, wish(), clock)
    assert pending is not None
    assert not pending.ours
    result = finish(cloud, wish(), clock, pending)
    assert result["outcome"] == "installed"
    assert result["packages"] == [{"package": "acme-demo", "before": None, "after": "1.0"}]
    assert updates(sandbox, environment) == 1
    bucket = cloud.composer.get_environment(environment).bucket
    stored = cloud.storage.read(bucket, record_name("dag/run/install"))
    assert stored is not None
    assert json.loads(stored[0])["finished"] is True


@pytest.mark.slow
def test_a_lost_answer_to_the_patch(
    cloud: Cloud,
    wish: WISH,
    clock: QuickClock,
    tmp_path: Path,
    published: Callable[[Path], str],
    granted: None,
    sandbox: Running,
    environment: EnvironmentName,
) -> None:
    """The update was accepted, the answer was lost: the error is retryable, and the retry follows the update."""
    published(make_wheel(tmp_path))
    sandbox.fault(UPDATE, kind="lost_answer")
    with pytest.raises(Exception, match="could not update the environment's packages") as caught:
        request(cloud, wish(), clock)
    assert caught.value.retryable  # type: ignore[attr-defined]
    result = finish(cloud, wish(), clock, request(cloud, wish(), clock))
    assert result["outcome"] == "installed"
    assert updates(sandbox, environment) == 1


@pytest.mark.parametrize(
    ("requirements", "cause", "said"),
    [
        ("acme-demo==9.9", "wrong_version", "it holds 1.0"),
        ("nobody==1.0", "not_published", "it holds no version of it"),
    ],
)
def test_preflight_spends_no_build(
    cloud: Cloud,
    wish: WISH,
    clock: QuickClock,
    tmp_path: Path,
    published: Callable[[Path], str],
    sandbox: Running,
    environment: EnvironmentName,
    requirements: str,
    cause: str,
    said: str,
) -> None:
    """What is not in the repository is refused before anything is changed, pip.conf included."""
    published(make_wheel(tmp_path))
    with pytest.raises(InstallFailedError, match=said) as caught:
        request(cloud, wish(requirements), clock)
    assert caught.value.cause == cause
    methods = {call["method"] for call in sandbox.calls(environment.project)}
    assert UPDATE not in methods
    assert "storage.objects.insert" not in methods


def test_an_environment_that_does_not_exist(cloud: Cloud, wish: WISH, clock: QuickClock) -> None:
    """It is named in the error."""
    missing = EnvironmentName.parse("projects/nobody-here/locations/europe-west1/environments/dev")
    asked = Wish(missing, parse_requirements("a==1"))
    with pytest.raises((NotFoundError, AccessDeniedError), match="could not look at the environment") as caught:
        request(cloud, asked, clock)
    assert str(missing) in str(caught.value)


def test_verification_says_what_is_missing(cloud: Cloud, wish: WISH) -> None:
    """Neither declared nor installed: both are told."""
    with pytest.raises(VerificationError) as caught:
        verify(cloud, wish())
    assert "acme-demo is declared as 'absent', wanted '==1.0'" in str(caught.value)
    assert "acme-demo==1.0 is declared, but not installed" in str(caught.value)


@pytest.mark.slow
def test_a_wait_ends(
    cloud: Cloud, wish: WISH, clock: QuickClock, tmp_path: Path, published: Callable[[Path], str]
) -> None:
    """After the timeout the error names the operation and says that a retry follows it."""
    published(make_wheel(tmp_path))
    pending = request(cloud, wish(), clock)
    assert pending is not None
    with pytest.raises(OperationTimeoutError, match="did not end within 1 s") as caught:
        wait(cloud, pending, clock, timeout=1, poll_interval=2)
    assert caught.value.retryable
    assert pending.operation in str(caught.value)
