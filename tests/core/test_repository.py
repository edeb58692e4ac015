"""Repositories: what one should be like, and how far one is from it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gar_provider.core.repository import Repository, RepositoryName, Upstream, grant_command, reads_by
from airflow_gar_provider.core.repository_settings import cleanup_policies_from, differences, settings_from
from airflow_gar_provider.errors import InvalidInputError

PARENT = "projects/acme-packages/locations/europe-west1/repositories"
NAME = RepositoryName.parse(f"{PARENT}/python")


def test_pages_of_the_console() -> None:
    """Packages and versions have pages of their own; a local version's + is quoted."""
    base = "https://console.cloud.google.com/artifacts/python/acme-packages/europe-west1/python"
    assert NAME.package_console_url("acme-utils") == f"{base}/acme-utils?project=acme-packages"
    assert NAME.version_console_url("acme-utils", "1.0+x") == f"{base}/acme-utils/1.0%2Bx?project=acme-packages"


def test_the_command_that_grants() -> None:
    """It can be typed as it is."""
    assert grant_command(NAME, "dev@acme-data.iam.gserviceaccount.com") == (
        "gcloud artifacts repositories add-iam-policy-binding python --project=acme-packages --location=europe-west1 "
        "--member=serviceAccount:dev@acme-data.iam.gserviceaccount.com --role=roles/artifactregistry.reader"
    )


def test_who_reads_by_a_policy() -> None:
    """Only a role that carries the download proves something."""
    assert reads_by([("roles/artifactregistry.writer", ["user:a"])], "user:a")
    assert not reads_by([("roles/artifactregistry.reader", ["user:b"]), ("roles/viewer", ["user:a"])], "user:a")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "mirror"}, "mode is one of standard, remote, virtual, not 'mirror'"),
        ({"upstreams": "PYPI"}, "a standard repository has no upstreams"),
        ({"mode": "remote"}, 'is "PYPI" or the URL of an index, not None'),
        ({"mode": "remote", "upstreams": "ftp://x"}, 'is "PYPI" or the URL of an index'),
        ({"mode": "virtual", "upstreams": []}, "are a map from repository to priority"),
        ({"mode": "virtual", "upstreams": '{"a": '}, "is not JSON"),
        ({"mode": "virtual", "upstreams": {f"{PARENT}/a": "high"}}, "a priority is a whole number, not 'high'"),
        ({"mode": "virtual", "upstreams": {f"{PARENT}/a": True}}, "a priority is a whole number"),
        ({"mode": "virtual", "upstreams": {"a": 1}}, "'a' is not the name of a repository"),
        (
            {"mode": "virtual", "upstreams": {"projects/acme-packages/locations/us/repositories/a": 1}},
            "is not in europe-west1, where the virtual repository is",
        ),
        ({"labels": {"Team": "x"}}, "these labels cannot be: Team"),
        ({"labels": {"team": "Data Science"}}, "these labels cannot be: team"),
        ({"labels": "team=x"}, "labels are a map"),
        ({"labels": {f"k{i}": "" for i in range(65)}}, "65 labels are more than 64"),
        ({"kms_key": "key"}, "'key' is not a key: write projects/P"),
        ({"cleanup_dry_run": "maybe"}, "cleanup_dry_run is True or False"),
        ({"cleanup_policies": {}}, "cleanup policies are a list"),
        ({"cleanup_policies": [{"action": {"type": "Keep"}}]}, "cleanup policy 1 has no name"),
        (
            {"cleanup_policies": [{"name": "a", "action": {"type": "Keep"}, "condition": {}}] * 2},
            "two cleanup policies are named a",
        ),
        ({"cleanup_policies": [{"name": "a", "condition": {}}]}, "cleanup policy a: its action is"),
        ({"cleanup_policies": [{"name": "a", "action": {"type": "Keep"}}]}, 'it needs "condition" or'),
        (
            {"cleanup_policies": [{"name": "a", "action": {"type": "Delete"}, "mostRecentVersions": {"keepCount": 1}}]},
            "goes with the action Keep",
        ),
        (
            {"cleanup_policies": [{"name": "a", "action": {"type": "Delete"}, "condition": {"olderThan": "a month"}}]},
            "'a month' is not a duration",
        ),
        (
            {"cleanup_policies": [{"name": "a", "action": {"type": "Delete"}, "condition": {"age": "1d"}}]},
            '"condition" is a map of tagState',
        ),
        ({"cleanup_policies": [{"name": "a", "when": 1}]}, "unknown keys: when"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], message: str) -> None:
    """Each says what is wrong."""
    with pytest.raises(InvalidInputError) as caught:
        settings_from(NAME, **given)
    assert message in caught.value.what


def test_all_problems_at_once() -> None:
    """One error has a line for each."""
    with pytest.raises(InvalidInputError) as caught:
        settings_from(NAME, mode="virtual", upstreams=None, labels={"A": "b"}, kms_key="k")
    assert caught.value.what.count("\n  - ") == 3


@pytest.mark.parametrize("text", ["30d", "4w2d", "720h", "2592000s", "2592000", 2592000])
def test_durations(text: object) -> None:
    """As gcloud writes them, or a number of seconds."""
    condition = {"olderThan": text, "versionNamePrefixes": ["1."]}
    policy = {"name": "old", "action": {"type": "Delete"}, "condition": condition}
    assert cleanup_policies_from([policy]) == {
        "old": {"action": "DELETE", "condition": {"olderThan": "2592000s", "versionNamePrefixes": ["1."]}}
    }


def test_text_from_a_form() -> None:
    """Maps and lists may be JSON text."""
    name = f"{PARENT}/a"
    settings = settings_from(
        NAME, mode="virtual", upstreams=f'{{"{name}": "10"}}', labels='{"team": "data"}', cleanup_dry_run="False"
    )
    assert settings.upstreams == (Upstream(RepositoryName.parse(name), 10),)
    assert settings.labels == {"team": "data"}
    assert settings.cleanup_dry_run is False


def test_differences() -> None:
    """Only what was said is compared; labels that are not listed, and any tag state, make no difference."""
    found = Repository(
        NAME,
        "PYTHON",
        "standard",
        description="old",
        labels={"team": "data", "made-by": "terraform"},
        kms_key="projects/p/locations/l/keyRings/k/cryptoKeys/c/cryptoKeyVersions/1",
        cleanup_policies={"a": {"action": "KEEP", "condition": {"tagState": "ANY", "newerThan": "60s"}}},
    )
    policies = [{"name": "a", "action": {"type": "Keep"}, "condition": {"newerThan": "1m"}}]
    same = settings_from(
        NAME,
        labels={"team": "data"},
        cleanup_policies=policies,
        kms_key="projects/p/locations/l/keyRings/k/cryptoKeys/c",
    )
    assert differences(found, same) == {}
    assert differences(found, settings_from(NAME, description="new", labels={"env": "x"}, cleanup_policies=[])) == {
        "description": {"is": "old", "wanted": "new"},
        "labels": {"is": {"env": None}, "wanted": {"env": "x"}},
        "cleanup_policies": {"is": {"a": {"action": "KEEP", "condition": {"newerThan": "60s"}}}, "wanted": {}},
    }
