"""What Airflow, OpenLineage and StatsD see of a publication and a rollout, in a real Airflow with real clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.operators import InstallPrivatePackageOperator
from demo import airflow_settings as settings
from demo.airflow_client import AirflowClient
from demo.airflow_stack import AirflowStack
from tests.conftest import LOCATION, Running
from tests.rollout.conftest import PROJECT, REPOSITORY, Run, World
from tests.wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.needs_airflow("3.2", "a rollout whose tasks are deferred")]

DAG_ID = "seen"
DAG = """
from airflow import DAG
from airflow_gar_provider.operators import PublishWheelOperator
from airflow_gar_provider.rollout import Fleet, roll_out

with DAG({dag_id!r}, schedule=None):
    publish = PublishWheelOperator(task_id="publish", repository={repository!r}, wheels={wheels!r})
    publish >> roll_out(
        Fleet.from_file("{dag_id}.yaml"),
        repository={repository!r},
        requirements="acme-seen==1.0",
        skip_checks="import_errors",
        poll_interval=10,
    )
"""
ENVIRONMENT = ("roll_out.dev.environment", 0)


class Sink:
    """A StatsD server: it keeps what arrives."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        while (packet := self._socket.recv(65536)) != b"end":
            self.lines += packet.decode().splitlines()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"end", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


class WatchedStack(AirflowStack):
    """An Airflow that tells StatsD and OpenLineage what happens: the configuration that its users write."""

    def __init__(self, *, port_of_sink: int, events: Path, **others: Any) -> None:
        super().__init__(**others)
        transport = {"type": "file", "log_file_path": str(events), "append": True}
        self._more = {
            "metrics": {
                "statsd_on": "True",
                "statsd_host": "127.0.0.1",
                "statsd_port": str(port_of_sink),
                "metrics_allow_list": "gar.",
            },
            # The first call makes the api-server load every provider: on a busy machine that takes its time.
            "workers": {"execution_api_timeout": "150"},
            "openlineage": {"transport": json.dumps(transport), "namespace": "tests"},
        }

    def _configure(self, port: int) -> None:
        settings.write_config(self.home, port=port, parallelism=self._parallelism, more=self._more)


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where OpenLineage's events are written, one in a line."""
    return tmp_path_factory.mktemp("lineage") / "events.jsonl"


@pytest.fixture(scope="module")
def finished(
    world: World, sandbox: Running, sink: Sink, events: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """A run that has ended, and the links of its environment's task as they were while that was deferred."""
    base = tmp_path_factory.mktemp("seen")
    make_wheel(base, "acme_seen", "1.0")
    world.fleet(DAG_ID, [{"name": "dev", "environments": ["dev"]}])
    text = DAG.format(dag_id=DAG_ID, repository=REPOSITORY, wheels=str(base / "*.whl"))
    (world.dags / f"{DAG_ID}.py").write_text(text)
    with WatchedStack(
        port_of_sink=sink.port,
        events=events,
        home=base / "home",
        dags=world.dags,
        environ=sandbox.child_env(),
        timeout=400,
    ) as running:
        # A machine that is busy with other things answers late.
        running.client = AirflowClient(running.url, running.user, running.password, timeout=180)
        world.stack = running
        run = world.start(DAG_ID)
        deferred = _links_while_deferred(run)
        assert run.wait() == "success", run.states()
        yield run, deferred


def _links(run: Run, task_id: str, map_index: int = -1) -> dict[str, Any]:
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/links?map_index={map_index}"
    return dict(run.client._call("GET", path)["extra_links"])


def _links_while_deferred(run: Run, seconds: float = 300) -> dict[str, Any]:
    """The task was deferred before they were asked for, and still is."""
    deadline, state = time.monotonic() + seconds, None
    found: dict[str, Any] = {}
    while time.monotonic() < deadline:
        states = run.states()
        before, state = state, states.get("dev.environment[dev]")
        if before == state == "deferred" and found:
            return found
        assert state not in ("success", "failed"), "the task has ended before its links were read"
        assert not {"failed", "upstream_failed"} & set(states.values()), states
        found = _links(run, *ENVIRONMENT) if state == "deferred" else {}
        time.sleep(0 if found else 1)
    raise AssertionError(f"never deferred: {run.states()}")


def test_links_are_there_while_a_task_is_deferred(finished: tuple[Run, dict[str, Any]]) -> None:
    """The api-server gives them all, to the environment, its operation and build log, the package and the plan."""
    run, deferred = finished
    parts = {name: (url or "").removeprefix("https://console.cloud.google.com/") for name, url in deferred.items()}
    assert set(parts) == {link.name for link in InstallPrivatePackageOperator.operator_extra_links} | {"Rollout plan"}
    project = "fleet-seen"
    assert parts["Composer environment"].startswith(f"composer/environments/detail/{LOCATION}/dev/monitoring")
    assert "in-cluster-build" in parts["Build log"]
    assert f"projects%2F{project}%2Flocations%2F{LOCATION}%2Foperations%2F" in parts["Composer operation"]
    assert parts["Package version"] == f"artifacts/python/{PROJECT}/{LOCATION}/python/acme-seen/1.0?project={PROJECT}"
    assert parts["Rollout plan"].startswith(f"storage/browser/_details/{project}-state/gar/")
    assert _links(run, *ENVIRONMENT) == deferred
    assert _links(run, "roll_out.plan") == {"Rollout plan": deferred["Rollout plan"]}
    assert "/ledger/" in _links(run, "roll_out.report")["Rollout ledger"]
    assert _links(run, "publish")["Package version"] == deferred["Package version"]


def test_metrics_arrive(finished: tuple[Run, dict[str, Any]], sink: Sink) -> None:
    """At a StatsD server without tags: the outcome is in the name; no name has a package, a version, an environment."""
    expected = {
        "airflow.gar.publish.files": "1|c",
        "airflow.gar.publish.files.uploaded": "1|c",
        "airflow.gar.install.finished": "1|c",
        "airflow.gar.install.finished.installed": "1|c",
        "airflow.gar.rollout.finished": "1|c",
        "airflow.gar.rollout.finished.succeeded": "1|c",
        "airflow.gar.rollout.environment": "1|c",
        "airflow.gar.rollout.environment.installed": "1|c",
        "airflow.gar.rollout.environments": "1|g",
    }
    measured = {"airflow.gar.publish.bytes", "airflow.gar.install.duration", "airflow.gar.rollout.environment_duration"}
    found = dict(line.split(":", 1) for line in sink.lines)
    assert {name: value for name, value in found.items() if name not in measured} == expected
    assert set(found) == {*expected, *measured}
    assert found["airflow.gar.publish.bytes"].endswith("|c")
    for name in measured - {"airflow.gar.publish.bytes"}:
        assert found[name].endswith("|ms")
        assert float(found[name].removesuffix("|ms")) > 0


def test_lineage_arrives(finished: tuple[Run, dict[str, Any]], events: Path) -> None:
    """OpenLineage's own listener writes: publish -> package -> the task of an environment -> environment."""
    told: dict[str, dict[str, Any]] = {}
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["eventType"] == "COMPLETE":
            told[event["job"]["name"].removeprefix(f"{DAG_ID}.")] = event
    package = (f"gar://{PROJECT}", f"{LOCATION}/python/acme-seen", "1.0")
    environment = ("composer://fleet-seen", f"{LOCATION}/dev", None)
    assert _datasets(told["publish"]) == ([], [package])
    assert _datasets(told[ENVIRONMENT[0]]) == ([package], [environment])


def _datasets(event: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs as (namespace, name, version)."""
    inputs, outputs = (
        [
            (entry["namespace"], entry["name"], entry["facets"].get("version", {}).get("datasetVersion"))
            for entry in event[side]
        ]
        for side in ("inputs", "outputs")
    )
    return inputs, outputs
