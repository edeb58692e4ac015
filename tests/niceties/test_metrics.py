"""Metrics as tags and as names, through Airflow's real StatsD client."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

# As a task's process sets Airflow's client up (2.11 does it at import).
TELL = """
import contextlib
with contextlib.suppress(ImportError):
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
    from airflow.sdk.observability.stats import Stats
    Stats.initialize(factory=get_stats_factory(), export_legacy_names=True)
from airflow_gar_provider import metrics
from airflow_gar_provider.errors import NotFoundError, RolledBackError, UnavailableError
metrics.count_publication([
    {"outcome": "uploaded", "size": 700}, {"outcome": "exists", "size": 20}, {"outcome": "uploaded", "size": 7},
])
metrics.count_publication([{"outcome": "exists", "size": 20}])
metrics.count_install({"outcome": "installed", "seconds": 61.5})
metrics.count_install({"outcome": "unchanged", "seconds": 0.0})
for error in (NotFoundError("a"), UnavailableError("a"), RolledBackError("a", failure="b", restored=[], held=[])):
    metrics.count_failed_install(error)
metrics.level("rollout.environments", 3)
"""
INSTALLS = ("installed", "unchanged", "failed", "to_retry", "rolled_back")
FILES = ("uploaded", "exists", "uploaded", "exists")


def told(**options: str) -> list[str]:
    """What a StatsD server receives of all of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        more = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": str(server.getsockname()[1]), **options}
        env = {**os.environ, **{f"AIRFLOW__METRICS__{name.upper()}": text for name, text in more.items()}}
        done = subprocess.run([sys.executable, "-c", TELL], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines: list[str] = []
        while not lines or "rollout.environments" not in lines[-1]:
            lines += server.recv(65536).decode().splitlines()
        return [line.removeprefix("airflow.gar.") for line in lines if line.startswith("airflow.gar.")]


@pytest.mark.slow
@pytest.mark.parametrize("tags", [False, True])
def test_what_a_server_receives(tags: bool) -> None:
    """The outcome survives without tags, as the end of the name; with tags there is no other than the outcome."""
    tag = ",outcome={}" if tags else ""
    expected = []
    for outcome in FILES[:3]:
        expected += [f"publish.files{tag.format(outcome)}:1|c", f"publish.files.{outcome}:1|c"]
    expected += ["publish.bytes:707|c", f"publish.files{tag.format('exists')}:1|c", "publish.files.exists:1|c"]
    for outcome in INSTALLS:
        expected += [f"install.finished{tag.format(outcome)}:1|c", f"install.finished.{outcome}:1|c"]
        expected += ["install.duration:61500.000000|ms"] if outcome == "installed" else []
    expected += ["rollout.environments:3|g"]
    assert told(statsd_influxdb_enabled=json.dumps(tags)) == expected
