"""The Google of the proofs: the sandbox, whose images and environments' Airflows are played, as a process of its own.

Played: an image has what its environment declares, in the version that the pin names, unless the package's name says
otherwise (`PlayedImages`); an environment's Airflow has no DAG, and no import error but one that a package brings. All
else is the sandbox as it is. `python -m proof.google` serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from airflow_gar_provider.sandbox.server import Sandbox, ready_line
from airflow_gar_provider.sandbox.setup import Setup
from bench.played_images import PlayedImages, packages_of

HOME = "proof-management"
"""The project of the two accounts below."""
CALLER = f"tasks@{HOME}.iam.gserviceaccount.com"
"""As whom the tasks run: the sandbox's caller, who owns every project."""
OBSERVER = f"observer@{HOME}.iam.gserviceaccount.com"
"""As whom the proof reads. A fault that ends the caller's tokens leaves it alone."""
BREAKS_DAGS = "breaks-dags"
"""In a package's name: with it, the environment's DAG cannot be imported any more."""


class PlayedAirflow:
    """As much of an environment's Airflow as an install asks."""

    scheduled_from: Path | None = None

    async def handle(
        self, method: str, path: str, query: Mapping[str, str], body: object | None, *, image: Path, dags: Path
    ) -> tuple[int, object]:
        """No DAGs, no running tasks; an import error while a package that breaks DAGs is installed."""
        errors = []
        if path.endswith("/importErrors") and any(BREAKS_DAGS in name for name in packages_of(image)):
            trace = "Traceback (most recent call last):\nImportError: cannot import name 'distance'"
            errors = [{"filename": "dags/uses_it.py", "stack_trace": trace, "timestamp": "2026-11-18T02:00:00Z"}]
        return 200, {"import_errors": errors, "dags": [], "task_instances": [], "total_entries": len(errors)}

    async def close(self) -> None:
        """There is no process."""


async def serve() -> None:
    """Print the ready line, serve until standard input ends."""
    setup = Setup.from_texts(projects=(HOME,), accounts=(OBSERVER,))
    sandbox = Sandbox(
        environment=os.environ,
        setup=setup,
        caller=CALLER,
        images=PlayedImages(),
        make_airflow=lambda *_: PlayedAirflow(),  # type: ignore[arg-type]
    )
    try:
        await sandbox.start()
        print(_lean(sandbox), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await sandbox.stop()


def _lean(sandbox: Sandbox) -> str:
    """The ready line, with a bundle of one certificate: reading all of this machine's is half of what a try costs."""
    lean = sandbox.ca_file.with_name("own.pem")
    lean.write_bytes(sandbox.authority.certificate)
    return ready_line(sandbox).replace(json.dumps(str(sandbox.ca_file)), json.dumps(str(lean)))


@dataclass
class Google:
    """A running sandbox, as the proof uses it: its own paths, and Google's REST APIs as the observer."""

    port: int
    env: Mapping[str, str]
    """The variables of a process whose Google it is."""
    unset: tuple[str, ...]
    key_file: str = field(repr=False, default="")
    """The caller's key, as JSON: what Application Default Credentials are in the tasks."""

    def __post_init__(self) -> None:
        self._own, self.rest = requests.Session(), requests.Session()
        self._own.trust_env = self.rest.trust_env = False
        self.rest.proxies = {"https": self.env["HTTPS_PROXY"]}
        self.rest.verify = self.env["REQUESTS_CA_BUNDLE"]
        token = self.post("tokens", {"account": OBSERVER})["access_token"]
        self.rest.headers["authorization"] = f"Bearer {token}"

    def post(self, path: str, value: object) -> Any:
        """Set something of the sandbox's."""
        answer = self._own.post(f"http://127.0.0.1:{self.port}/sandbox/{path}", json=value, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str) -> Any:
        """Ask the sandbox something."""
        answer = self._own.get(f"http://127.0.0.1:{self.port}/sandbox/{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def clear_faults(self) -> list[dict[str, Any]]:
        """Forget the queue and let go what is held; returns what was not used."""
        unused: list[dict[str, Any]] = self.get("faults")["unused"]
        self._own.delete(f"http://127.0.0.1:{self.port}/sandbox/faults", timeout=30).raise_for_status()
        return unused

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The record of calls."""
        found: list[dict[str, Any]] = self.get(f"calls?since={since}")["calls"]
        return found

    def bugs(self) -> list[str]:
        """Uncaught exceptions of the sandbox itself."""
        found: list[str] = self._own.get(f"http://127.0.0.1:{self.port}/healthz", timeout=30).json()["bugs"]
        return found

    def ask(self, verb: str, url: str, **options: Any) -> Any:
        """One call of a Google API; JSON, or text where the answer is none. None for 404."""
        answer = self.rest.request(verb, url, timeout=30, **options)
        if answer.status_code == 404:
            return None
        if answer.status_code >= 400:
            raise RuntimeError(f"{verb} {url}: {answer.status_code} {answer.text}")
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def wait_for_held(self) -> http.client.HTTPConnection:
        """Ask for the next held call; its socket can be read when there is one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/sandbox/held?wait=3600")
        return connection


def start(folder: Path) -> Google:
    """A sandbox of this process: it ends with it. `folder`: for its log."""
    google = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "proof.google"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "sandbox.log").open("w"),
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert google.stdout is not None
    ready = json.loads(google.stdout.readline())
    found = Google(ready["port"], ready["env"], tuple(ready["unset"]))
    _started.append(google)
    url = f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{CALLER}/keys"
    found.post("setup", {"grants": [f"serviceAccount:{OBSERVER}=roles/owner@projects/{HOME}"]})
    found.key_file = base64.b64decode(found.ask("POST", url, json={})["privateKeyData"]).decode()
    return found


_started: list[subprocess.Popen[str]] = []
"""Their standard input stays open as long as this process lives."""


if __name__ == "__main__":
    asyncio.run(serve())
