"""`LOCATION-python.pkg.dev` as pip, twine and plain HTTP see it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import LOCATION, Running, wheel

from .test_artifact_registry import CALLER, upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

API = "https://artifactregistry.googleapis.com/v1"
HOST = f"https://{LOCATION}-python.pkg.dev"


@pytest.fixture
def session(sandbox: Running) -> Iterator[requests.Session]:
    with sandbox.session(CALLER) as session:
        yield session


@pytest.fixture
def repository(session: requests.Session, parent: str) -> str:
    make(session, parent, "python", {"format": "PYTHON"})
    return f"{parent}/repositories/python"


def make(session: requests.Session, parent: str, name: str, value: dict[str, Any]) -> None:
    answer = session.post(f"{API}/{parent}/repositories", params={"repositoryId": name}, json=value, timeout=30)
    assert answer.status_code == 200, answer.text


def test_a_file_name_is_taken_once(session: requests.Session, project: str, repository: str) -> None:
    assert upload(session, project, "acme", "1.0")[0] == 200
    assert upload(session, project, "acme", "1.0")[:2] == (400, "Requested entity already exists.")


BAD = [
    ({"name": "other"}, "does not match the file"),
    ({"version": "2.0"}, "does not match the file"),
    ({"sha256_digest": "0" * 64}, "The file's SHA-256 is"),
    ({":action": "delete"}, "':action' must be 'file_upload'"),
    ({"filename": "acme.exe"}, "Invalid file name"),
    ({"filename": "acme-1.0.whl"}, "Invalid file name"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_upload_is_refused_and_changes_nothing(
    session: requests.Session, project: str, repository: str, change: dict[str, str], message: str
) -> None:
    filename, content = wheel("acme", "1.0")
    fields = {":action": "file_upload", "name": "acme", "version": "1.0"}
    fields |= {"sha256_digest": hashlib.sha256(content).hexdigest(), **change}
    filename = fields.pop("filename", filename)
    answer = session.post(f"{HOST}/{project}/python/", data=fields, files={"content": (filename, content)}, timeout=30)
    assert answer.status_code == 400
    assert message in answer.text
    assert session.get(f"{HOST}/{project}/python/simple/acme/", timeout=30).status_code == 404


def test_the_index_is_html_with_hashes_and_downloads_are_redirected(
    session: requests.Session, project: str, repository: str
) -> None:
    content = upload(session, project, "Acme_Utils", "1.0")[2]
    page = session.get(f"{HOST}/{project}/python/simple/acme-utils/", timeout=30)
    assert page.headers["content-type"].startswith("text/html")
    link = page.text.partition('href="')[2].partition('"')[0]
    path, _, fragment = link.partition("#")
    assert fragment == f"sha256={hashlib.sha256(content).hexdigest()}"
    redirect = session.get(HOST + path, allow_redirects=False, timeout=30)
    assert redirect.status_code == 302
    assert redirect.headers["location"].startswith("/artifacts-downloads/")
    assert session.get(HOST + path, timeout=30).content == content
    assert session.get(HOST + path, headers={"range": "bytes=0-3"}, timeout=30).content == content[:4]


def test_the_root_of_the_index_and_unknown_packages_are_not_found(
    session: requests.Session, project: str, repository: str
) -> None:
    for path in ("simple/", "simple/nothing/", "simple/nothing"):
        assert session.get(f"{HOST}/{project}/python/{path}", timeout=30).status_code == 404


def test_every_form_of_credentials_is_read_and_checked(
    sandbox: Running, session: requests.Session, project: str, repository: str
) -> None:
    upload(session, project, "acme", "1.0")
    url, email = f"{HOST}/{project}/python/simple/acme/", f"pusher@{project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[email], grants=[f"serviceAccount:{email}=roles/artifactregistry.reader@projects/{project}"])
    made = session.post(f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{email}/keys", json={}, timeout=30)
    key = made.json()["privateKeyData"]
    token = sandbox.token(email)
    with sandbox.session() as plain:
        for auth, status in (
            (None, 401),
            (("oauth2accesstoken", ""), 401),
            (("oauth2accesstoken", "made-up"), 401),
            (("oauth2accesstoken", token), 200),
            (("somebody", token), 401),
            (("_json_key_base64", key), 200),
            (("_json_key_base64", key[:200]), 401),
            (("oauth2accesstoken", sandbox.token("stranger@example.com")), 403),
        ):
            answer = plain.get(url, auth=auth, timeout=30)
            assert answer.status_code == status, (auth, answer.text)
        assert plain.get(url, headers={"authorization": f"Bearer {token}"}, timeout=30).status_code == 200
        # A key file in another byte order is the same key; a disabled one is none.
        same = base64.b64encode(base64.b64decode(key).replace(b"\n  ", b" ")).decode()
        assert plain.get(url, auth=("_json_key_base64", same), timeout=30).status_code == 200
        name = made.json()["name"]
        session.post(f"https://iam.googleapis.com/v1/{name}:disable", json={}, timeout=30)
        assert plain.get(url, auth=("_json_key_base64", key), timeout=30).status_code == 401


def test_a_virtual_repository_shows_the_union_and_priority_decides_per_version(
    session: requests.Session, parent: str, project: str, repository: str
) -> None:
    make(session, parent, "second", {"format": "PYTHON"})
    policies = [
        {"id": "first", "repository": repository, "priority": 100},
        {"id": "second", "repository": f"{parent}/repositories/second", "priority": 10},
    ]
    value = {
        "format": "PYTHON",
        "mode": "VIRTUAL_REPOSITORY",
        "virtualRepositoryConfig": {"upstreamPolicies": policies},
    }
    make(session, parent, "all", value)
    first = upload(session, project, "acme", "1.0")[2]
    for version in ("1.0", "2.0"):
        filename, content = wheel("acme", version, module="second = True\n")
        fields = {":action": "file_upload", "name": "acme", "version": version}
        files = {"content": (filename, content)}
        assert session.post(f"{HOST}/{project}/second/", data=fields, files=files, timeout=30).status_code == 200
    page = session.get(f"{HOST}/{project}/all/simple/acme/", timeout=30).text
    assert page.count("<a ") == 2
    assert hashlib.sha256(first).hexdigest() in page
    assert "acme-2.0" in page
    link = page.partition('href="')[2].partition("#")[0]
    assert session.get(HOST + link, timeout=30).content == first
    refused = session.post(f"{HOST}/{project}/all/", data=fields, files=files, timeout=30)
    assert refused.status_code == 400
    assert "VIRTUAL_REPOSITORY" in refused.text


@pytest.fixture
def upstream() -> Iterator[str]:
    """An index of somebody else: acme 3.0 and a file whose hash is a lie."""
    filename, content = wheel("acme", "3.0")
    liar = wheel("acme", "4.0")[0]
    pages = {
        "/simple/acme/": f'<a href="../../files/{filename}#sha256={hashlib.sha256(content).hexdigest()}">x</a>'
        f'<a href="../../files/{liar}#sha256={"0" * 64}">x</a><a href="../../files/acme.exe#sha256=00">x</a>',
        f"/files/{filename}": content,
        f"/files/{liar}": b"something else",
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.end_headers()
            self.wfile.write(page.encode() if isinstance(page, str) else page or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_remote_repository_serves_its_upstream_and_a_virtual_one_both(
    session: requests.Session, parent: str, project: str, repository: str, upstream: str
) -> None:
    remote = {"pythonRepository": {"customRepository": {"uri": upstream}}}
    make(session, parent, "remote", {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote})
    policies = [
        {"id": "own", "repository": repository, "priority": 100},
        {"id": "public", "repository": f"{parent}/repositories/remote", "priority": 1},
    ]
    value = {
        "format": "PYTHON",
        "mode": "VIRTUAL_REPOSITORY",
        "virtualRepositoryConfig": {"upstreamPolicies": policies},
    }
    make(session, parent, "all", value)
    upload(session, project, "acme", "1.0")
    for name, versions in (("remote", ["3.0", "4.0"]), ("all", ["1.0", "3.0", "4.0"])):
        page = session.get(f"{HOST}/{project}/{name}/simple/acme/", timeout=30).text
        assert [version for version in ("1.0", "3.0", "4.0") if f">acme-{version}" in page] == versions
        links = [part.partition("#")[0] for part in page.split('href="')[1:]]
        good = next(link for link in links if "acme-3.0" in link)
        assert session.get(HOST + good, timeout=30).content == wheel("acme", "3.0")[1]
        bad = session.get(HOST + next(link for link in links if "acme-4.0" in link), timeout=30)
        assert (bad.status_code, "another SHA-256" in bad.text) == (502, True)
    assert session.get(f"{HOST}/{project}/remote/simple/other/", timeout=30).status_code == 404


@pytest.mark.slow
@pytest.mark.registry
def test_a_remote_repository_of_the_public_index_is_this_machines_index(
    sandbox: Running, session: requests.Session, parent: str, project: str, tmp_path: Path
) -> None:
    remote = {"pythonRepository": {"publicRepository": "PYPI"}}
    make(session, parent, "pypi", {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote})
    index = f"https://oauth2accesstoken:{sandbox.token(CALLER)}@{LOCATION}-python.pkg.dev/{project}/pypi/simple/"
    pip = [sys.executable, "-m", "pip", "download", "--no-cache-dir", "--no-deps", "--dest", str(tmp_path)]
    done = sandbox.run(*pip, "--index-url", index, "packaging==24.0", PIP_CONFIG_FILE="/dev/null")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pkg.dev" in done.stdout
    assert (tmp_path / "packaging-24.0-py3-none-any.whl").is_file()
