"""Tools that others wrote, as they are, with production URLs: twine, uv, pip, keyring, Google's clients."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import http.server
import json
import os
import shutil
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.cloud import artifactregistry_v1 as ar
from google.cloud import storage
from google.oauth2.credentials import Credentials
from packaging.version import Version

from tests.conftest import LOCATION, Running, serving, wheel

from .test_artifact_registry import CALLER
from .test_package_index import API, HOST, make

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    import requests

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
TELLS = Version(metadata.version("pip")) >= Version("26.2")
"""Whether pip says in a build that an index refuses its credentials."""


@pytest.fixture
def session(sandbox: Running) -> Iterator[requests.Session]:
    with sandbox.session(CALLER) as session:
        yield session


@pytest.fixture
def url(session: requests.Session, parent: str, project: str) -> str:
    """A standard repository's upload URL; `simple/` below it is its index."""
    make(session, parent, "python", {"format": "PYTHON"})
    return f"{HOST}/{project}/python/"


class Tools:
    """Runs a tool without caches and without this machine's own settings."""

    def __init__(self, sandbox: Running, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        (folder / "home").mkdir()
        # pip passes over a keyring command that lies beside its own.
        (folder / "bin").mkdir()
        (folder / "bin" / "keyring").write_text(f'#!/bin/sh\nexec {BIN / "keyring"} "$@"\n')
        (folder / "bin" / "keyring").chmod(0o755)
        empty = {name: "" for name in os.environ if name.startswith(("UV_", "PIP_", "TWINE_"))}
        self._settings = {
            **{name: value for name, value in empty.items() if name not in sandbox.env},
            "HOME": str(folder / "home"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_CACHE_DIR": "1",
            "NETRC": os.devnull,
            "UV_NO_CONFIG": "1",
            "UV_NO_CACHE": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "PYTHON_KEYRING_BACKEND": "keyrings.gauth.GooglePythonAuth",
            "PATH": os.pathsep.join([str(folder / "bin"), str(BIN), os.environ["PATH"]]),
            "COLUMNS": "400",
        }
        self.site = folder / "site"

    def __call__(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return self.sandbox.run(*command, **{**self._settings, **extra})

    def wheel(self, name: str, version: str, **kind: str) -> str:
        filename, content = wheel(name, version, **kind)
        (self.folder / filename).write_bytes(content)
        return str(self.folder / filename)

    def twine(self, url: str, file: str, token: str) -> subprocess.CompletedProcess[str]:
        options = ("--non-interactive", "--disable-progress-bar", "--verbose", "--repository-url", url)
        credentials = {"TWINE_USERNAME": "oauth2accesstoken", "TWINE_PASSWORD": token}
        return self(str(BIN / "twine"), "upload", *options, file, **credentials)

    def pip(self, index: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        options = ("--no-deps", "--target", str(self.site), "--index-url", index)
        return self(sys.executable, "-m", "pip", "install", *options, *arguments, **extra)

    def uv_pip(self, verb: str, index: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        options = ("--default-index", index, "--python", sys.executable)
        return self(str(BIN / "uv"), "pip", verb, *options, *arguments, **extra)

    def uv_publish(self, url: str, file: str, token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = ("--trusted-publishing", "never", "--publish-url", url, "-u", "oauth2accesstoken", "-p", token)
        return self(str(BIN / "uv"), "publish", *options, *arguments, file)


@pytest.fixture
def tools(sandbox: Running, tmp_path: Path) -> Tools:
    return Tools(sandbox, tmp_path)


def output(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def with_user(index: str, user: str) -> str:
    return index.replace("https://", f"https://{user}@", 1)


def test_twine_uploads_once_and_is_told_of_a_duplicate_and_of_a_missing_role(
    sandbox: Running, tools: Tools, url: str, session: requests.Session, project: str
) -> None:
    file = tools.wheel("Acme-Utils", "1.0")
    done = tools.twine(url, file, sandbox.token(CALLER))
    assert done.returncode == 0, output(done)
    assert session.get(f"{url}simple/acme-utils/", timeout=30).status_code == 200
    again = tools.twine(url, file, sandbox.token(CALLER))
    assert again.returncode == 1
    assert "400 Bad Request" in output(again)
    assert "Requested entity already exists." in output(again)
    sandbox.setup(grants=[f"user:reader@example.com=roles/artifactregistry.reader@projects/{project}"])
    refused = tools.twine(url, tools.wheel("acme-utils", "1.1"), sandbox.token("reader@example.com"))
    assert refused.returncode == 1
    assert "403 Forbidden" in output(refused)
    assert "artifactregistry.repositories.uploadArtifacts" in output(refused)


def test_uv_publishes_once_and_skips_what_the_check_url_shows(sandbox: Running, tools: Tools, url: str) -> None:
    file, token = tools.wheel("acme_utils", "1.0"), sandbox.token(CALLER)
    done = tools.uv_publish(url, file, token)
    assert done.returncode == 0, output(done)
    again = tools.uv_publish(url, file, token)
    assert again.returncode == 2
    assert "Requested entity already exists." in output(again)
    check = with_user(f"{url}simple/", f"oauth2accesstoken:{token}")
    skipped = tools.uv_publish(url, file, token, "--check-url", check)
    assert (skipped.returncode, "already exists, skipping" in output(skipped)) == (0, True), output(skipped)
    other = tools.uv_publish(url, tools.wheel("acme_utils", "1.0", module="other = True"), token, "--check-url", check)
    assert other.returncode == 2
    assert "Local file and index file do not match" in output(other)


@pytest.fixture
def served(sandbox: Running, session: requests.Session, url: str) -> str:
    """The index of a repository that holds acme-tool 1.0 and 2.0."""
    for version in ("1.0", "2.0"):
        filename, content = wheel("acme-tool", version)
        fields = {":action": "file_upload", "name": "acme-tool", "version": version}
        answer = session.post(url, data=fields, files={"content": (filename, content)}, timeout=30)
        assert answer.status_code == 200, answer.text
    return f"{url}simple/"


def key_of(session: requests.Session, sandbox: Running, project: str) -> str:
    """A reader's key, as `_json_key_base64` wants it."""
    email = f"puller@{project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[email], grants=[f"serviceAccount:{email}=roles/artifactregistry.reader@projects/{project}"])
    made = session.post(f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{email}/keys", json={}, timeout=30)
    key = json.loads(base64.b64decode(made.json()["privateKeyData"]))
    assert key["client_email"] == email
    return str(made.json()["privateKeyData"])


def test_pip_installs_with_a_token_or_a_key_in_the_url(
    sandbox: Running, tools: Tools, served: str, session: requests.Session, project: str
) -> None:
    for user in (f"oauth2accesstoken:{sandbox.token(CALLER)}", f"_json_key_base64:{key_of(session, sandbox, project)}"):
        shutil.rmtree(tools.site, ignore_errors=True)
        done = tools.pip(with_user(served, user), "--no-input", "acme-tool")
        assert done.returncode == 0, output(done)
        assert (tools.site / "acme_tool-2.0.dist-info").is_dir()
    wrong = tools.pip(with_user(served, "oauth2accesstoken:made-up"), "--no-input", "acme-tool")
    assert wrong.returncode != 0
    assert ("401 Error, Credentials not correct for" in output(wrong)) is TELLS
    stranger = f"oauth2accesstoken:{sandbox.token('stranger@example.com')}"
    refused = tools.pip(with_user(served, stranger), "--no-input", "acme-tool")
    # pip says the same for "no access" and for "not there".
    assert "(from versions: none)" in output(refused)
    assert "403 Client Error" not in output(refused)
    assert "denied" not in output(refused)


@pytest.mark.parametrize(
    ("provider", "user"), [("import", ""), ("import", "oauth2accesstoken"), ("subprocess", "oauth2accesstoken")]
)
def test_pip_asks_the_keyring_which_asks_the_metadata_server(
    tools: Tools, served: str, provider: str, user: str
) -> None:
    index = with_user(served, user) if user else served
    done = tools.pip(index, "--no-input", "--keyring-provider", provider, "acme-tool==1.0")
    assert done.returncode == 0, output(done)
    assert (tools.site / "acme_tool-1.0.dist-info").is_dir()


def test_uv_installs_and_resolves_with_credentials_in_the_url(sandbox: Running, tools: Tools, served: str) -> None:
    index = with_user(served, f"oauth2accesstoken:{sandbox.token(CALLER)}")
    done = tools.uv_pip("install", index, "--target", str(tools.site), "acme-tool>=1")
    assert done.returncode == 0, output(done)
    assert (tools.site / "acme_tool-2.0.dist-info").is_dir()
    requirements = tools.folder / "requirements.in"
    requirements.write_text("acme-tool<2\n")
    done = tools.uv_pip("compile", index, "--generate-hashes", str(requirements))
    assert done.returncode == 0, output(done)
    assert "acme-tool==1.0" in done.stdout
    assert f"sha256:{hashlib.sha256(wheel('acme-tool', '1.0')[1]).hexdigest()}" in done.stdout
    stranger = with_user(served, f"oauth2accesstoken:{sandbox.token('stranger@example.com')}")
    refused = tools.uv_pip("compile", stranger, str(requirements))
    assert refused.returncode != 0
    assert "403 Forbidden" in " ".join(output(refused).split()), "an older uv breaks lines"


def test_uv_asks_the_keyring_for_the_user_in_the_url(tools: Tools, served: str) -> None:
    index = with_user(served, "oauth2accesstoken")
    done = tools.uv_pip("install", index, "--keyring-provider", "subprocess", "--target", str(tools.site), "acme-tool")
    assert done.returncode == 0, output(done)
    assert (tools.site / "acme_tool-2.0.dist-info").is_dir()


@pytest.fixture
def folder_index(tmp_path: Path) -> Iterator[str]:
    """A folder as an index: acme-tool 1.0 (other bytes than ours) and 3.0, served by Python's own file server."""
    root = tmp_path / "index"
    pages = root / "simple" / "acme-tool"
    pages.mkdir(parents=True)
    links = []
    for version in ("1.0", "3.0"):
        filename, content = wheel("acme-tool", version, module="upstream = True\n")
        (pages / filename).write_bytes(content)
        links.append(f'<a href="{filename}#sha256={hashlib.sha256(content).hexdigest()}">{filename}</a>')
    (pages / "index.html").write_text("\n".join(links))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_installers_see_the_union_of_a_virtual_repository_and_priority_per_version(
    sandbox: Running, tools: Tools, served: str, session: requests.Session, parent: str, project: str, folder_index: str
) -> None:
    """An exact pin gets the private file; without one the highest version wins, whoever serves it."""
    remote = {"pythonRepository": {"customRepository": {"uri": folder_index}}}
    make(session, parent, "up", {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote})
    policies = [
        {"id": "private", "repository": f"{parent}/repositories/python", "priority": 100},
        {"id": "public", "repository": f"{parent}/repositories/up", "priority": 10},
    ]
    virtual = {"format": "PYTHON", "mode": "VIRTUAL_REPOSITORY"}
    make(session, parent, "all", {**virtual, "virtualRepositoryConfig": {"upstreamPolicies": policies}})
    index = with_user(f"{HOST}/{project}/all/simple/", f"oauth2accesstoken:{sandbox.token(CALLER)}")
    for requirement, version, upstream in (
        ("acme-tool==1.0", "1.0", False),
        ("acme-tool==2.0", "2.0", False),
        ("acme-tool", "3.0", True),
    ):
        for install in (
            functools.partial(tools.pip, index, "--no-input"),
            functools.partial(tools.uv_pip, "install", index, "--target", str(tools.site)),
        ):
            shutil.rmtree(tools.site, ignore_errors=True)
            done = install(requirement)
            assert done.returncode == 0, output(done)
            assert (tools.site / f"acme_tool-{version}.dist-info").is_dir()
            assert ("upstream" in (tools.site / "acme_tool" / "__init__.py").read_text()) is upstream


def test_a_folder_stands_in_for_the_public_index(tmp_path: Path, folder_index: str) -> None:
    parent = f"projects/sandbox-tests/locations/{LOCATION}"
    remote = {"pythonRepository": {"publicRepository": "PYPI"}}
    options = ("--project", "sandbox-tests", "--public-index", str(tmp_path / "index"))
    with serving(tmp_path, *options) as own, own.session(CALLER) as calls:
        make(calls, parent, "up", {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote})
        index = with_user(f"{HOST}/sandbox-tests/up/simple/", f"oauth2accesstoken:{own.token(CALLER)}")
        tools = Tools(own, tmp_path)
        done = tools.pip(index, "--no-input", "acme-tool")
        assert done.returncode == 0, output(done)
        assert (tools.site / "acme_tool-3.0.dist-info").is_dir()
        assert calls.get(f"{HOST}/sandbox-tests/up/simple/other/", timeout=30).status_code == 404


@pytest.mark.registry
def test_uv_installs_from_the_public_index_through_a_remote_repository(
    sandbox: Running, tools: Tools, session: requests.Session, parent: str, project: str
) -> None:
    remote = {"pythonRepository": {"publicRepository": "PYPI"}}
    make(session, parent, "pypi", {"format": "PYTHON", "mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": remote})
    index = with_user(f"{HOST}/{project}/pypi/simple/", f"oauth2accesstoken:{sandbox.token(CALLER)}")
    done = tools.uv_pip("install", index, "--target", str(tools.site), "packaging==24.0")
    assert done.returncode == 0, output(done)
    assert (tools.site / "packaging-24.0.dist-info").is_dir()


# Google's clients, with nothing but the environment: default credentials, default endpoints.


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_googles_registry_client_works_with_default_credentials(
    google_: Running, served: str, parent: str, transport: str
) -> None:
    client = ar.ArtifactRegistryClient(transport=transport)
    repository = f"{parent}/repositories/python"
    owner = f"{repository}/packages/acme-tool/versions/1.0"
    files = list(client.list_files(request={"parent": repository, "filter": f'owner="{owner}"'}))
    assert [file.name.rpartition("%2F")[2] for file in files] == [wheel("acme-tool", "1.0")[0]]
    found = client.list_repositories(request={"parent": parent, "filter": f'name="{parent}/repositories/PY*"'})
    assert [item.name for item in found] == [repository]


def test_googles_asynchronous_registry_client_works(google_: Running, served: str, parent: str) -> None:
    async def versions() -> list[str]:
        client = ar.ArtifactRegistryAsyncClient(credentials=Credentials(google_.token(CALLER)))
        package = f"{parent}/repositories/python/packages/acme-tool"
        pager = await client.list_versions(parent=package)
        found = [item.name.rpartition("/")[2] async for item in pager]
        operation = await client.delete_version(name=f"{package}/versions/1.0")
        await operation.result(timeout=20)
        found += [item.name.rpartition("/")[2] async for item in await client.list_versions(parent=package)]
        await client.transport.close()
        return found

    assert asyncio.run(versions()) == ["1.0", "2.0", "2.0"]


def test_googles_storage_client_works_with_default_credentials(google_: Running, project: str) -> None:
    google_.setup(buckets=[f"{project}/default-{project}"])
    client = storage.Client(project=project)
    blob = client.bucket(f"default-{project}").blob("dags/a.py", chunk_size=256 << 10)
    content = os.urandom(700_000)
    blob.upload_from_string(content)
    assert blob.download_as_bytes() == content
    assert [item.name for item in client.list_blobs(f"default-{project}", match_glob=None)] == ["dags/a.py"]
    client.close()


def test_the_registry_says_what_the_index_serves(served: str, session: requests.Session, parent: str) -> None:
    listed = session.get(f"{API}/{parent}/repositories/python/files", timeout=30).json()["files"]
    page = session.get(f"{served}acme-tool/", timeout=30).text
    hashes = [base64.b64decode(file["hashes"][0]["value"]).hex() for file in listed]
    assert len(hashes) == 2
    assert all(f"#sha256={value}" in page for value in hashes)
