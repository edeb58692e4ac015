"""What a second run asks Google, counted by the sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import requests

PROJECT = "bench-packages"
_PUBLISH = """
import json, logging, sys
import google.auth, requests
from pathlib import Path
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.publish import publish
from airflow_gar_provider.steps.repository import create_repository
credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
cloud = Cloud(Session(credentials))
name = RepositoryName.parse("projects/bench-packages/locations/europe-west1/repositories/python")
create_repository(cloud.artifact_registry, name)
for run in (1, 2):
    result = publish(cloud, check(Path(path) for path in sys.argv[1:]), name, Clock())
    print(result["outcome"], file=sys.stderr)
    if run == 1:
        calls = requests.get(CALLS, timeout=30).json()["calls"]
print(len(calls))
"""


def calls_of_a_rerun(paths: Sequence[Path]) -> dict[str, int]:
    """Publish twice to a sandbox of its own; the second run's calls: all, `ListFiles`, and `uploads`."""
    with tempfile.TemporaryDirectory(prefix="gar-bench-") as name:
        folder = Path(name)
        ready = folder / "ready.json"
        server = subprocess.Popen(
            [
                sys.executable,
                *["-m", "airflow_gar_provider.sandbox", "serve", "--project"],
                PROJECT,
                "--ready-file",
                str(ready),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not ready.exists():
                assert server.poll() is None
                time.sleep(0.05)
            found = json.loads(ready.read_text())
            calls = f"http://127.0.0.1:{found['port']}/sandbox/calls"
            kept = {key: value for key, value in os.environ.items() if key not in found["unset"]}
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _PUBLISH.replace("CALLS", repr(calls)), *map(str, paths)],
                env={**kept, **found["env"], "PYTHONPATH": str(Path(__file__).parents[1])},
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
            )
            assert done.stderr.split()[-2:] == ["uploaded", "exists"], done.stderr
            first = int(done.stdout.split()[-1])
            return _count(calls, first)
        finally:
            server.terminate()
            server.wait()


def _count(calls: str, first: int) -> dict[str, int]:
    with requests.Session() as session:
        session.trust_env = False
        methods = Counter(
            call["method"].rsplit(".", 1)[-1] for call in session.get(calls, timeout=30).json()["calls"][first:]
        )
    return {
        "calls": sum(methods.values()),
        "ListFiles": methods["ListFiles"],
        "uploads": methods["Python-UploadPackage"],
    }
