"""`gcloud iam service-accounts`: accounts, keys, policies and impersonation, with their state afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .conftest import CALLER

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
IAM = "https://iam.googleapis.com/v1"
ACCOUNTS = "iam service-accounts"
CREATOR = f"--member=serviceAccount:{CALLER} --role=roles/iam.serviceAccountTokenCreator"


def email(gcloud: Gcloud, name: str) -> str:
    """The address of an account of the test's project."""
    return f"{name}@{gcloud.project}.iam.gserviceaccount.com"


def made(gcloud: Gcloud, name: str, *roles: str) -> str:
    """An account that the sandbox has already, with roles on the project."""
    account = email(gcloud, name)
    grants = [f"serviceAccount:{account}={role}@projects/{gcloud.project}" for role in roles]
    gcloud.sandbox.setup(accounts=[account], grants=grants)
    return account


def test_an_account_is_created_described_changed_listed_and_deleted(gcloud: Gcloud, http: requests.Session) -> None:
    """create, create again, describe, update, list, delete; a policy then names it as deleted."""
    account = email(gcloud, "uploader")
    said = gcloud(f"{ACCOUNTS} create uploader --display-name='Up Loader' --description=ours").err
    assert said == "Created service account [uploader].\n"
    again = gcloud.fails(f"{ACCOUNTS} create uploader")
    assert f"Service account uploader already exists within project projects/{gcloud.project}." in again
    shown = gcloud.json(f"{ACCOUNTS} describe {account}")
    assert (shown["displayName"], shown["description"], shown["email"]) == ("Up Loader", "ours", account)
    gcloud(f"{ACCOUNTS} update {account} --display-name=Other")
    head, row = gcloud(f"{ACCOUNTS} list").out.splitlines()
    assert (head.split(), row.split()) == (["DISPLAY", "NAME", "EMAIL", "DISABLED"], ["Other", account, "False"])
    gcloud.sandbox.setup(grants=[f"serviceAccount:{account}=roles/viewer@projects/{gcloud.project}"])
    assert gcloud(f"{ACCOUNTS} delete {account}").err == f"deleted service account [{account}]\n"
    assert http.get(f"{IAM}/projects/{gcloud.project}/serviceAccounts/{account}", timeout=30).status_code == 404
    policy = gcloud.json(f"projects get-iam-policy {gcloud.project}")
    viewers = next(item["members"] for item in policy["bindings"] if item["role"] == "roles/viewer")
    assert viewers == [f"deleted:serviceAccount:{account}?uid={shown['uniqueId']}"]


def test_an_account_that_is_not_there_looks_like_a_forbidden_one(gcloud: Gcloud) -> None:
    """gcloud asks for `projects/-/…`, where Google answers 403 for both (IAM discovery document)."""
    said = gcloud.fails(f"{ACCOUNTS} describe {email(gcloud, 'nobody')}")
    assert (
        "ERROR: (gcloud.iam.service-accounts.describe) PERMISSION_DENIED: Permission 'iam.serviceAccounts.get' " in said
    )
    assert "denied on resource (or it may not exist)." in said


def test_a_disabled_account_is_nobody_until_it_is_enabled(gcloud: Gcloud, http: requests.Session) -> None:
    """Its tokens are refused while it is disabled, and good again afterwards; it gets no new ones meanwhile."""
    account = made(gcloud, "robot", "roles/viewer")
    url = f"{IAM}/projects/{gcloud.project}/serviceAccounts"
    with gcloud.sandbox.session(account) as robot:
        assert robot.get(url, timeout=30).status_code == 200
        gcloud(f"{ACCOUNTS} disable {account}")
        assert robot.get(url, timeout=30).status_code == 401
        assert gcloud.json(f"{ACCOUNTS} list")[0]["disabled"] is True
        gcloud(f"{ACCOUNTS} enable {account}")
        assert robot.get(url, timeout=30).status_code == 200


def test_a_key_is_created_disabled_enabled_listed_and_deleted(
    gcloud: Gcloud, http: requests.Session, tmp_path: Path
) -> None:
    """keys create writes the file once; list shows ids and states; a deleted key is gone."""
    account = made(gcloud, "signer")
    file = tmp_path / "key.json"
    said = gcloud(f"{ACCOUNTS} keys create {file} --iam-account={account}").err
    key = json.loads(file.read_text())
    identifier = key["private_key_id"]
    assert said == f"created key [{identifier}] of type [json] as [{file}] for [{account}]\n"
    assert (key["type"], key["client_email"], key["project_id"]) == ("service_account", account, gcloud.project)
    for verb, disabled in (("disable", "True"), ("enable", "")):
        gcloud(f"{ACCOUNTS} keys {verb} {identifier} --iam-account={account}")
        row = gcloud(f"{ACCOUNTS} keys list --iam-account={account} --format='csv[no-heading](KEY_ID,DISABLED)'").out
        assert row == f"{identifier},{disabled}\n"
    assert f"deleted key [{identifier}]" in gcloud(f"{ACCOUNTS} keys delete {identifier} --iam-account={account}").err
    keys = http.get(f"{IAM}/projects/-/serviceAccounts/{account}/keys", timeout=30).json()["keys"]
    assert keys == []
    said = gcloud.fails(f"{ACCOUNTS} keys delete {identifier} --iam-account={account}")
    assert "NOT_FOUND: Service account key" in said


def test_an_owner_impersonates_after_a_grant_on_the_account(gcloud: Gcloud) -> None:
    """Refused without roles/iam.serviceAccountTokenCreator; with it the call is the account's, with its rights."""
    account = made(gcloud, "target", "roles/artifactregistry.reader")
    who = f"--impersonate-service-account={account}"
    said = gcloud.fails(f"projects describe {gcloud.project} {who}")
    assert "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)." in said
    assert (
        f"Failed to impersonate [{account}]. Make sure the account that's trying to impersonate it has access" in said
    )
    assert (
        f"Updated IAM policy for serviceAccount [{account}]."
        in gcloud(f"{ACCOUNTS} add-iam-policy-binding {account} {CREATOR}").err
    )
    gcloud(f"artifacts repositories list --location=europe-west1 {who}")
    calls = gcloud.sandbox.calls(gcloud.project)
    assert [call["principal"] for call in calls if call["method"].endswith("ListRepositories")] == [account]
    denied = gcloud.fails(f"storage ls {who}")
    assert f"{account} does not have storage.buckets.list access to the Google Cloud project." in denied
    gcloud(f"{ACCOUNTS} remove-iam-policy-binding {account} {CREATOR}")
    assert "bindings" not in gcloud.json(f"{ACCOUNTS} get-iam-policy {account}")


def test_a_policy_that_changed_meanwhile_is_a_conflict(gcloud: Gcloud) -> None:
    """409 ABORTED of setIamPolicy: gcloud 528 says so and does not try again; after 503 it does."""
    account = made(gcloud, "member")
    binding = f"{gcloud.project} --member=serviceAccount:{account} --role=roles/browser"
    method = "cloudresourcemanager.v1.projects.setIamPolicy"
    gcloud.sandbox.fault(method, status=409, message="There were concurrent policy changes.")
    said = gcloud.fails(f"projects add-iam-policy-binding {binding}")
    assert "is the subject of a conflict: There were concurrent policy changes." in said
    gcloud.sandbox.fault(method, status=503)
    added = gcloud.json(f"projects add-iam-policy-binding {binding}")
    assert {"members": [f"serviceAccount:{account}"], "role": "roles/browser"} in added["bindings"]
    removed = gcloud.json(f"projects remove-iam-policy-binding {binding}")
    assert [item["role"] for item in removed["bindings"]] == ["roles/owner"]
    assert gcloud.sandbox.unused() == []


def test_an_account_that_does_not_exist_is_no_member(gcloud: Gcloud) -> None:
    """400, with the address."""
    nobody = email(gcloud, "nobody")
    command = f"projects add-iam-policy-binding {gcloud.project} --member=serviceAccount:{nobody} --role=roles/browser"
    said = gcloud.fails(command)
    assert f"INVALID_ARGUMENT: Service account {nobody} does not exist." in said
