"""Secret Manager with Google's own client, over gRPC and over REST."""

from __future__ import annotations

import google_crc32c
import pytest
from google.api_core import exceptions
from google.cloud import secretmanager_v1 as sm
from google.oauth2.credentials import Credentials

from tests.conftest import Running

from .test_artifact_registry import CALLER

AUTOMATIC = {"replication": {"automatic": {}}}


@pytest.fixture(params=["grpc", "rest"])
def client(google_: Running, request: pytest.FixtureRequest) -> sm.SecretManagerServiceClient:
    return sm.SecretManagerServiceClient(credentials=Credentials(google_.token(CALLER)), transport=request.param)


@pytest.fixture
def secret(client: sm.SecretManagerServiceClient, project: str) -> str:
    client.create_secret(parent=f"projects/{project}", secret_id="upstream-password", secret=sm.Secret(AUTOMATIC))
    return f"projects/{project}/secrets/upstream-password"


def add(client: sm.SecretManagerServiceClient, secret: str, data: bytes) -> sm.SecretVersion:
    payload = sm.SecretPayload(data=data, data_crc32c=google_crc32c.value(data))
    return client.add_secret_version(parent=secret, payload=payload)


def test_the_newest_version_is_latest_and_names_hold_the_projects_number(
    client: sm.SecretManagerServiceClient, secret: str
) -> None:
    first, second = add(client, secret, b"one"), add(client, secret, b"\x00two")
    answer = client.access_secret_version(name=f"{secret}/versions/latest")
    assert answer.payload.data == b"\x00two"
    assert answer.payload.data_crc32c == google_crc32c.value(b"\x00two")
    assert answer.name == second.name
    assert first.name.split("/")[1].isdigit()
    assert client.access_secret_version(name=first.name).payload.data == b"one"
    assert [item.name for item in client.list_secret_versions(parent=secret)] == [second.name, first.name]


def test_a_version_that_is_disabled_or_destroyed_is_not_read(
    client: sm.SecretManagerServiceClient, secret: str
) -> None:
    name = add(client, secret, b"one").name
    client.disable_secret_version(name=name)
    with pytest.raises(exceptions.BadRequest, match="is in DISABLED state"):
        client.access_secret_version(name=f"{secret}/versions/1")
    client.enable_secret_version(name=name)
    assert client.access_secret_version(name=name).payload.data == b"one"
    assert client.destroy_secret_version(name=name).state == sm.SecretVersion.State.DESTROYED
    for call in (client.access_secret_version, client.enable_secret_version):
        with pytest.raises(exceptions.BadRequest, match="is in DESTROYED state"):
            call(name=name)


def test_what_is_not_there_and_what_is_there_twice(
    client: sm.SecretManagerServiceClient, secret: str, project: str
) -> None:
    with pytest.raises(exceptions.NotFound, match="not found or has no versions"):
        client.access_secret_version(name=f"{secret}/versions/latest")
    add(client, secret, b"one")
    with pytest.raises(exceptions.NotFound, match=r"versions/9\] not found"):
        client.access_secret_version(name=f"{secret}/versions/9")
    with pytest.raises(exceptions.Conflict, match="already exists"):
        client.create_secret(parent=f"projects/{project}", secret_id="upstream-password", secret=sm.Secret(AUTOMATIC))
    client.delete_secret(name=secret)
    assert list(client.list_secrets(parent=f"projects/{project}")) == []
    with pytest.raises(exceptions.NotFound, match=r"Secret \[.*\] not found"):
        client.get_secret(name=secret)


BAD = [
    ({"secret_id": "a/b"}, "is not valid"),
    ({"secret": sm.Secret()}, "replication must be given"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_secret_is_refused(
    client: sm.SecretManagerServiceClient, project: str, change: dict[str, object], message: str
) -> None:
    request = {"parent": f"projects/{project}", "secret_id": "password", "secret": sm.Secret(AUTOMATIC), **change}
    with pytest.raises((exceptions.BadRequest, exceptions.InvalidArgument), match=message):
        client.create_secret(request)


def test_a_payload_with_another_checksum_is_refused(client: sm.SecretManagerServiceClient, secret: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="data_crc32c"):
        client.add_secret_version(parent=secret, payload=sm.SecretPayload(data=b"x", data_crc32c=1))
    with pytest.raises(exceptions.BadRequest, match="larger than"):
        add(client, secret, b"x" * 65537)
    assert list(client.list_secret_versions(parent=secret)) == []


def test_reading_needs_the_accessor_role_and_an_editor_does_not_have_it(
    google_: Running, client: sm.SecretManagerServiceClient, secret: str, project: str
) -> None:
    add(client, secret, b"one")
    google_.setup(
        grants=[
            f"user:editor@example.com=roles/editor@projects/{project}",
            f"user:reader@example.com=roles/secretmanager.secretAccessor@{secret}",
        ]
    )
    editor = sm.SecretManagerServiceClient(credentials=Credentials(google_.token("editor@example.com")))
    reader = sm.SecretManagerServiceClient(credentials=Credentials(google_.token("reader@example.com")))
    name = f"{secret}/versions/latest"
    assert reader.access_secret_version(name=name).payload.data == b"one"
    assert editor.get_secret_version(name=name).state == sm.SecretVersion.State.ENABLED
    with pytest.raises(exceptions.PermissionDenied, match=r"'secretmanager\.versions\.access' denied for resource"):
        editor.access_secret_version(name=name)
    with pytest.raises(exceptions.PermissionDenied, match=r"secretmanager\.versions\.add"):
        add(reader, secret, b"two")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name:al", ["alpha"]),
        ("name=beta", ["beta"]),
        ("labels.team=DATA", ["alpha"]),
        ("labels.team:*", ["alpha", "beta"]),
        ("labels.team:* AND name:eta", ["beta"]),
        ("labels.other:*", []),
    ],
)
def test_secrets_are_filtered(client: sm.SecretManagerServiceClient, project: str, text: str, names: list[str]) -> None:
    parent = f"projects/{project}"
    for name, team in (("alpha", "data"), ("beta", "web")):
        secret = {"replication": {"automatic": {}}, "labels": {"team": team}}
        client.create_secret(parent=parent, secret_id=name, secret=secret)
    found = client.list_secrets(request={"parent": parent, "filter": text})
    assert sorted(item.name.rpartition("/")[2] for item in found) == names
    with pytest.raises(exceptions.GoogleAPICallError, match=r"does not play .* for the filter topics:x"):
        client.list_secrets(request={"parent": parent, "filter": "topics:x"})


def test_secrets_of_one_region_are_not_played(client: sm.SecretManagerServiceClient, project: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=r"does not play .* secrets of one region"):
        client.get_secret(name=f"projects/{project}/locations/europe-west1/secrets/x")
