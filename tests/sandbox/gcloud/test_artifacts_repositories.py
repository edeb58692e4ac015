"""gcloud artifacts: locations, repositories, their policies, the settings that they print."""

from __future__ import annotations

import base64
import configparser
import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import LOCATION

from .conftest import CALLER

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
HERE = f"--location={LOCATION}"
SERVICE = "google.devtools.artifactregistry.v1.ArtifactRegistry"
DENIED = "PERMISSION_DENIED: Permission 'artifactregistry.repositories.{verb}' denied on resource '{resource}'"


def name_of(gcloud: Gcloud, repository: str) -> str:
    return f"projects/{gcloud.project}/locations/{LOCATION}/repositories/{repository}"


def url(gcloud: Gcloud, repository: str) -> str:
    return f"https://artifactregistry.googleapis.com/v1/{name_of(gcloud, repository)}"


def test_a_repository_is_created_described_listed_updated_and_deleted(gcloud: Gcloud, http: requests.Session) -> None:
    made = gcloud(
        f"artifacts repositories create python --repository-format=python {HERE} --description='our own' --labels=a=b"
    )
    assert "Created repository [python]." in made.err
    found = http.get(url(gcloud, "python"), timeout=30).json()
    assert (found["mode"], found["labels"], found["description"]) == ("STANDARD_REPOSITORY", {"a": "b"}, "our own")

    described = gcloud(f"artifacts repositories describe python {HERE}")
    assert f"name: {name_of(gcloud, 'python')}\n" in described.out
    assert f"registryUri: {LOCATION}-python.pkg.dev/{gcloud.project}/python\n" in described.out
    assert "Encryption: Google-managed key" in described.err
    listed = gcloud.json(f"artifacts repositories list {HERE}")
    assert [item["name"] for item in listed] == [name_of(gcloud, "python")]

    updated = gcloud(f"artifacts repositories update python {HERE} --description=theirs --update-labels=c=d")
    assert "Updated repository [python]." in updated.err
    found = http.get(url(gcloud, "python"), timeout=30).json()
    assert (found["description"], found["labels"]) == ("theirs", {"a": "b", "c": "d"})

    deleted = gcloud(f"artifacts repositories delete python {HERE}")
    assert "Deleted repository [python]." in deleted.err
    assert http.get(url(gcloud, "python"), timeout=30).status_code == 404


def test_a_list_without_a_location_asks_every_location_that_google_names(gcloud: Gcloud, python: str) -> None:
    mark = gcloud.since()
    listed = gcloud.json("artifacts repositories list")
    assert [item["name"] for item in listed] == [name_of(gcloud, "python")]
    calls = [name for name, _ in gcloud.calls(mark)]
    locations = gcloud("artifacts locations list --format=value(name)").out.split()
    assert {"us", "europe", LOCATION} < set(locations)
    assert calls == ["ListLocations", *["ListRepositories"] * len(locations)]


def test_virtual_and_remote_repositories_keep_what_they_are_created_with(
    gcloud: Gcloud, http: requests.Session, tmp_path: Path
) -> None:
    gcloud(f"artifacts repositories create own --repository-format=python {HERE} --async")
    remote = "--mode=remote-repository --remote-python-repo=PYPI --remote-repo-config-desc=public"
    gcloud(f"artifacts repositories create pypi --repository-format=python {HERE} {remote} --async")
    policies = [
        {"id": "own", "repository": name_of(gcloud, "own"), "priority": 100},
        {"id": "pypi", "repository": name_of(gcloud, "pypi"), "priority": 50},
    ]
    file = tmp_path / "policies.json"
    file.write_text(json.dumps(policies))
    virtual = f"--mode=virtual-repository --upstream-policy-file={file}"
    gcloud(f"artifacts repositories create all --repository-format=python {HERE} {virtual}")
    found = http.get(url(gcloud, "all"), timeout=30).json()
    assert found["mode"] == "VIRTUAL_REPOSITORY"
    assert found["virtualRepositoryConfig"]["upstreamPolicies"] == policies
    found = http.get(url(gcloud, "pypi"), timeout=30).json()
    assert found["mode"] == "REMOTE_REPOSITORY"
    assert found["remoteRepositoryConfig"]["pythonRepository"] == {"publicRepository": "PYPI"}

    file.write_text(json.dumps([{**policies[0], "repository": name_of(gcloud, "missing")}]))
    command = f"artifacts repositories create other --repository-format=python {HERE} {virtual}"
    assert f"NOT_FOUND: Upstream repository {name_of(gcloud, 'missing')} was not found." in gcloud.fails(command)


def test_cleanup_policies_are_set_listed_and_deleted(gcloud: Gcloud, python: str, tmp_path: Path) -> None:
    file = tmp_path / "cleanup.json"
    file.write_text(json.dumps([{"name": "keep", "action": {"type": "Keep"}, "mostRecentVersions": {"keepCount": 3}}]))
    gcloud(f"artifacts repositories set-cleanup-policies python {HERE} --policy={file}")
    listed = gcloud.json(f"artifacts repositories list-cleanup-policies python {HERE}")
    assert [(item["name"], item["mostRecentVersions"]) for item in listed] == [("keep", {"keepCount": 3})]
    gcloud(f"artifacts repositories delete-cleanup-policies python {HERE} --policynames=keep")
    assert gcloud.json(f"artifacts repositories list-cleanup-policies python {HERE}") == []


def test_a_role_is_given_and_taken_back_and_works_in_between(gcloud: Gcloud, python: str) -> None:
    reader = f"reader@{gcloud.project}.iam.gserviceaccount.com"
    gcloud.sandbox.setup(accounts=[reader])
    describe = f"artifacts repositories describe python {HERE}"
    denied = DENIED.format(verb="get", resource=f"//artifactregistry.googleapis.com/{python}")
    assert denied in gcloud.as_(reader).fails(describe)

    binding = f"{HERE} --member=serviceAccount:{reader} --role=roles/artifactregistry.reader"
    added = gcloud(f"artifacts repositories add-iam-policy-binding python {binding}")
    assert "Updated IAM policy for repository [python]." in added.err
    policy = gcloud.json(f"artifacts repositories get-iam-policy python {HERE}")
    assert policy["bindings"] == [{"members": [f"serviceAccount:{reader}"], "role": "roles/artifactregistry.reader"}]
    gcloud.as_(reader)(describe)

    removed = gcloud.json(f"artifacts repositories remove-iam-policy-binding python {binding}")
    assert "bindings" not in removed
    assert removed["etag"] != policy["etag"]


def test_a_policy_that_changed_meanwhile_is_aborted_and_not_tried_again(gcloud: Gcloud, python: str) -> None:
    binding = f"{HERE} --member=serviceAccount:{CALLER} --role=roles/artifactregistry.reader"
    gcloud(f"artifacts repositories add-iam-policy-binding python {binding}")
    file = gcloud.config / "policy.json"
    file.write_text(gcloud(f"artifacts repositories get-iam-policy python {HERE} --format=json").out)
    gcloud(f"artifacts repositories remove-iam-policy-binding python {binding}")
    mark = gcloud.since()
    refused = gcloud.fails(f"artifacts repositories set-iam-policy python {file} {HERE}")
    assert "ABORTED: There were concurrent policy changes." in refused
    assert gcloud.calls(mark) == [("SetIamPolicy", 409)]


def test_a_member_that_is_not_there_is_refused(gcloud: Gcloud, python: str) -> None:
    nobody = f"nobody@{gcloud.project}.iam.gserviceaccount.com"
    binding = f"{HERE} --member=serviceAccount:{nobody} --role=roles/artifactregistry.reader"
    refused = gcloud.fails(f"artifacts repositories add-iam-policy-binding python {binding}")
    assert f"INVALID_ARGUMENT: Service account {nobody} does not exist." in refused


def test_settings_are_printed_with_a_key_and_without_one(gcloud: Gcloud, python: str, tmp_path: Path) -> None:
    command = f"artifacts print-settings python --repository=python {HERE}"
    place = f"{LOCATION}-python.pkg.dev/{gcloud.project}/python/"
    printed = gcloud(command).out
    parts = configparser.ConfigParser()
    parts.read_string(printed)
    assert parts["python"]["repository"] == f"https://{place}"
    assert parts["global"]["extra-index-url"] == f"https://{place}simple/"
    assert "password" not in printed

    key = tmp_path / "key.json"
    key.write_text(json.dumps({"type": "service_account", "client_email": "a@b", "private_key": "none"}))
    parts = configparser.ConfigParser(interpolation=None)
    parts.read_string(gcloud(f"{command} --json-key={key}").out)
    secret = base64.b64encode(key.read_bytes()).decode()
    assert dict(parts["python"]) == {
        "repository": f"https://{place}",
        "username": "_json_key_base64",
        "password": secret,
    }
    assert parts["global"]["extra-index-url"] == f"https://_json_key_base64:{secret}@{place}simple/"


def test_errors_have_googles_words(gcloud: Gcloud, python: str) -> None:
    repositories = "artifacts repositories"
    for command, message in (
        (f"{repositories} create python --repository-format=python {HERE}", "ALREADY_EXISTS: the repository already"),
        (f"{repositories} describe missing {HERE}", "NOT_FOUND: Requested entity was not found."),
        (f"{repositories} delete missing {HERE}", "NOT_FOUND: Requested entity was not found."),
        (
            f"{repositories} create other --repository-format=python --location=atlantis",
            "PERMISSION_DENIED: Location atlantis is not found or access is unauthorized.",
        ),
        (f"artifacts print-settings python --repository=missing {HERE}", "Requested entity was not found."),
    ):
        assert message in gcloud.fails(command), command
    stranger = gcloud.as_("stranger@example.com")
    refused = stranger.fails(f"{repositories} create other --repository-format=python {HERE}")
    resource = f"//artifactregistry.googleapis.com/projects/{gcloud.project}"
    assert DENIED.format(verb="create", resource=resource) in refused
    assert "reason: IAM_PERMISSION_DENIED" in refused
    assert [item["name"] for item in gcloud.json(f"{repositories} list {HERE}")] == [name_of(gcloud, "python")]


def test_an_operation_that_fails_is_told_and_can_be_described(gcloud: Gcloud) -> None:
    gcloud.sandbox.fault(f"{SERVICE}.CreateRepository", kind="failed_operation", status=500, message="out of luck")
    refused = gcloud.fails(f"artifacts repositories create python --repository-format=python {HERE}")
    assert "out of luck" in refused
    operation = gcloud.json(f"artifacts repositories create other --repository-format=python {HERE} --async")
    identifier = operation["name"].rpartition("/")[2]
    described = gcloud.json(f"artifacts operations describe {identifier} {HERE}")
    assert described["done"] is True
    assert described["response"]["name"] == name_of(gcloud, "other")
    assert gcloud.sandbox.unused() == []


def test_what_gcloud_tries_again(gcloud: Gcloud, python: str) -> None:
    """Repositories: 503, not 429. Packages and what is below: 429, not 503."""
    describe, packages = f"artifacts repositories describe python {HERE}", "artifacts packages list --repository=python"
    for command, method, status, tries in (
        (describe, "GetRepository", 503, 2),
        (describe, "GetRepository", 429, 1),
        (f"{packages} {HERE}", "ListPackages", 429, 2),
        (f"{packages} {HERE}", "ListPackages", 503, 1),
    ):
        gcloud.sandbox.fault(f"{SERVICE}.{method}", status=status)
        mark = gcloud.since()
        ran = gcloud.run(command)
        assert gcloud.calls(mark) == [(method, status), (method, 200)][:tries], (command, status)
        assert (ran.code == 0) is (tries == 2), ran.err
    assert gcloud.sandbox.unused() == []
