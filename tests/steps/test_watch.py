"""What a repository's publishers have put there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.watch import Watch
from airflow_gar_provider.errors import NotFoundError, RepositoryMismatchError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.repository import create_repository
from airflow_gar_provider.steps.watch import published_files, served
from tests.conftest import LOCATION
from tests.wheels import make_wheel


@pytest.fixture
def names(cloud: Cloud, project: str, repository: RepositoryName) -> dict[str, RepositoryName]:
    """A proxy of the public index, and a virtual repository over it and ours."""
    parent = f"projects/{project}/locations/{LOCATION}/repositories"
    found = {key: RepositoryName.parse(f"{parent}/{key}") for key in ("pypi", "all")}
    create_repository(cloud.artifact_registry, found["pypi"], mode="remote", upstreams="PYPI")
    upstreams = {str(found["pypi"]): 1, str(repository): 10}
    create_repository(cloud.artifact_registry, found["all"], mode="virtual", upstreams=upstreams)
    return found


def test_served(
    cloud: Cloud,
    repository: RepositoryName,
    names: dict[str, RepositoryName],
    published: Callable[[Path], str],
    tmp_path: Path,
) -> None:
    """The newest that counts, in the standard repository or through the virtual one; None before."""
    watch = Watch.of("acme-demo")
    assert served(cloud, repository, watch) is None
    for version in ("1.0", "1.1", "2.0rc1"):
        published(make_wheel(tmp_path, version=version))
    for name in (repository, names["all"]):
        found = served(cloud, name, watch)
        assert found is not None
        assert (found["outcome"], found["version"], found["repository"]) == ("served", "1.1", str(name))
        assert found["message"] == f"{name.name} serves acme-demo 1.1"
        assert len(found["sha256"]["acme_demo-1.1-py3-none-any.whl"]) == 64
    old_enough = Watch.of("acme-demo", min_age=3600)
    assert served(cloud, repository, old_enough) is None
    later = datetime.now(timezone.utc) + timedelta(hours=2)
    assert (served(cloud, repository, old_enough, later) or {})["version"] == "1.1"


def test_what_nobody_publishes_to(cloud: Cloud, names: dict[str, RepositoryName], project: str) -> None:
    """A proxy hands out what others hold; a repository that is not there is an error, not a wait."""
    with pytest.raises(RepositoryMismatchError, match="nothing is published to this repository"):
        published_files(cloud, names["pypi"])
    nobody = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/nobody")
    with pytest.raises(NotFoundError, match="the repository does not exist"):
        published_files(cloud, nobody)


def test_files_say_whose_and_when(
    cloud: Cloud, repository: RepositoryName, published: Callable[[Path], str], tmp_path: Path
) -> None:
    """Package, version and time of each file; of all, of a package, of a version."""
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    for name, version in (("acme_demo", "1.0"), ("acme_demo", "1.1"), ("other", "1.0")):
        published(make_wheel(tmp_path, name, version))
    registry = cloud.artifact_registry
    files = registry.list_files(repository)
    assert sorted((file.package, file.version) for file in files) == [
        ("acme-demo", "1.0"),
        ("acme-demo", "1.1"),
        ("other", "1.0"),
    ]
    assert all(file.created is not None and before < file.created < before + timedelta(minutes=5) for file in files)
    assert {file.version for file in registry.list_files(repository, "acme-demo")} == {"1.0", "1.1"}
    assert [file.name for file in registry.list_files(repository, "other", "1.0")] == ["other-1.0-py3-none-any.whl"]
    assert registry.list_files(repository, "nobody") == []
