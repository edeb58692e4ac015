"""Our steps, through Google's real clients, against the sandbox; a clock that does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.oauth2.credentials import Credentials

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.publish import publish
from airflow_gar_provider.steps.repository import create_repository
from tests.conftest import LOCATION, Running

if TYPE_CHECKING:
    from tests.steps.installing import Site


class QuickClock(Clock):
    """Waits a hundredth of what it is asked for, and counts the whole: real work still gets its time."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        super().sleep(seconds / 100)


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def cloud_of(google_: Running) -> Iterator[Callable[[str], Cloud]]:
    """Google's clients as any service account sees Google."""
    made: list[Cloud] = []

    def make(account: str) -> Cloud:
        cloud = Cloud(Session(Credentials(token=google_.token(account))))
        made.append(cloud)
        return cloud

    yield make
    for cloud in made:
        cloud.session.http.close()


@pytest.fixture
def owner(sandbox: Running, project: str) -> str:
    """Who may do everything in the test's project."""
    account = f"owner@{project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[account], grants=[f"serviceAccount:{account}=roles/owner@projects/{project}"])
    return account


@pytest.fixture
def cloud(cloud_of: Callable[[str], Cloud], owner: str) -> Cloud:
    return cloud_of(owner)


@pytest.fixture
def repository(cloud: Cloud, project: str) -> RepositoryName:
    """A repository that exists."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    assert create_repository(cloud.artifact_registry, name)["outcome"] == "created"
    return name


@pytest.fixture
def environment(sandbox: Running, project: str, owner: str) -> EnvironmentName:
    """An environment in a project of its own, whose service account may read nothing of ours; `owner` may all."""
    other = f"{project}-env"
    name = f"projects/{other}/locations/{LOCATION}/environments/dev"
    sandbox.setup(
        projects=[other], environments=[name], grants=[f"serviceAccount:{owner}=roles/owner@projects/{other}"]
    )
    return EnvironmentName.parse(name)


@pytest.fixture
def published(cloud: Cloud, repository: RepositoryName, clock: QuickClock) -> Callable[[Path], str]:
    """Publishes a wheel; returns the outcome."""

    def do(path: Path) -> str:
        return str(publish(cloud, check([path]), repository, clock)["outcome"])

    return do


@pytest.fixture
def site(
    google_: Running,
    cloud: Cloud,
    cloud_of: Callable[[str], Cloud],
    owner: str,
    environment: EnvironmentName,
    repository: RepositoryName,
    clock: QuickClock,
    tmp_path: Path,
    published: Callable[[Path], str],
) -> Site:
    """An environment and a repository, with what tests of installing do to them."""
    from tests.steps.installing import Site  # it needs the clock of this module

    return Site(google_, cloud, cloud_of, owner, environment, repository, clock, tmp_path, published)
