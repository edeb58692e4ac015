"""Repositories that are there, and may be read."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    GarProviderError,
    InvalidInputError,
    NotFoundError,
    RepositoryMismatchError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.repository import create_repository, grant_access
from tests.conftest import LOCATION, Running
from tests.steps.conftest import QuickClock

SET_POLICY = "google.devtools.artifactregistry.v1.ArtifactRegistry.SetIamPolicy"


def test_created_once(cloud: Cloud, project: str) -> None:
    """The second time it exists; what it returns is what pip needs."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    assert create_repository(cloud.artifact_registry, name, description="d", labels={"a": "b"}) == {
        "outcome": "created",
        "message": f"repository python created in {project}",
        "repository": str(name),
        "index_url": f"https://{LOCATION}-python.pkg.dev/{project}/python/simple/",
    }
    assert create_repository(cloud.artifact_registry, name)["outcome"] == "exists"


def test_modes(cloud: Cloud, project: str, repository: RepositoryName) -> None:
    """Remote and virtual ones; one of another mode is an error, not a surprise."""
    parent = f"projects/{project}/locations/{LOCATION}/repositories"
    proxy, both = RepositoryName.parse(f"{parent}/pypi"), RepositoryName.parse(f"{parent}/all")
    assert create_repository(cloud.artifact_registry, proxy, mode="remote", upstreams="PYPI")["outcome"] == "created"
    upstreams = {str(repository): 100, str(proxy): 10}
    assert create_repository(cloud.artifact_registry, both, mode="virtual", upstreams=upstreams)["outcome"] == "created"
    assert create_repository(cloud.artifact_registry, both, mode="virtual", upstreams=upstreams)["outcome"] == "exists"
    with pytest.raises(RepositoryMismatchError, match="the repository is virtual, not standard"):
        create_repository(cloud.artifact_registry, both)


@pytest.mark.parametrize(
    ("mode", "upstreams", "message"),
    [
        ("mirror", None, "mode is one of standard, remote, virtual"),
        ("remote", None, 'is "PYPI" or the URL of an index'),
        ("virtual", None, "are a map from repository to priority"),
        ("standard", "PYPI", "a standard repository has no upstreams"),
    ],
)
def test_bad_input(cloud: Cloud, project: str, sandbox: Running, mode: str, upstreams: object, message: str) -> None:
    """Nothing is asked of Google for input that cannot be right."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    with pytest.raises(InvalidInputError, match=message):
        create_repository(cloud.artifact_registry, name, mode=mode, upstreams=upstreams)
    assert sandbox.calls(project) == []


def test_granted_once(
    cloud: Cloud, repository: RepositoryName, environment: EnvironmentName, clock: QuickClock, sandbox: Running
) -> None:
    """The environment's service account becomes a reader; the second time it is one."""
    grants = [
        grant_access(
            cloud.artifact_registry, cloud.composer, repository, member=None, environment=environment, clock=clock
        )
        for _ in range(2)
    ]
    assert [grant["outcome"] for grant in grants] == ["granted", "exists"]
    assert grants[0]["member"] == f"serviceAccount:dev-sa@{environment.project}.iam.gserviceaccount.com"
    policy = cloud.artifact_registry.get_policy(repository)
    assert [(b.role, list(b.members)) for b in policy.bindings] == [
        ("roles/artifactregistry.reader", [grants[0]["member"]])
    ]
    calls = [call["method"] for call in sandbox.calls(repository.project)]
    assert calls.count(SET_POLICY) == 1


def test_a_policy_that_changes_meanwhile(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, sandbox: Running
) -> None:
    """A stale etag is read again; nobody else's binding is lost."""
    for index, member in enumerate(["group:a@example.com", "group:b@example.com"]):
        sandbox.fault(SET_POLICY, status=409, times=index + 1)
        grant = grant_access(
            cloud.artifact_registry, cloud.composer, repository, member=member, environment=None, clock=clock
        )
        assert grant["outcome"] == "granted"
    [binding] = cloud.artifact_registry.get_policy(repository).bindings
    assert list(binding.members) == ["group:a@example.com", "group:b@example.com"]
    sandbox.fault(SET_POLICY, status=409, times=5)
    with pytest.raises(ConcurrentChangeError) as caught:
        grant_access(
            cloud.artifact_registry,
            cloud.composer,
            repository,
            member="group:c@example.com",
            environment=None,
            clock=clock,
        )
    assert caught.value.retryable
    assert sandbox.unused() == []


def test_grants_that_cannot_be(
    cloud: Cloud, repository: RepositoryName, environment: EnvironmentName, clock: QuickClock, project: str
) -> None:
    """Neither, both, a public member, an environment that does not exist."""

    def grant(member: str | None, env: EnvironmentName | None) -> None:
        grant_access(cloud.artifact_registry, cloud.composer, repository, member=member, environment=env, clock=clock)

    for member, env in ((None, None), ("group:a@example.com", environment)):
        with pytest.raises(InvalidInputError, match="give either"):
            grant(member, env)
    with pytest.raises(InvalidInputError, match="is not an IAM member"):
        grant("allUsers", None)
    missing = EnvironmentName.parse(f"projects/{environment.project}/locations/{LOCATION}/environments/nobody")
    with pytest.raises(NotFoundError, match="could not look at the environment") as caught:
        grant(None, missing)
    assert str(missing) in str(caught.value)


def test_strangers(cloud_of: object, repository: RepositoryName, sandbox: Running, project: str) -> None:
    """Who may not look at the repository is told so by name."""
    stranger = f"stranger@{project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[stranger])
    with pytest.raises(GarProviderError) as caught:
        create_repository(cloud_of(stranger).artifact_registry, repository)  # type: ignore[operator]
    assert isinstance(caught.value, AccessDeniedError)
    assert str(repository) in str(caught.value)
