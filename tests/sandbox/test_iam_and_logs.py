"""Tokens, keys, impersonation, projects and their policies, the metadata server; reading logs."""

from __future__ import annotations

import base64
import json
from typing import Any

import google.auth
import google.auth.transport.requests
import pytest
from google.api_core.exceptions import InvalidArgument, PermissionDenied
from google.auth import impersonated_credentials
from google.auth.exceptions import RefreshError
from google.cloud import artifactregistry_v1 as ar
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.oauth2 import id_token, service_account
from google.oauth2.credentials import Credentials

from tests.conftest import LOCATION, Running

from .test_artifact_registry import CALLER

CLOUD = ["https://www.googleapis.com/auth/cloud-platform"]
CRM = "https://cloudresourcemanager.googleapis.com"


def account(sandbox: Running, project: str, name: str, role: str = "") -> str:
    email = f"{name}@{project}.iam.gserviceaccount.com"
    grants = [f"serviceAccount:{email}={role}@projects/{project}"] if role else []
    sandbox.setup(accounts=[email], grants=grants)
    return email


def key_of(sandbox: Running, email: str) -> dict[str, Any]:
    with sandbox.session(CALLER) as session:
        made = session.post(
            f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{email}/keys", json={}, timeout=30
        )
    key: dict[str, Any] = json.loads(base64.b64decode(made.json()["privateKeyData"]))
    return key


def test_default_credentials_come_from_the_metadata_server(google_: Running) -> None:
    credentials, project = google.auth.default(scopes=CLOUD)
    credentials.refresh(google.auth.transport.requests.Request())
    assert (project, credentials.service_account_email) == ("sandbox-tests", CALLER)
    answer = google_.own.get(f"http://127.0.0.1:{google_.port}/computeMetadata/v1/project/project-id", timeout=30)
    assert answer.status_code == 403
    assert "Metadata-Flavor" in answer.text


def test_a_key_signs_and_is_checked(google_: Running, project: str) -> None:
    email = account(google_, project, "signer", "roles/artifactregistry.reader")
    key = key_of(google_, email)
    assert key["client_email"] == email
    parent = f"projects/{project}/locations/{LOCATION}"
    # Without scopes the client signs a token itself; with scopes it asks the token endpoint.
    for credentials in (
        service_account.Credentials.from_service_account_info(key),
        service_account.Credentials.from_service_account_info(key, scopes=CLOUD),
    ):
        assert list(ar.ArtifactRegistryClient(credentials=credentials).list_repositories(parent=parent)) == []
    other = key_of(google_, account(google_, project, "another"))
    forged = {**key, "private_key": other["private_key"]}
    with pytest.raises(RefreshError, match="invalid_grant"):
        service_account.Credentials.from_service_account_info(forged, scopes=CLOUD).refresh(
            google.auth.transport.requests.Request()
        )


def test_impersonation_needs_the_token_creator_role(google_: Running, project: str) -> None:
    target = account(google_, project, "target", "roles/artifactregistry.reader")
    middle = account(google_, project, "middle")
    source = Credentials(google_.token(CALLER))
    credentials = impersonated_credentials.Credentials(source, target, CLOUD)
    # An owner may act as an account, but not mint its tokens.
    with pytest.raises(RefreshError, match=r"iam\.serviceAccounts\.getAccessToken"):
        credentials.refresh(google.auth.transport.requests.Request())
    creator = "roles/iam.serviceAccountTokenCreator"
    google_.setup(grants=[f"serviceAccount:{CALLER}={creator}@projects/{project}/serviceAccounts/{middle}"])
    google_.setup(grants=[f"serviceAccount:{middle}={creator}@projects/{project}/serviceAccounts/{target}"])
    chain = impersonated_credentials.Credentials(source, target, CLOUD, delegates=[middle])
    client = ar.ArtifactRegistryClient(credentials=chain)
    assert list(client.list_repositories(parent=f"projects/{project}/locations/{LOCATION}")) == []
    calls = [call for call in google_.calls(project) if call["method"].endswith("ListRepositories")]
    assert [call["principal"] for call in calls] == [target]


@pytest.mark.parametrize("version", ["v1", "v3"])
def test_a_projects_policy_is_read_and_written_with_its_etag(sandbox: Running, project: str, version: str) -> None:
    with sandbox.session(CALLER) as session:
        url = f"{CRM}/{version}/projects/{project}"
        assert session.get(url, timeout=30).json()["projectId"] == project
        policy = session.post(f"{url}:getIamPolicy", json={}, timeout=30).json()
        policy["bindings"].append({"role": "roles/viewer", "members": ["user:a@example.com"]})
        assert session.post(f"{url}:setIamPolicy", json={"policy": policy}, timeout=30).status_code == 200
        late = session.post(f"{url}:setIamPolicy", json={"policy": policy}, timeout=30)
        assert (late.status_code, late.json()["error"]["status"]) == (409, "ABORTED")
        for member, message in (
            ("nobody", "unknown type"),
            (f"serviceAccount:missing@{project}.iam.gserviceaccount.com", "does not exist"),
        ):
            body = {"policy": {"bindings": [{"role": "roles/viewer", "members": [member]}]}}
            refused = session.post(f"{url}:setIamPolicy", json=body, timeout=30)
            assert (refused.status_code, message in refused.text) == (400, True)
        assert session.get(f"{CRM}/{version}/projects/no-such-project", timeout=30).status_code == 403


def test_service_accounts_have_policies_of_their_own(sandbox: Running, project: str) -> None:
    with sandbox.session(CALLER) as session:
        base = f"https://iam.googleapis.com/v1/projects/{project}/serviceAccounts"
        made = session.post(base, json={"accountId": "uploader", "serviceAccount": {"displayName": "Up"}}, timeout=30)
        assert made.json()["email"] == f"uploader@{project}.iam.gserviceaccount.com"
        assert session.post(base, json={"accountId": "uploader"}, timeout=30).status_code == 409
        assert session.post(base, json={"accountId": "UP"}, timeout=30).status_code == 400
        assert [item["email"] for item in session.get(base, timeout=30).json()["accounts"]] == [made.json()["email"]]
        one = f"{base}/{made.json()['email']}"
        policy = session.post(f"{one}:getIamPolicy", timeout=30).json()
        policy["bindings"] = [{"role": "roles/iam.serviceAccountUser", "members": ["user:a@example.com"]}]
        session.post(f"{one}:setIamPolicy", json={"policy": policy}, timeout=30)
        with sandbox.session("a@example.com") as other:
            asked = {"permissions": ["iam.serviceAccounts.actAs", "iam.serviceAccounts.delete"]}
            answer = other.post(f"{one}:testIamPermissions", json=asked, timeout=30)
            assert answer.json() == {"permissions": ["iam.serviceAccounts.actAs"]}
        assert session.delete(one, timeout=30).status_code == 200
        assert session.get(one, timeout=30).status_code == 404


def test_a_deleted_account_takes_its_keys_tokens_and_roles_along(sandbox: Running, project: str) -> None:
    """Its tokens and keys end, policies show it as deleted, and a new account of its name is another one."""
    email = account(sandbox, project, "robot", "roles/viewer")
    key = key_of(sandbox, email)
    url = f"https://iam.googleapis.com/v1/projects/{project}/serviceAccounts"
    with sandbox.session(CALLER) as session, sandbox.session(email) as robot:
        before = robot.get(f"{url}/{email}", timeout=30).json()
        assert session.delete(f"{url}/{email}", timeout=30).status_code == 200
        assert robot.get(url, timeout=30).status_code == 401
        account(sandbox, project, "robot")
        after = session.get(f"{url}/{email}", timeout=30).json()
        assert after["uniqueId"] != before["uniqueId"]
        with sandbox.session(email) as another:
            assert another.get(url, timeout=30).status_code == 403
        policy = session.post(f"{CRM}/v1/projects/{project}:getIamPolicy", timeout=30).json()
        gone = f"deleted:serviceAccount:{email}?uid={before['uniqueId']}"
        assert {"role": "roles/viewer", "members": [gone]} in policy["bindings"]
        credentials = service_account.Credentials.from_service_account_info(key, scopes=CLOUD)
        with pytest.raises(RefreshError, match="invalid_grant"):
            credentials.refresh(google.auth.transport.requests.Request(session=session))


def test_a_disabled_account_is_refused_everywhere_until_it_is_enabled(sandbox: Running, project: str) -> None:
    """Old tokens, keys and impersonation; enabled, the old token is good again."""
    email = account(sandbox, project, "robot", "roles/viewer")
    key = key_of(sandbox, email)
    creator = "roles/iam.serviceAccountTokenCreator"
    sandbox.setup(grants=[f"serviceAccount:{CALLER}={creator}@projects/{project}/serviceAccounts/{email}"])
    url = f"https://iam.googleapis.com/v1/projects/{project}/serviceAccounts"
    mint = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
    with sandbox.session(CALLER) as session, sandbox.session(email) as robot:
        credentials = service_account.Credentials.from_service_account_info(key, scopes=CLOUD)
        for verb, status in (("disable", 401), ("enable", 200)):
            assert session.post(f"{url}/{email}:{verb}", timeout=30).status_code == 200
            assert robot.get(url, timeout=30).status_code == status
            minted = session.post(mint, json={"scope": CLOUD}, timeout=30).status_code
            assert (minted == 200) is (verb == "enable")
            if verb == "disable":
                with pytest.raises(RefreshError, match="invalid_grant"):
                    credentials.refresh(google.auth.transport.requests.Request(session=session))
            else:
                credentials.refresh(google.auth.transport.requests.Request(session=session))


def test_id_tokens_are_for_one_audience_and_can_be_checked(google_: Running, project: str) -> None:
    """From the metadata server, for a key, and by impersonation: Google's library verifies each."""
    email, audience = account(google_, project, "robot"), "https://service.example"
    key = service_account.IDTokenCredentials.from_service_account_info(key_of(google_, email), target_audience=audience)
    key.refresh(google.auth.transport.requests.Request())
    tokens = [(key.token, email), (id_token.fetch_id_token(google.auth.transport.requests.Request(), audience), CALLER)]
    for token, whose in tokens:
        claims = id_token.verify_oauth2_token(token, google.auth.transport.requests.Request(), audience)
        assert (claims["email"], claims["email_verified"]) == (whose, True)
        with pytest.raises(ValueError, match="wrong audience"):
            id_token.verify_oauth2_token(token, google.auth.transport.requests.Request(), "https://other.example")
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateIdToken"
    with google_.session(CALLER) as session:
        refused = session.post(url, json={"audience": audience}, timeout=30)
        assert (refused.status_code, "iam.serviceAccounts.getOpenIdToken" in refused.text) == (403, True)


@pytest.mark.slow
def test_build_logs_are_found_by_filters_over_both_protocols(google_: Running, project: str) -> None:
    name = f"projects/{project}/locations/{LOCATION}/environments/dev"
    google_.setup(environments=[name])
    with google_.session(CALLER) as session:
        body = {"config": {"softwareConfig": {"pypiPackages": {"no-such-package-2718": "==1"}}}}
        mask = {"updateMask": "config.software_config.pypi_packages"}
        operation = session.patch(
            f"https://composer.googleapis.com/v1/{name}", params=mask, json=body, timeout=30
        ).json()
        while not session.get(f"https://composer.googleapis.com/v1/{operation['name']}", timeout=30).json().get("done"):
            pass
        base = (
            'resource.type="cloud_composer_environment" resource.labels.environment_name="dev" logName=~"/build-log-"'
        )
        start = operation["metadata"]["createTime"]

        def read(extra: str, **fields: Any) -> list[str]:
            query = {"resourceNames": [f"projects/{project}"], "filter": f"{base}\n{extra}", **fields}
            answer = session.post("https://logging.googleapis.com/v2/entries:list", json=query, timeout=30)
            assert answer.status_code == 200, answer.text
            return [entry["textPayload"] for entry in answer.json().get("entries", [])]

        every = read(f'timestamp>="{start}"', pageSize=1000)
        assert any("No matching distribution found for no-such-package-2718==1" in line for line in every)
        assert read("", pageSize=1000, orderBy="timestamp desc") == every[::-1]
        errors = read("severity>=ERROR")
        assert errors
        assert all("ERROR" in line or "non-zero code" in line for line in errors)
        assert read('textPayload:"no matching"') == [line for line in every if "No matching" in line]
        assert read('severity=INFO AND NOT textPayload:"pip" AND (textPayload:"xx" OR textPayload:"yy")') == []
        bad = {"resourceNames": [f"projects/{project}"], "filter": 'severity>="LOUD"'}
        assert session.post("https://logging.googleapis.com/v2/entries:list", json=bad, timeout=30).status_code == 400
    client = LoggingServiceV2Client(credentials=Credentials(google_.token(CALLER)))
    pager = client.list_log_entries({"resource_names": [f"projects/{project}"], "filter": base, "page_size": 3})
    assert [entry.text_payload for entry in pager] == every
    with google_.session("stranger@example.com") as session:
        query = {"resourceNames": [f"projects/{project}"]}
        assert session.post("https://logging.googleapis.com/v2/entries:list", json=query, timeout=30).status_code == 403


def test_a_client_writes_entries_and_finds_them(google_: Running, project: str) -> None:
    client = LoggingServiceV2Client(credentials=Credentials(google_.token(CALLER)))
    log, resource = f"projects/{project}/logs/rollout", {"type": "global", "labels": {"project_id": project}}
    entries = [{"text_payload": "begin"}, {"json_payload": {"stage": "dev"}, "severity": "WARNING"}]
    request = {"log_name": log, "resource": resource, "labels": {"run": "7"}, "entries": entries}
    client.write_log_entries({**request, "dry_run": True})
    query = {"resource_names": [f"projects/{project}"], "filter": 'logName:"rollout" labels.run="7"'}
    assert list(client.list_log_entries(query)) == []
    client.write_log_entries(request)
    found = list(client.list_log_entries(query))
    assert [entry.text_payload for entry in found] == ["begin", ""]
    assert dict(found[1].json_payload) == {"stage": "dev"}
    assert found[1].log_name == log
    assert list(client.list_logs(parent=f"projects/{project}")) == [log]
    with pytest.raises(InvalidArgument, match="Invalid log name"):
        client.write_log_entries({"entries": [{"text_payload": "x"}]})
    stranger = LoggingServiceV2Client(credentials=Credentials(google_.token("stranger@example.com")))
    with pytest.raises(PermissionDenied):
        stranger.write_log_entries(request)
