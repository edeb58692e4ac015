"""Nothing that a client sends is trusted, and everything that a client was told survives a restart."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import ssl
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import LOCATION, Running, serving, wheel

from .test_artifact_registry import CALLER, upload
from .test_package_index import API, HOST, make
from .test_storage import JSON, UPLOAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests


@pytest.fixture
def session(sandbox: Running) -> Iterator[requests.Session]:
    with sandbox.session(CALLER) as session:
        yield session
    assert sandbox.get("/healthz")["bugs"] == []


NAMES = [
    "../../acme-1.0-py3-none-any.whl",
    "..\\acme-1.0-py3-none-any.whl",
    "/tmp/acme-1.0-py3-none-any.whl",
    "acme-1.0/../x-py3-none-any.whl",
    "acme-1.0-py3-none-../../any.whl",
    "acme-1.0-py3-none-any.whl/..",
    "%2e%2e%2facme-1.0-py3-none-any.whl",
    "acme-1.0-py3-none-any\n.whl",
    "..",
    "a" * 5000 + "-1.0.tar.gz",
]


@pytest.mark.parametrize("filename", NAMES)
def test_a_file_name_that_leaves_its_folder_is_refused(
    session: requests.Session, parent: str, project: str, filename: str
) -> None:
    make(session, parent, "python", {"format": "PYTHON"})
    content = wheel("acme", "1.0")[1]
    boundary = "--x\r\n"
    body = "".join(
        f'{boundary}Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in ((":action", "file_upload"), ("name", "acme"), ("version", "1.0"))
    )
    body += f'{boundary}Content-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    data = body.encode() + content + b"\r\n--x--\r\n"
    answer = session.post(f"{HOST}/{project}/python/", data=data, headers=headers, timeout=30)
    assert answer.status_code == 400, answer.text
    listed = session.get(f"{API}/{parent}/repositories/python/files", timeout=30).json()
    assert listed.get("files", []) == []


@pytest.mark.parametrize("package", ["..%2F..%2Fsecret", "acme%2F..", "acme%3Fx=1", "%00", "acme%23"])
def test_a_package_name_never_becomes_part_of_another_url(
    session: requests.Session, parent: str, project: str, package: str
) -> None:
    remote = {"pythonRepository": {"customRepository": {"uri": "http://127.0.0.1:9/"}}}
    make(session, parent, "remote", {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote})
    # The upstream does not listen: a request that reached it would be 502.
    assert session.get(f"{HOST}/{project}/remote/simple/{package}/", timeout=30).status_code == 404
    assert session.get(f"{HOST}/{project}/remote/simple/acme/", timeout=30).status_code == 502


@pytest.mark.parametrize(
    "uri", ["https://192.0.2.1/", "http://metadata.example.com/", "file:///etc/", "ftp://127.0.0.1/"]
)
def test_an_upstream_that_is_not_allowed_is_not_asked(
    session: requests.Session, parent: str, project: str, uri: str
) -> None:
    remote = {"pythonRepository": {"customRepository": {"uri": uri}}}
    make(session, parent, "remote", {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote})
    answer = session.get(f"{HOST}/{project}/remote/simple/acme/", timeout=30)
    assert answer.status_code == 502
    message = "reads no ftp upstream" if uri.startswith("ftp") else "does not let requests out"
    assert message in answer.text


def test_an_upstream_cannot_send_the_sandbox_elsewhere(session: requests.Session, parent: str, project: str) -> None:
    """A redirect, and a link to another host, both to a host that is not allowed."""
    with one_answer(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n") as port:
        remote = {"pythonRepository": {"customRepository": {"uri": f"http://127.0.0.1:{port}/"}}}
        value = {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote}
        make(session, parent, "remote", value)
        answer = session.get(f"{HOST}/{project}/remote/simple/acme/", timeout=30)
    assert (answer.status_code, "192.0.2.1" in answer.text) == (502, True)


@contextlib.contextmanager
def one_answer(answer: bytes) -> Iterator[int]:
    """A server on loopback that gives one client one answer."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


OBJECTS = [
    "../../../etc/passwd",
    "/etc/passwd",
    "dags/../../x.py",
    "a//b",
    "..%2f..",
    "é\u202e.py",
    "dags/" + "n" * 900,
]


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_may_have_any_name_and_it_is_only_a_name(
    session: requests.Session, sandbox: Running, project: str, name: str
) -> None:
    bucket = f"names-{project}"
    sandbox.setup(buckets=[f"{project}/{bucket}"])
    from urllib.parse import quote

    put = session.post(
        f"{UPLOAD}/b/{bucket}/o", params={"uploadType": "media", "name": name}, data=b"harmless", timeout=30
    )
    assert put.status_code == 200, put.text
    found = session.get(f"{JSON}/b/{bucket}/o/{quote(name, safe='')}", timeout=30).json()
    assert found["name"] == name
    assert session.get(found["mediaLink"], timeout=30).content == b"harmless"


BAD_OBJECTS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "Invalid object name"),
    ({"name": "a\nb"}, "Invalid object name"),
    ({"name": "a\0b"}, "Invalid object name"),
    ({"name": ".."}, "Invalid object name"),
    ({"name": "n" * 1025}, "Invalid object name"),
    ({"name": "x", "contentType": "a\r\nSet-Cookie: b"}, "Invalid value for contentType"),
    ({"name": "x", "contentType": 5}, "Invalid value for contentType"),
    ({"name": "x", "metadata": {"a": {"b": "c"}}}, "Invalid value for metadata"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_OBJECTS)
def test_bad_metadata_is_refused_and_nothing_is_written(
    session: requests.Session, sandbox: Running, project: str, settings: dict[str, Any], message: str
) -> None:
    bucket = f"metadata-{project}"
    sandbox.setup(buckets=[f"{project}/{bucket}"])
    body = f"--b\r\n\r\n{json.dumps(settings)}\r\n--b\r\n\r\nhello\r\n--b--"
    headers = {"content-type": "multipart/related; boundary=b"}
    answer = session.post(f"{UPLOAD}/b/{bucket}/o?uploadType=multipart", data=body, headers=headers, timeout=30)
    assert (answer.status_code, message in answer.text) == (400, True), answer.text
    assert "items" not in session.get(f"{JSON}/b/{bucket}/o", timeout=30).json()


@pytest.mark.parametrize(
    "query", ["maxResults=x", "maxResults=-1", "maxResults=" + "9" * 5000, "pageToken=%F0", "ifGenerationMatch=%C2%B2"]
)
def test_numbers_that_are_none_are_refused(
    session: requests.Session, sandbox: Running, project: str, query: str
) -> None:
    bucket = f"numbers-{project}"
    sandbox.setup(buckets=[f"{project}/{bucket}"])
    where = f"{JSON}/b/{bucket}/o" if "Match" not in query else f"{UPLOAD}/b/{bucket}/o"
    answer = session.request("POST" if "Match" in query else "GET", f"{where}?{query}&name=x", timeout=30)
    assert answer.status_code == 400, answer.text


def raw(sandbox: Running, host: str, head: str) -> ssl.SSLSocket:
    """A TLS connection to a host of the sandbox, with the head of a request sent and no body."""
    plain = socket.create_connection(("127.0.0.1", sandbox.port), timeout=20)
    plain.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
    assert plain.recv(4096).startswith(b"HTTP/1.1 200")
    context = ssl.create_default_context(cafile=sandbox.env["REQUESTS_CA_BUNDLE"])
    secure = context.wrap_socket(plain, server_hostname=host)
    secure.sendall(f"{head}\r\nHost: {host}\r\nAuthorization: Bearer {sandbox.token(CALLER)}\r\n".encode())
    return secure


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(sandbox: Running, parent: str) -> None:
    with raw(
        sandbox, "artifactregistry.googleapis.com", f"POST /v1/{parent}/repositories?repositoryId=x HTTP/1.1"
    ) as client:
        client.sendall(b"Content-Length: 999999999999\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_an_upload_that_ends_early_leaves_nothing(
    session: requests.Session, tmp_path: Path, project: str, sandbox: Running
) -> None:
    """A huge Content-Length reserves nothing; when the client goes, what came is gone too."""
    data = tmp_path / "data"
    with serving(tmp_path, "--project", "sandbox-tests", "--data-dir", str(data)) as own:
        own.setup(buckets=["sandbox-tests/early"])
        with own.session(CALLER) as calls:
            make(calls, f"projects/sandbox-tests/locations/{LOCATION}", "python", {"format": "PYTHON"})
        form = "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 999999999999\r\n\r\n--x\r\n"
        form += 'Content-Disposition: form-data; name="content"; filename="a-1.tar.gz"\r\n\r\nabc'
        for host, path, rest in (
            ("storage.googleapis.com", "/upload/storage/v1/b/early/o?uploadType=media&name=x", "\r\nabc"),
            (f"{LOCATION}-python.pkg.dev", "/sandbox-tests/python/", form),
        ):
            length = "" if host.endswith("pkg.dev") else "Content-Length: 999999999999\r\n"
            with raw(own, host, f"POST {path} HTTP/1.1") as client:
                client.sendall(f"{length}{rest}".encode())
        with own.session(CALLER) as calls:
            assert "items" not in calls.get(f"{JSON}/b/early/o", timeout=30).json()
        assert own.get("/healthz")["bugs"] == []
    assert [file for file in data.rglob("blobs/*") if file.is_file()] == []


def test_a_wheel_is_never_unpacked_by_the_index(tmp_path: Path) -> None:
    """Entries that would leave the folder, a symbolic link, and bytes that are no zip: stored as they came."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("../../../escaped.py"), "x = 1\n")
        link = zipfile.ZipInfo("acme/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    data = tmp_path / "data"
    contents = {"1.0": buffer.getvalue(), "2.0": b"no zip at all"}
    with serving(tmp_path, "--project", "sandbox-tests", "--data-dir", str(data)) as own, own.session(CALLER) as calls:
        make(calls, f"projects/sandbox-tests/locations/{LOCATION}", "python", {"format": "PYTHON"})
        for version, content in contents.items():
            fields = {":action": "file_upload", "name": "acme", "version": version}
            files = {"content": (f"acme-{version}-py3-none-any.whl", content)}
            url = f"{HOST}/sandbox-tests/python/"
            assert calls.post(url, data=fields, files=files, timeout=30).status_code == 200
    blobs = [file for file in (data / "artifact_registry" / "blobs").iterdir() if file.is_file()]
    assert sorted(file.read_bytes() for file in blobs) == sorted(contents.values())
    assert all(re.fullmatch("[0-9a-f]{32}", file.name) for file in blobs)
    assert not list(tmp_path.rglob("escaped.py"))


def fill(own: Running, calls: requests.Session) -> dict[str, Any]:
    """Something in every service; what asks for it again."""
    project, parent = "sandbox-tests", f"projects/sandbox-tests/locations/{LOCATION}"
    make(calls, parent, "python", {"format": "PYTHON"})
    assert upload(calls, project, "acme", "1.0")[0] == 200
    email = f"keeper@{project}.iam.gserviceaccount.com"
    own.setup(buckets=[f"{project}/kept"], accounts=[email])
    calls.patch(f"{JSON}/b/kept", json={"versioning": {"enabled": True}}, timeout=30)
    for text in (b"old", b"new"):
        calls.post(f"{UPLOAD}/b/kept/o?uploadType=media&name=x", data=text, timeout=30)
    secrets = f"https://secretmanager.googleapis.com/v1/projects/{project}/secrets"
    calls.post(secrets, params={"secretId": "password"}, json={"replication": {"automatic": {}}}, timeout=30)
    calls.post(f"{secrets}/password:addVersion", json={"payload": {"data": "c2VjcmV0"}}, timeout=30)
    entry = {"logName": f"projects/{project}/logs/kept", "textPayload": "kept"}
    calls.post("https://logging.googleapis.com/v2/entries:write", json={"entries": [entry]}, timeout=30)
    accounts = f"https://iam.googleapis.com/v1/projects/{project}/serviceAccounts"
    key = calls.post(f"{accounts}/{email}/keys", json={}, timeout=30).json()
    policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": [f"serviceAccount:{email}"]}]}
    repository = f"{API}/{parent}/repositories/python"
    calls.post(f"{repository}:setIamPolicy", json={"policy": policy}, timeout=30)
    return {
        "files": f"{repository}/files",
        "policy": f"{repository}:getIamPolicy",
        "versions": f"{JSON}/b/kept/o?versions=true",
        "secret": f"{secrets}/password/versions/latest:access",
        "logs": f"https://logging.googleapis.com/v2/projects/{project}/logs",
        "keys": f"{accounts}/{email}/keys",
        "project": f"https://cloudresourcemanager.googleapis.com/v3/projects/{project}",
        "key": key["privateKeyData"],
    }


@pytest.mark.slow
def test_the_state_of_every_service_survives_a_restart(tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path / "data"), "--project", "sandbox-tests")
    with serving(tmp_path, *options) as first, first.session(CALLER) as calls:
        asked = fill(first, calls)
        key = asked.pop("key")
        before = {name: calls.get(url, timeout=30).json() for name, url in asked.items()}
        token = first.token(CALLER)
    assert before["secret"]["payload"]["data"] == "c2VjcmV0"
    assert len(before["versions"]["items"]) == 2
    assert len(before["keys"]["keys"]) == 1
    assert before["logs"]["logNames"] == ["projects/sandbox-tests/logs/kept"]
    with serving(tmp_path, *options) as second, second.session(CALLER) as calls:
        assert {name: calls.get(url, timeout=30).json() for name, url in asked.items()} == before
        old = before["versions"]["items"][0]
        assert calls.get(old["mediaLink"], timeout=30).content == b"old"
        with second.session() as plain:
            index = f"{HOST}/sandbox-tests/python/simple/acme/"
            # A key is for ever; an access token ends with the sandbox.
            assert plain.get(index, auth=("_json_key_base64", key), timeout=30).status_code == 200
            assert plain.get(index, auth=("oauth2accesstoken", token), timeout=30).status_code == 401


@pytest.mark.slow
def test_the_data_folder_is_for_its_owner_and_holds_no_private_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(tmp_path, "--data-dir", str(data), "--project", "sandbox-tests") as own, own.session(CALLER) as calls:
        fill(own, calls)
        ca = Path(own.env["REQUESTS_CA_BUNDLE"])
        assert b"PRIVATE KEY" not in ca.read_bytes()
        private = [file for file in ca.parent.rglob("*") if file.is_file() and b"PRIVATE KEY" in file.read_bytes()]
        assert all(stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 for file in private)
        assert stat.S_IMODE(ca.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        held = [file for file in data.rglob("*") if file.is_file()]
        assert len(held) > 5
        assert not [file for file in held if b"PRIVATE KEY" in file.read_bytes()]
    assert not ca.exists()


@pytest.mark.slow
def test_sandboxes_side_by_side_share_no_token_no_secret_and_no_bucket(sandbox: Running, tmp_path: Path) -> None:
    with serving(tmp_path, "--project", "sandbox-tests") as other:
        token = sandbox.token(CALLER)
        with other.session() as calls:
            calls.headers["authorization"] = f"Bearer {token}"
            assert calls.get(f"{JSON}/b?project=sandbox-tests", timeout=30).status_code == 401
        with other.session(CALLER) as calls, sandbox.session(CALLER) as own:
            sandbox.setup(buckets=["sandbox-tests/mine-alone"])
            assert calls.get(f"{JSON}/b/mine-alone", timeout=30).status_code == 404
            assert own.get(f"{JSON}/b/mine-alone", timeout=30).status_code == 200
        # Each has an authority of its own: a client of one does not believe the other.
        assert Path(other.env["SSL_CERT_FILE"]).read_bytes() != Path(sandbox.env["SSL_CERT_FILE"]).read_bytes()
