"""Repositories that are there, and may be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import Repository, RepositoryName, Sources
from airflow_gar_provider.core.repository_settings import Settings
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    GarProviderError,
    InvalidInputError,
    NotFoundError,
    OperationTimeoutError,
    RepositoryMismatchError,
    UnavailableError,
)
from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry, RegistryOperation
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.repository import create_repository, grant_access, sources_of
from tests.conftest import LOCATION, Running
from tests.steps.conftest import QuickClock

_SERVICE = "google.devtools.artifactregistry.v1.ArtifactRegistry"
SET_POLICY = f"{_SERVICE}.SetIamPolicy"
CREATE = f"{_SERVICE}.CreateRepository"


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


POLICIES = [
    {"name": "old", "action": {"type": "Delete"}, "condition": {"olderThan": "90d", "tagState": "any"}},
    {"name": "some", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": 5}},
]
KMS_KEY = "projects/acme-keys/locations/europe-west1/keyRings/packages/cryptoKeys/python"


def test_everything_that_it_is_created_with(cloud: Cloud, project: str) -> None:
    """All settings arrive, and reading them back finds no difference; another run changes nothing."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    settings: dict[str, Any] = {
        "description": "private packages",
        "labels": {"team": "data"},
        "cleanup_policies": POLICIES,
        "cleanup_dry_run": True,
        "kms_key": KMS_KEY,
        "update": True,
    }
    assert create_repository(cloud.artifact_registry, name, **settings)["outcome"] == "created"
    again = create_repository(cloud.artifact_registry, name, **settings)
    assert (again["outcome"], "differs" in again, "changed" in again) == ("exists", False, False)
    found = cloud.artifact_registry.get_repository(name)
    assert found is not None
    assert (found.description, found.labels, found.kms_key) == ("private packages", {"team": "data"}, KMS_KEY)
    assert found.cleanup_dry_run
    assert found.cleanup_policies["some"] == {"action": "KEEP", "mostRecentVersions": {"keepCount": 5}}


def test_one_that_is_otherwise(cloud: Cloud, project: str, sandbox: Running) -> None:
    """By default the result says where; with `update` it is changed, and what is not listed stays."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    registry = cloud.artifact_registry
    create_repository(registry, name, description="old", labels={"a": "1", "b": "2"}, cleanup_policies=POLICIES)
    wanted: dict[str, Any] = {"description": "new", "labels": {"b": "3"}, "cleanup_policies": POLICIES[1:]}
    told = create_repository(registry, name, **wanted)
    assert told["message"] == (
        f"repository python exists in {project}, but is otherwise than wanted in description, labels, cleanup_policies"
    )
    assert told["differs"]["labels"] == {"is": {"b": "2"}, "wanted": {"b": "3"}}
    assert not [call for call in sandbox.calls(project) if call["method"].endswith("UpdateRepository")]
    changed = create_repository(registry, name, update=True, **wanted)
    assert (changed["outcome"], changed["changed"]) == ("updated", told["differs"])
    found = registry.get_repository(name)
    assert found is not None
    assert (found.description, found.labels, set(found.cleanup_policies)) == ("new", {"a": "1", "b": "3"}, {"some"})
    assert create_repository(registry, name, update=True, **wanted)["outcome"] == "exists"


def test_upstreams_are_brought_to_what_is_wanted(cloud: Cloud, project: str, repository: RepositoryName) -> None:
    """Priorities are compared and changed as a whole."""
    parent = f"projects/{project}/locations/{LOCATION}/repositories"
    registry = cloud.artifact_registry
    proxy, both = RepositoryName.parse(f"{parent}/pypi"), RepositoryName.parse(f"{parent}/all")
    create_repository(registry, proxy, mode="remote", upstreams="PYPI")
    create_repository(registry, both, mode="virtual", upstreams={str(repository): 10, str(proxy): 100})
    right = {str(repository): 100, str(proxy): 10}
    told = create_repository(registry, both, mode="virtual", upstreams=right)
    assert told["differs"] == {"upstreams": {"is": {str(proxy): 100, str(repository): 10}, "wanted": right}}
    assert create_repository(registry, both, mode="virtual", upstreams=right, update=True)["outcome"] == "updated"
    found = registry.get_repository(both)
    assert found is not None
    assert [(str(upstream.repository), upstream.priority) for upstream in found.upstreams] == list(right.items())


def test_what_cannot_be_changed(cloud: Cloud, project: str) -> None:
    """An update that Google would refuse is refused with its reasons, and nothing else of it is done."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/pypi")
    registry = cloud.artifact_registry
    create_repository(registry, name, mode="remote", upstreams="https://index.example.com/")
    wanted: dict[str, Any] = {"mode": "remote", "upstreams": "PYPI", "kms_key": KMS_KEY, "description": "new"}
    assert set(create_repository(registry, name, **wanted)["differs"]) == {"remote", "kms_key", "description"}
    with pytest.raises(RepositoryMismatchError) as caught:
        create_repository(registry, name, update=True, **wanted)
    assert "keeps the upstream that it was created with (https://index.example.com/)" in caught.value.what
    assert "keeps the key that it was created with" in caught.value.what
    found = registry.get_repository(name)
    assert found is not None
    assert (found.description, found.remote) == ("", "https://index.example.com/")


class Late:
    """The registry, as one sees it who looked a moment before somebody else created the repository."""

    def __init__(self, registry: ArtifactRegistry) -> None:
        self.registry = registry
        self.looks = 0

    def get_repository(self, name: RepositoryName) -> Repository | None:
        self.looks += 1
        if self.looks == 1:
            assert create_repository(self.registry, name, description="theirs")["outcome"] == "created"
            return None
        # The other one's operation still runs when ours is refused.
        return None if self.looks == 2 else self.registry.get_repository(name)

    def create_repository(self, name: RepositoryName, settings: Settings) -> RegistryOperation | None:
        return self.registry.create_repository(name, settings)


def test_two_creators(cloud: Cloud, project: str, clock: QuickClock) -> None:
    """Who comes second is told that it exists, and where it is otherwise."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    late = cast("ArtifactRegistry", Late(cloud.artifact_registry))
    result = create_repository(late, name, description="ours", clock=clock)
    assert result["outcome"] == "exists"
    assert result["differs"] == {"description": {"is": "theirs", "wanted": "ours"}}


class InstantClock(QuickClock):
    """A wait takes no time at all."""

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def test_an_operation_is_waited_for(
    cloud: Cloud, project: str, sandbox: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """With a line in the log for every look; one that never ends is an error that can be tried again."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    sandbox.fault(CREATE, kind="stuck_operation")
    with caplog.at_level("INFO"), pytest.raises(OperationTimeoutError, match="did not end within 300 s") as caught:
        create_repository(cloud.artifact_registry, name, clock=InstantClock())
    assert caught.value.retryable
    assert "waiting for the creation of python (projects/" in caplog.text
    assert sandbox.unused() == []


def test_an_operation_that_fails(cloud: Cloud, project: str, clock: QuickClock, sandbox: Running) -> None:
    """Its error is ours, with Google's words."""
    name = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/python")
    sandbox.fault(CREATE, kind="failed_operation", status=429, message="Quota of repositories exceeded")
    with pytest.raises(UnavailableError, match="Quota of repositories exceeded"):
        create_repository(cloud.artifact_registry, name, clock=clock)
    assert sandbox.unused() == []


def test_where_packages_come_from(
    cloud: Cloud, cloud_of: Callable[[str], Cloud], project: str, repository: RepositoryName, sandbox: Running
) -> None:
    """Itself, or a virtual one's upstreams by priority; an upstream that may not be looked at is named."""
    parent = f"projects/{project}/locations/{LOCATION}/repositories"
    registry = cloud.artifact_registry
    names = {key: RepositoryName.parse(f"{parent}/{key}") for key in ("pypi", "second", "all")}
    create_repository(registry, names["pypi"], mode="remote", upstreams="PYPI")
    create_repository(registry, names["second"])
    upstreams = {str(names["pypi"]): 1, str(names["second"]): 20, str(repository): 10}
    create_repository(registry, names["all"], mode="virtual", upstreams=upstreams)
    assert sources_of(registry, repository) == Sources((repository,), ())
    assert sources_of(registry, names["pypi"]) == Sources((), (names["pypi"],))
    assert sources_of(registry, names["all"]) == Sources((names["second"], repository), (names["pypi"],))
    with pytest.raises(NotFoundError, match="the repository does not exist"):
        sources_of(registry, RepositoryName.parse(f"{parent}/nobody"))
    reader = "reader@example.com"
    for readable in (names["all"], names["pypi"]):
        sandbox.setup(grants=[f"user:{reader}=roles/artifactregistry.reader@{readable}"])
    as_reader = cloud_of(reader).artifact_registry
    assert sources_of(as_reader, names["all"]) == Sources((), (names["pypi"],), (names["second"], repository))


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


def test_several_at_once(
    cloud: Cloud, repository: RepositoryName, environment: EnvironmentName, clock: QuickClock, sandbox: Running
) -> None:
    """Members and environments in one change of the policy; only who was missing is added."""
    registry = cloud.artifact_registry
    grant_access(registry, cloud.composer, repository, member="group:a@example.com", clock=clock)
    granted = grant_access(
        registry,
        cloud.composer,
        repository,
        member="group:a@example.com, group:b@example.com",
        environment=[environment],
        clock=clock,
    )
    account = f"serviceAccount:dev-sa@{environment.project}.iam.gserviceaccount.com"
    assert granted["members"] == ["group:a@example.com", "group:b@example.com", account]
    assert granted["granted"] == ["group:b@example.com", account]
    calls = [call["method"] for call in sandbox.calls(repository.project)]
    assert calls.count(SET_POLICY) == 2


def test_a_binding_with_a_condition_is_left_alone(cloud: Cloud, repository: RepositoryName, clock: QuickClock) -> None:
    """It does not count as the role, and it is there afterwards as it was."""
    registry = cloud.artifact_registry
    policy = registry.get_policy(repository)
    binding = policy.bindings.add(role="roles/artifactregistry.reader", members=["group:a@example.com"])
    binding.condition.title, binding.condition.expression = "this year", "request.time.getFullYear() == 2026"
    registry.set_policy(repository, policy)
    grant = grant_access(registry, cloud.composer, repository, member="group:a@example.com", clock=clock)
    assert grant["outcome"] == "granted"
    bindings = [(b.condition.title, list(b.members)) for b in registry.get_policy(repository).bindings]
    assert sorted(bindings) == [("", ["group:a@example.com"]), ("this year", ["group:a@example.com"])]


def test_grants_that_cannot_be(
    cloud: Cloud, repository: RepositoryName, environment: EnvironmentName, clock: QuickClock, project: str
) -> None:
    """Neither, both, a public member, an environment that does not exist."""

    def grant(member: str | None, env: EnvironmentName | None) -> None:
        grant_access(cloud.artifact_registry, cloud.composer, repository, member=member, environment=env, clock=clock)

    for member, env in ((None, None), ("", None)):
        with pytest.raises(InvalidInputError, match="give `member` or `environment`"):
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
