"""Artifact Registry with Google's own client, over gRPC and over REST."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import artifactregistry_v1 as ar
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.oauth2.credentials import Credentials

from tests.conftest import LOCATION, Running, wheel

if TYPE_CHECKING:
    import requests

CALLER = "caller@sandbox-tests.iam.gserviceaccount.com"


@pytest.fixture(params=["grpc", "rest"])
def client(google_: Running, request: pytest.FixtureRequest) -> ar.ArtifactRegistryClient:
    credentials = Credentials(google_.token(CALLER))
    return ar.ArtifactRegistryClient(credentials=credentials, transport=request.param)


def create(client: ar.ArtifactRegistryClient, parent: str, name: str = "python", **fields: Any) -> ar.Repository:
    repository = ar.Repository({"format_": ar.Repository.Format.PYTHON, **fields})
    return client.create_repository(parent=parent, repository_id=name, repository=repository).result(timeout=20)


def upload(session: requests.Session, project: str, name: str, version: str, **kind: Any) -> tuple[int, str, bytes]:
    filename, content = wheel(name, version, **kind)
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel",
    }
    fields |= {"pyversion": "py3", "metadata_version": "2.1", "sha256_digest": hashlib.sha256(content).hexdigest()}
    url = f"https://{LOCATION}-python.pkg.dev/{project}/python/"
    answer = session.post(url, data=fields, files={"content": (filename, content)}, timeout=30)
    return answer.status_code, answer.text, content


def test_a_repository_is_created_described_listed_changed_and_deleted(
    client: ar.ArtifactRegistryClient, parent: str, project: str
) -> None:
    made = create(client, parent, labels={"team": "data"})
    assert made.name == f"{parent}/repositories/python"
    assert made.mode == ar.Repository.Mode.STANDARD_REPOSITORY
    assert made.registry_uri == f"{LOCATION}-python.pkg.dev/{project}/python"
    assert [item.name for item in client.list_repositories(parent=parent)] == [made.name]
    changed = ar.Repository(name=made.name, description="ours", labels={"team": "other"})
    client.update_repository(repository=changed, update_mask={"paths": ["description"]})
    found = client.get_repository(name=made.name)
    assert (found.description, dict(found.labels)) == ("ours", {"team": "data"})
    assert client.delete_repository(name=made.name).result(timeout=20) is not None
    with pytest.raises(exceptions.NotFound, match="Requested entity was not found"):
        client.get_repository(name=made.name)


def test_pages_end_where_the_list_ends(client: ar.ArtifactRegistryClient, parent: str) -> None:
    names = [create(client, parent, f"repo-{number}").name for number in range(5)]
    pager = client.list_repositories(request={"parent": parent, "page_size": 2})
    assert [[item.name for item in page.repositories] for page in pager.pages] == [names[:2], names[2:4], names[4:]]


def test_an_existing_repository_is_not_made_twice(client: ar.ArtifactRegistryClient, parent: str) -> None:
    create(client, parent)
    with pytest.raises(exceptions.Conflict, match="the repository already exists"):
        create(client, parent)


BAD = [
    ({"repository_id": "Upper"}, exceptions.InvalidArgument, "Invalid repository ID"),
    ({"repository": {}}, exceptions.InvalidArgument, "format must be specified"),
    ({"parent": "projects/nobody-knows-it/locations/europe-west1"}, exceptions.PermissionDenied, "repositories.create"),
    ({"repository": {"format_": "PYTHON", "mode": "REMOTE_REPOSITORY"}}, exceptions.InvalidArgument, "do not agree"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_a_bad_repository_is_refused(
    client: ar.ArtifactRegistryClient, parent: str, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    request = {"parent": parent, "repository_id": "python", "repository": {"format_": "PYTHON"}, **change}
    if isinstance(request["repository"], dict) and "mode" in request["repository"]:
        request["repository"] = ar.Repository(
            format_=ar.Repository.Format.PYTHON, mode=ar.Repository.Mode.REMOTE_REPOSITORY
        )
    with pytest.raises((error, exceptions.BadRequest, exceptions.Forbidden), match=message):
        client.create_repository(request)
    assert list(client.list_repositories(parent=parent)) == []


def test_a_policy_that_somebody_else_changed_is_not_overwritten(client: ar.ArtifactRegistryClient, parent: str) -> None:
    name = create(client, parent).name
    policy = client.get_iam_policy({"resource": name})
    policy.bindings.append(policy_pb2.Binding(role="roles/artifactregistry.reader", members=["user:a@example.com"]))
    written = client.set_iam_policy({"resource": name, "policy": policy})
    assert written.etag != policy.etag
    with pytest.raises(exceptions.Conflict, match="concurrent policy changes"):
        client.set_iam_policy({"resource": name, "policy": policy})
    assert client.get_iam_policy({"resource": name}) == written


def test_a_policy_with_conditions_is_of_version_three(client: ar.ArtifactRegistryClient, parent: str) -> None:
    """Who asks for less sees no condition and a changed role; who sets one has to say the version."""
    name = create(client, parent).name
    role = "roles/artifactregistry.reader"
    condition = {"title": "soon over", "expression": "request.time.getYear() < 2030"}
    binding = policy_pb2.Binding(role=role, members=["user:a@example.com"], condition=condition)
    with pytest.raises(exceptions.BadRequest, match="version must be 3"):
        client.set_iam_policy({"resource": name, "policy": {"bindings": [binding]}})
    client.set_iam_policy({"resource": name, "policy": {"bindings": [binding], "version": 3}})
    [old] = client.get_iam_policy({"resource": name}).bindings
    assert re.fullmatch(role + "_withcond_[0-9a-f]{20}", old.role)
    assert not old.HasField("condition")
    [new] = client.get_iam_policy({"resource": name, "options": {"requested_policy_version": 3}}).bindings
    assert (new.role, new.condition.title) == (role, "soon over")


def test_a_role_on_a_repository_allows_exactly_what_it_carries(
    google_: Running, parent: str, project: str, request: pytest.FixtureRequest
) -> None:
    owner = ar.ArtifactRegistryClient(credentials=Credentials(google_.token(CALLER)))
    name = create(owner, parent).name
    google_.setup(grants=[f"user:reader@example.com=roles/artifactregistry.reader@{name}"])
    reader = ar.ArtifactRegistryClient(credentials=Credentials(google_.token("reader@example.com")))
    assert reader.get_repository(name=name).name == name
    asked = ["artifactregistry.repositories.downloadArtifacts", "artifactregistry.repositories.uploadArtifacts"]
    request_ = iam_policy_pb2.TestIamPermissionsRequest(resource=name, permissions=asked)
    assert list(reader.test_iam_permissions(request_).permissions) == asked[:1]
    with pytest.raises(exceptions.PermissionDenied) as caught:
        reader.delete_repository(name=name)
    assert "Permission 'artifactregistry.repositories.delete' denied on resource" in str(caught.value)
    assert f"'//artifactregistry.googleapis.com/{name}' (or it may not exist)" in str(caught.value)
    assert caught.value.reason == "IAM_PERMISSION_DENIED"
    session = google_.session("reader@example.com")
    assert upload(session, project, "acme", "1.0")[0] == 403
    session.close()


def test_a_call_without_or_with_a_wrong_token_is_unauthenticated(google_: Running, parent: str) -> None:
    for credentials in (AnonymousCredentials(), Credentials("ya29.made-up")):
        client = ar.ArtifactRegistryClient(credentials=credentials)
        with pytest.raises(exceptions.Unauthenticated, match="Expected OAuth 2 access token"):
            client.list_repositories(parent=parent)
    with google_.session() as plain:
        answer = plain.get(f"https://artifactregistry.googleapis.com/v1/{parent}/repositories", timeout=30)
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_uploaded_files_are_seen_with_owner_size_and_hash(
    google_: Running, client: ar.ArtifactRegistryClient, parent: str, project: str
) -> None:
    repository = create(client, parent).name
    session = google_.session(CALLER)
    status, text, content = upload(session, project, "Acme_Utils", "1.0")
    assert (status, text) == (200, "")
    assert upload(session, project, "Acme_Utils", "1.1")[0] == 200
    version = f"{repository}/packages/acme-utils/versions/1.0"
    files = list(client.list_files(request={"parent": repository, "filter": f'owner="{version}"'}))
    assert [file.name for file in files] == [f"{repository}/files/acme-utils%2FAcme_Utils-1.0-py3-none-any.whl"]
    assert files[0].size_bytes == len(content)
    hashes = {entry.type_.name: entry.value for entry in files[0].hashes}
    assert hashes["SHA256"] == hashlib.sha256(content).digest()
    assert client.get_file(name=files[0].name) == files[0]
    assert [item.name.rpartition("/")[2] for item in client.list_packages(parent=repository)] == ["acme-utils"]
    versions = client.list_versions(parent=f"{repository}/packages/acme-utils")
    assert [item.name.rpartition("/")[2] for item in versions] == ["1.0", "1.1"]
    packages = list(client.list_python_packages(parent=repository))
    assert [item.version for item in packages] == ["1.0", "1.1"]
    assert client.get_python_package(name=packages[0].name).package_name == "acme-utils"
    client.delete_version(request={"name": version, "force": True}).result(timeout=20)
    assert len(list(client.list_files(parent=repository))) == 1
    session.close()


def test_a_file_is_downloaded_in_ranges(google_: Running, parent: str, project: str) -> None:
    client = ar.ArtifactRegistryClient(credentials=Credentials(google_.token(CALLER)))
    repository = create(client, parent).name
    session = google_.session(CALLER)
    content = upload(session, project, "acme", "1.0")[2]
    url = f"https://artifactregistry.googleapis.com/v1/{repository}/files/acme%252Facme-1.0-py3-none-any.whl:download"
    part = session.get(url, params={"alt": "media"}, headers={"range": "bytes=3-9"}, timeout=30)
    assert (part.status_code, part.content) == (206, content[3:10])
    assert part.headers["content-range"] == f"bytes 3-9/{len(content)}"
    assert session.get(url, params={"alt": "media"}, timeout=30).content == content
    session.close()


def test_what_is_not_played_says_so_by_name(google_: Running, client: ar.ArtifactRegistryClient, parent: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=r"does not play .*ArtifactRegistry\.ListRules") as caught:
        list(client.list_rules(parent=f"{parent}/repositories/python"))
    assert caught.value.code == 501


def test_unknown_fields_and_malformed_bodies_are_refused(google_: Running, parent: str) -> None:
    session, url = google_.session(CALLER), f"https://artifactregistry.googleapis.com/v1/{parent}/repositories"
    for kind in ({"params": {"colour": "red"}}, {"json": {"colour": "red"}}, {"data": "{"}, {"json": [1]}):
        answer = session.post(url, timeout=30, **kind)
        assert answer.status_code == 400, answer.text
        assert "Invalid JSON payload received" in answer.json()["error"]["message"]
    session.close()


def test_locations_are_listed_and_a_made_up_one_is_refused(google_: Running, project: str) -> None:
    session = google_.session(CALLER)
    listed = session.get(f"https://artifactregistry.googleapis.com/v1beta2/projects/{project}/locations", timeout=30)
    assert LOCATION in [item["locationId"] for item in listed.json()["locations"]]
    url = f"https://artifactregistry.googleapis.com/v1/projects/{project}/locations/atlantis-1/repositories"
    answer = session.post(url, params={"repositoryId": "python"}, json={"format": "PYTHON"}, timeout=30)
    assert answer.status_code == 403
    assert "Location atlantis-1 is not found" in answer.text
    session.close()
