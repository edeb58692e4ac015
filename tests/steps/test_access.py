"""Who may read a repository: by the account's own word, or by the policy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.access import access_of
from tests.conftest import Running


@pytest.fixture
def account(sandbox: Running, project: str) -> str:
    """An account that may read nothing."""
    name = f"builds@{project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[name])
    return name


@pytest.fixture
def asker(sandbox: Running, project: str, cloud_of: Callable[[str], Cloud]) -> Cloud:
    """Somebody who may read the repositories' policies, and impersonate nobody."""
    member = f"asker@{project}.iam.gserviceaccount.com"
    sandbox.setup(
        accounts=[member], grants=[f"serviceAccount:{member}=roles/artifactregistry.admin@projects/{project}"]
    )
    return cloud_of(member)


def test_asked_itself(asker: Cloud, repository: RepositoryName, account: str, sandbox: Running, project: str) -> None:
    """Who may impersonate it gets its own word, also when a binding on the project lets it read."""
    member = f"serviceAccount:asker@{project}.iam.gserviceaccount.com"
    accounts = f"projects/{project}/serviceAccounts/{account}"
    sandbox.setup(grants=[f"{member}=roles/iam.serviceAccountTokenCreator@{accounts}"])
    access = access_of(asker, repository, account)
    assert (access.state, access.how) == ("missing", f"asked as {account}: it may not download from it")
    assert access.grant.startswith("gcloud artifacts repositories add-iam-policy-binding python ")
    assert f"--member=serviceAccount:{account} --role=roles/artifactregistry.reader" in access.grant
    sandbox.setup(grants=[f"serviceAccount:{account}=roles/artifactregistry.reader@projects/{project}"])
    assert access_of(asker, repository, account).state == "granted"


def test_read_from_the_policy(asker: Cloud, repository: RepositoryName, account: str, sandbox: Running) -> None:
    """Without impersonation the policy proves `granted`, and never `missing`."""
    access = access_of(asker, repository, account)
    assert access.state == "unknown"
    assert "the repository's own policy does not name it" in access.how
    sandbox.setup(grants=[f"serviceAccount:{account}=roles/artifactregistry.reader@{repository}"])
    access = access_of(asker, repository, account)
    assert (access.state, access.how) == ("granted", "the repository's own policy says so")


def test_a_condition_proves_nothing(asker: Cloud, repository: RepositoryName, account: str) -> None:
    """It may be over, or be about something else."""
    policy = asker.artifact_registry.get_policy(repository)
    binding = policy.bindings.add(role="roles/artifactregistry.reader", members=[f"serviceAccount:{account}"])
    binding.condition.title, binding.condition.expression = "past", "request.time.getFullYear() < 2020"
    asker.artifact_registry.set_policy(repository, policy)
    assert access_of(asker, repository, account).state == "unknown"


def test_nothing_may_be_asked(cloud_of: Callable[[str], Cloud], repository: RepositoryName, account: str) -> None:
    """A caller without any right gets `unknown`, not an error."""
    access = access_of(cloud_of("nobody@example.com"), repository, account)
    assert (access.state, access.how) == (
        "unknown",
        "the account may not be impersonated, and the repository's policy not be read",
    )
