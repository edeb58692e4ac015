"""One sandbox per session, in a process of its own; every test has projects of its own in it."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.auth.compute_engine import _metadata

from tests.airflows import (  # noqa: F401 -- pytest calls them
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_ignore_collect,
    pytest_report_header,
    pytest_terminal_summary,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCATION = "europe-west1"
_numbers = itertools.count(1)


@dataclass
class Running:
    """A sandbox that listens."""

    port: int
    env: dict[str, str]
    unset: list[str]
    pid: int
    own: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.own.trust_env = False

    def post(self, path: str, value: object) -> Any:
        answer = self.own.post(f"http://127.0.0.1:{self.port}{path}", json=value, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str) -> Any:
        return self.own.get(f"http://127.0.0.1:{self.port}{path}", timeout=30).json()

    def setup(self, **lists: list[str]) -> Any:
        return self.post("/sandbox/setup", lists)

    def token(self, account: str) -> str:
        return str(self.post("/sandbox/tokens", {"account": account})["access_token"])

    def fault(self, method: str, **kind: object) -> None:
        self.post("/sandbox/faults", {"method": method, **kind})

    def unused(self) -> list[Any]:
        return list(self.get("/sandbox/faults")["unused"])

    def calls(self, project: str, since: int = 0) -> list[dict[str, Any]]:
        """Those of a project, of all calls but the first `since`."""
        return [call for call in self.get(f"/sandbox/calls?since={since}")["calls"] if project in str(call["resource"])]

    def mark(self) -> int:
        """How many calls there were: `since` for those that follow."""
        return int(self.get("/sandbox/calls?since=1000000000")["count"])

    def session(self, account: str | None = None) -> requests.Session:
        """A plain HTTP client that finds the sandbox where Google is."""
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"https": self.env["HTTPS_PROXY"], "http": self.env["HTTP_PROXY"]}
        session.verify = self.env["REQUESTS_CA_BUNDLE"]
        if account:
            session.headers["authorization"] = f"Bearer {self.token(account)}"
        return session

    def child_env(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in self.unset}
        return {**kept, **self.env, **extra}

    def run(self, *command: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.child_env(**extra), capture_output=True, text=True, timeout=240, check=False
        )


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Running]:
    """A sandbox in its own process, ended by SIGTERM."""
    ready, log = folder / "ready.json", folder / "sandbox.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_gar_provider.sandbox", "serve", "--ready-file", str(ready), *options],
            stdout=output,
            stderr=output,
        )
        try:
            deadline = time.monotonic() + 60
            while not ready.exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            value = json.loads(ready.read_text())
            running = Running(value["port"], value["env"], value["unset"], process.pid)
            yield running
            running.own.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            ready.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(
        tmp_path_factory.mktemp("sandbox"), "--project", "sandbox-tests", "--allow-host", "127.0.0.1"
    ) as running:
        yield running
        health = running.get("/healthz")
        assert health["bugs"] == [], "the sandbox has a bug"


@pytest.fixture(scope="session")
def shipped_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own wheel, as it is shipped."""
    folder, root = tmp_path_factory.mktemp("shipped"), Path(__file__).parents[1]
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(root)]
    subprocess.run(command, check=True, capture_output=True)
    [path] = folder.glob("airflow_gar_provider-*.whl")
    return path


@pytest.fixture
def project(sandbox: Running) -> str:
    """A project that nobody else uses; the default caller owns it."""
    name = f"proj-{os.getpid()}-{next(_numbers)}"
    sandbox.setup(projects=[name])
    return name


@pytest.fixture
def parent(project: str) -> str:
    return f"projects/{project}/locations/{LOCATION}"


@pytest.fixture
def google_(sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Google's clients in this process find the sandbox."""
    for name in sandbox.unset:
        monkeypatch.delenv(name, raising=False)
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    if hasattr(_metadata, "_METADATA_ROOT"):  # an old google-auth reads the server's address when it is imported
        importlib.reload(_metadata)
    return sandbox


def wheel(
    name: str,
    version: str,
    *,
    module: str = "",
    requires: tuple[str, ...] = (),
    tag: str = "py3-none-any",
    extra: dict[str, str] | None = None,
) -> tuple[str, bytes]:
    """A small wheel: its file name and bytes. `extra`: more members, whatever their paths say."""
    package = name.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: a test\n"
    metadata += "".join(f"Requires-Dist: {text}\n" for text in requires)
    files = {
        f"{package}/__init__.py": module or f'__version__ = "{version}"\n',
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **(extra or {}),
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            # Without a time of its own: the same wheel, made again, has the same hash.
            archive.writestr(zipfile.ZipInfo(path), text)
    return f"{package}-{version}-{tag}.whl", buffer.getvalue()
