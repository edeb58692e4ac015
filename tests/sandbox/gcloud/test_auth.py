"""`gcloud auth`: signing in with a key, tokens of every kind, and what they are good for."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from .conftest import CALLER
from .test_iam import made

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
IAM = "https://iam.googleapis.com/v1"


def key_file(gcloud: Gcloud, account: str, folder: Path, http: requests.Session) -> Path:
    """A fresh key of an account."""
    answer = http.post(f"{IAM}/projects/-/serviceAccounts/{account}/keys", json={}, timeout=30).json()
    file = folder / "key.json"
    file.write_bytes(base64.b64decode(answer["privateKeyData"]))
    return file


def whose(gcloud: Gcloud, token: str) -> int:
    """The status with which a viewer's call is answered."""
    with gcloud.sandbox.session() as session:
        url = f"{IAM}/projects/{gcloud.project}/serviceAccounts"
        return session.get(url, headers={"authorization": f"Bearer {token.strip()}"}, timeout=30).status_code


def verified(gcloud: Gcloud, token: str, audience: str) -> dict[str, Any]:
    """The claims of an ID token, checked with Google's library against Google's certificates."""
    with gcloud.sandbox.session() as session:
        claims: dict[str, Any] = id_token.verify_oauth2_token(  # type: ignore[no-untyped-call]
            token.strip(), Request(session=session), audience
        )
        return claims


def test_a_key_signs_gcloud_in_and_out(gcloud: Gcloud, http: requests.Session, tmp_path: Path) -> None:
    """activate-service-account, list, print-access-token, a call, revoke; a deleted key signs nobody in."""
    account = made(gcloud, "robot", "roles/viewer")
    own = gcloud.with_config(tmp_path / "config")
    file = key_file(gcloud, account, tmp_path, http)
    said = own(f"auth activate-service-account --key-file={file}").err
    assert f"Activated service account credentials for: [{account}]" in said
    accounts = {item["account"]: item["status"] for item in own.json("auth list")}
    assert accounts == {account: "ACTIVE", CALLER: ""}
    assert whose(gcloud, own("auth print-access-token").out) == 200
    assert [item["email"] for item in own.json("iam service-accounts list")] == [account]
    claims = verified(
        gcloud, own("auth print-identity-token --audiences=https://service.example").out, "https://service.example"
    )
    assert claims["email"] == account
    key = json.loads(file.read_text())["private_key_id"]
    gcloud(f"iam service-accounts keys delete {key} --iam-account={account}")
    refused = own.with_config(tmp_path / "other").fails(f"auth activate-service-account --key-file={file}")
    assert "invalid_grant: Invalid JWT Signature." in refused
    assert own(f"auth revoke {account}").out == f"Revoked credentials:\n - {account}\n"
    assert [item["account"] for item in own.json("auth list")] == [CALLER]


def test_tokens_of_the_caller_come_from_the_metadata_server(gcloud: Gcloud) -> None:
    """print-access-token, application-default print-access-token, print-identity-token."""
    for command in ("auth print-access-token", "auth application-default print-access-token"):
        assert whose(gcloud, gcloud(command).out) == 200
    claims = verified(
        gcloud, gcloud("auth print-identity-token --audiences=https://a.example").out, "https://a.example"
    )
    assert (claims["iss"], "email" in claims) == ("https://accounts.google.com", False)
    said = gcloud("auth print-identity-token --audiences=https://a.example --token-format=full").out
    assert verified(gcloud, said, "https://a.example")["email"] == CALLER


def test_tokens_of_an_impersonated_account(gcloud: Gcloud) -> None:
    """print-access-token and print-identity-token with --impersonate-service-account, after a grant on the account."""
    account = made(gcloud, "target", "roles/viewer")
    place = f"projects/{gcloud.project}/serviceAccounts/{account}"
    gcloud.sandbox.setup(grants=[f"serviceAccount:{CALLER}=roles/iam.serviceAccountTokenCreator@{place}"])
    who = f"--impersonate-service-account={account}"
    assert whose(gcloud, gcloud(f"auth print-access-token {who}").out) == 200
    command = f"auth print-identity-token {who} --audiences=https://a.example --include-email"
    assert verified(gcloud, gcloud(command).out, "https://a.example")["email"] == account


def test_a_token_that_ended_early_fails_one_command(gcloud: Gcloud, http: requests.Session, tmp_path: Path) -> None:
    """401: gcloud 528 renews its token and sends the old one again; the next command has the new one."""
    account = made(gcloud, "robot", "roles/viewer")
    own = gcloud.with_config(tmp_path / "config")
    own(f"auth activate-service-account --key-file={key_file(gcloud, account, tmp_path, http)}")
    gcloud.sandbox.fault("google.iam.admin.v1.IAM.ListServiceAccounts", kind="token_expiry")
    said = own.fails("iam service-accounts list")
    assert "UNAUTHENTICATED: Request had invalid authentication credentials." in said
    assert f"This command is authenticated as {account} which is the active account" in said
    assert [item["email"] for item in own.json("iam service-accounts list")] == [account]
    assert gcloud.sandbox.unused() == []
