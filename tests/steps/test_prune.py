"""Versions that nobody needs leave the registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.prune import KeepRules
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import (
    AccessDeniedError,
    NotFoundError,
    OperationTimeoutError,
    PinsUnknownError,
    RepositoryMismatchError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.prune import prune
from airflow_gar_provider.steps.repository import create_repository
from tests.conftest import LOCATION, Running
from tests.steps.conftest import QuickClock
from tests.steps.test_repository import InstantClock
from tests.wheels import make_wheel

DELETE = "google.devtools.artifactregistry.v1.ArtifactRegistry.DeleteVersion"
ONE = KeepRules.of(last=1)


@pytest.fixture
def versions(repository: RepositoryName, published: Callable[[Path], str], tmp_path: Path) -> None:
    """Three versions of one package, two of another."""
    for name, version in (("acme_demo", "1.0"), ("acme_demo", "1.1"), ("acme_demo", "1.2")):
        published(make_wheel(tmp_path, name, version))
    for version in ("1.0", "2.0"):
        published(make_wheel(tmp_path, "other", version))


def held(cloud: Cloud, repository: RepositoryName) -> list[str]:
    return sorted(f"{file.package} {file.version}" for file in cloud.artifact_registry.list_files(repository))


@pytest.mark.usefixtures("versions")
def test_planned_then_deleted_then_nothing(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A dry run changes nothing and says what the real one does; after that there is nothing to do."""
    before = held(cloud, repository)
    with caplog.at_level("INFO"):
        plan = prune(cloud, repository, ONE, clock=clock)
    assert (plan["outcome"], plan["dry_run"], held(cloud, repository)) == ("planned", True, before)
    going = [(entry["package"], entry["version"]) for entry in plan["would_delete"]]
    assert going == [("acme-demo", "1.1"), ("acme-demo", "1.0"), ("other", "1.0")]
    assert plan["kept"] == {"acme-demo": {"1.2": "the newest"}, "other": {"2.0": "the newest"}}
    assert plan["message"] == "would delete acme-demo 1.1, acme-demo 1.0, other 1.0 (0.0 MB)"
    assert "acme-demo 1.0 goes: nothing keeps it" in caplog.text
    assert "acme-demo 1.2 stays: the newest" in caplog.text
    done = prune(cloud, repository, ONE, dry_run=False, clock=clock)
    assert (done["outcome"], done["deleted"]) == ("deleted", plan["would_delete"])
    assert held(cloud, repository) == ["acme-demo 1.2", "other 2.0"]
    again = prune(cloud, repository, ONE, dry_run=False, clock=clock)
    assert (again["outcome"], again["message"]) == ("unchanged", "nothing to delete in python")


@pytest.mark.usefixtures("versions")
def test_what_an_environment_requires_stays(
    cloud: Cloud, repository: RepositoryName, environment: EnvironmentName, clock: QuickClock, sandbox: Running
) -> None:
    """It is read from the environment itself; other packages than the named ones are left alone."""

    class Pinned:
        """Composer, with a package in the environment's map: no build is needed for that."""

        def get_environment(self, name: EnvironmentName) -> Any:
            found = cloud.composer.get_environment(name)
            return type("Environment", (), {"packages": {**found.packages, "Acme_Demo": "==1.0"}})

    class View:
        artifact_registry, composer = cloud.artifact_registry, Pinned()

    result = prune(View(), repository, ONE, environments=[environment], packages=["acme-demo"], clock=clock)  # type: ignore[arg-type]
    assert [(entry["package"], entry["version"]) for entry in result["would_delete"]] == [("acme-demo", "1.1")]
    assert result["kept"]["acme-demo"]["1.0"] == "dev requires acme-demo==1.0"
    assert "other" not in result["kept"]


@pytest.mark.usefixtures("versions")
def test_an_environment_that_cannot_be_read(
    cloud: Cloud, repository: RepositoryName, environment: EnvironmentName, clock: QuickClock, sandbox: Running
) -> None:
    """Nothing is deleted, and every one of them is named; unless they are to be ignored."""
    before = held(cloud, repository)
    names = [
        EnvironmentName.parse(f"projects/{environment.project}/locations/{LOCATION}/environments/{name}")
        for name in ("gone", "lost")
    ]
    unreadable: dict[str, Any] = {"environments": [*names, environment], "dry_run": False, "clock": clock}
    with pytest.raises(PinsUnknownError) as caught:
        prune(cloud, repository, ONE, **unreadable)
    assert set(caught.value.causes) == {str(name) for name in names}
    assert all(str(name) in caught.value.what for name in names)
    assert not caught.value.retryable
    assert held(cloud, repository) == before
    assert prune(cloud, repository, ONE, ignore_unreadable=True, **unreadable)["outcome"] == "deleted"


@pytest.mark.usefixtures("versions")
def test_no_right_to_delete(
    cloud_of: Callable[[str], Cloud], repository: RepositoryName, clock: QuickClock, sandbox: Running
) -> None:
    """The error names the role that is missing."""
    sandbox.setup(grants=[f"user:writer@example.com=roles/artifactregistry.writer@{repository}"])
    with pytest.raises(AccessDeniedError, match=r"could not delete acme-demo 1\.1") as caught:
        prune(cloud_of("writer@example.com"), repository, ONE, dry_run=False, clock=clock)
    assert "roles/artifactregistry.repoAdmin" in (caught.value.remedy or "")


@pytest.mark.usefixtures("versions")
def test_cut_short_and_run_again(cloud: Cloud, repository: RepositoryName, clock: QuickClock, sandbox: Running) -> None:
    """What was deleted stays deleted, and the next run does the rest; a version that is gone is no error."""
    sandbox.fault(DELETE, kind="stuck_operation")
    with pytest.raises(OperationTimeoutError, match=r"the deletion of acme-demo 1\.1 did not end"):
        prune(cloud, repository, ONE, dry_run=False, clock=InstantClock())
    assert sandbox.unused() == []
    assert prune(cloud, repository, ONE, dry_run=False, clock=clock)["outcome"] in ("deleted", "unchanged")
    assert held(cloud, repository) == ["acme-demo 1.2", "other 2.0"]
    assert cloud.artifact_registry.delete_version(repository, "acme-demo", "1.0") is None


def test_repositories_that_hold_nothing_of_their_own(cloud: Cloud, project: str, clock: QuickClock) -> None:
    """Only a standard one can be pruned; one that is not there is an error."""
    parent = f"projects/{project}/locations/{LOCATION}/repositories"
    name = RepositoryName.parse(f"{parent}/pypi")
    with pytest.raises(NotFoundError, match="the repository does not exist"):
        prune(cloud, name, ONE, clock=clock)
    create_repository(cloud.artifact_registry, name, mode="remote", upstreams="PYPI")
    with pytest.raises(RepositoryMismatchError, match="the repository is remote, not standard"):
        prune(cloud, name, ONE, clock=clock)
