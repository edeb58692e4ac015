"""The real gcloud against the session's sandbox, with a configuration folder of its own."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import LOCATION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

    from tests.conftest import Running

CALLER = "caller@sandbox-tests.iam.gserviceaccount.com"
"""Who gcloud is: the account that the sandbox's metadata server names, an owner of every test's project."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    """Its exit status."""
    out: str
    """What it printed: results."""
    err: str
    """What it said beside: progress, "Created repository", errors."""

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Gcloud:
    """Runs gcloud; a command is written as in a shell: `gcloud(f"artifacts repositories describe {name}")`."""

    sandbox: Running
    config: Path
    """CLOUDSDK_CONFIG: credentials and settings. Empty at first: gcloud finds the caller at the metadata server."""
    project: str
    variables: dict[str, str] = field(default_factory=dict)
    program: str = "gcloud"

    def run(self, command: str, *, stdin: str | None = None, **variables: str) -> Ran:
        """Run a command, whatever comes of it; `stdin` is what it reads."""
        env = {name: value for name, value in self.sandbox.child_env().items() if not name.startswith("CLOUDSDK_")}
        env.update({name: value for name, value in self.sandbox.env.items() if name.startswith("CLOUDSDK_")})
        env.update({"CLOUDSDK_CONFIG": str(self.config), "CLOUDSDK_CORE_PROJECT": self.project})
        env.update({"CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1", "LC_ALL": "C.UTF-8"})
        env.update({**self.variables, **variables})
        words = [self.program, *shlex.split(command)]
        done = subprocess.run(
            words, env=env, cwd=self.config, capture_output=True, text=True, timeout=240, check=False, input=stdin
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def __call__(self, command: str, *, stdin: str | None = None, **variables: str) -> Ran:
        """Run a command that succeeds."""
        ran = self.run(command, stdin=stdin, **variables)
        assert ran.code == 0, f"{self.program} {command}\n{ran.out}{ran.err}"
        return ran

    def json(self, command: str, **variables: str) -> Any:
        """What a command that succeeds prints with `--format=json`."""
        return self(f"{command} --format=json", **variables).json()

    def fails(self, command: str, **variables: str) -> str:
        """What a command that fails says."""
        ran = self.run(command, **variables)
        assert ran.code != 0, f"{self.program} {command}\n{ran.out}{ran.err}"
        assert "gcloud crashed" not in ran.err
        return ran.err

    def as_(self, account: str) -> Gcloud:
        """The same as another account, by an access token that gcloud reads from a file."""
        file = self.config / f"token-{next(_numbers)}"
        file.write_text(self.sandbox.token(account))
        known = {"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(file), "CLOUDSDK_CORE_ACCOUNT": account}
        return replace(self, variables={**self.variables, **known})

    def within(self, project: str) -> Gcloud:
        """The same in another project."""
        return replace(self, project=project)

    def with_config(self, folder: Path) -> Gcloud:
        """The same with another, empty configuration: for what changes the configuration."""
        folder.mkdir(parents=True, exist_ok=True)
        return replace(self, config=folder)

    def with_variables(self, **variables: str) -> Gcloud:
        """The same with more environment variables."""
        return replace(self, variables={**self.variables, **variables})

    def named(self, program: str) -> Gcloud:
        """Another program of the SDK, `gsutil`."""
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        return replace(self, program=program)

    def since(self) -> int:
        """A mark for `calls`."""
        return self.sandbox.mark()

    def calls(self, mark: int) -> list[tuple[str, int]]:
        """Every call of this project since the mark: the method's last name, and its status."""
        calls = self.sandbox.calls(self.project, mark)
        return [(str(call["method"]).rpartition(".")[2], int(call["status"])) for call in calls]


@pytest.fixture(scope="module")
def gcloud_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One configuration folder for every test that does not change it: the first start writes its databases.

    It keeps the caller's token, which a test of another file may have withdrawn meanwhile: so each file has its own.
    """
    return tmp_path_factory.mktemp("gcloud")


def _project(sandbox: Running) -> str:
    name = f"gcloud-{os.getpid()}-{next(_numbers)}"
    sandbox.setup(projects=[name])
    return name


def _gcloud(sandbox: Running, folder: Path) -> Gcloud:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    return Gcloud(sandbox, folder, _project(sandbox))


@pytest.fixture
def gcloud(sandbox: Running, gcloud_config: Path) -> Gcloud:
    """gcloud as the caller, in a project of the test's own that the caller owns."""
    return _gcloud(sandbox, gcloud_config)


@pytest.fixture(scope="module")
def shared(sandbox: Running, gcloud_config: Path) -> Gcloud:
    """The same in a project of the file's own."""
    return _gcloud(sandbox, gcloud_config)


@pytest.fixture(scope="module")
def http(sandbox: Running) -> Iterator[requests.Session]:
    """Google's REST as the caller: for what a test looks up beside gcloud. Its token is the file's own, as gcloud's."""
    with sandbox.session(CALLER) as session:
        yield session


@pytest.fixture
def python(gcloud: Gcloud, http: requests.Session) -> str:
    """The name of a standard repository `python` in the test's project, which is there without a start of gcloud."""
    parent = f"projects/{gcloud.project}/locations/{LOCATION}"
    url = f"https://artifactregistry.googleapis.com/v1/{parent}/repositories?repositoryId=python"
    assert http.post(url, json={"format": "PYTHON"}, timeout=30).status_code == 200
    return f"{parent}/repositories/python"
