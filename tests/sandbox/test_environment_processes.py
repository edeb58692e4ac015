"""An environment with its own scheduler and triggerer: tasks are scheduled, deferred, and killed by an update."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

import psutil
import pytest
from google.cloud.orchestration.airflow import service_v1 as composer
from google.oauth2.credentials import Credentials

from tests.airflows import API, NEW_RUN
from tests.conftest import LOCATION, Running

from .test_artifact_registry import CALLER
from .test_composer import VARIABLES, update

pytestmark = pytest.mark.slow
COMPONENTS = {"scheduler", "triggerer", "api-server"}
DAG = """
import os, time
from datetime import datetime, timedelta
from airflow import DAG
try:
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
    from airflow.sdk import BaseOperator
except ImportError:
    from airflow.models import BaseOperator
    from airflow.operators.python import PythonOperator
    from airflow.triggers.temporal import TimeDeltaTrigger

class Later(BaseOperator):
    def execute(self, context):
        # Not sooner: Airflow fails a task now and then that is resumed before its executor has seen it end.
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=12)), method_name="go_on")

    def go_on(self, context, event=None):
        print("the triggerer sent", event)

with DAG("defers", schedule=None, start_date=datetime(2026, 1, 1)):
    Later(task_id="wait")

def run_for_ever():
    print("pid", os.getpid(), flush=True)
    time.sleep(600)

with DAG("runs", schedule=None, start_date=datetime(2026, 1, 1)):
    PythonOperator(task_id="work", python_callable=run_for_ever)
"""


def until(what: Any, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return value


def components_of(sandbox: Running) -> set[int]:
    """The processes of the Airflows of all environments. (Airflow 2 writes titles over whose they are.)"""
    found = set()
    for process in psutil.Process(sandbox.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            words = process.cmdline()
            if any(word.endswith("bin/airflow") for word in words) and COMPONENTS & set(words):
                found.add(process.pid)
    return found


def test_a_run_is_deferred_in_the_triggerer_and_an_update_kills_the_task_that_runs(
    google_: Running, project: str
) -> None:
    name = f"projects/{project}/locations/{LOCATION}/environments/dev"
    others = components_of(google_)
    bucket = google_.setup(processes=[name], environments=[name])["environments"][name]
    client = composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER)))
    base = client.get_environment(name=name).config.airflow_uri + API
    with google_.session(CALLER) as session:
        url = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
        session.post(url, params={"uploadType": "media", "name": "dags/two.py"}, data=DAG, timeout=30)

        def trigger(dag: str) -> str:
            answer = session.post(f"{base}/dags/{dag}/dagRuns", json=NEW_RUN, timeout=120)
            assert answer.status_code == 200, answer.text
            return f"{base}/dags/{dag}/dagRuns/{answer.json()['dag_run_id']}"

        def state(url: str) -> str:
            return str(session.get(url, timeout=60).json()["state"])

        defers = trigger("defers")
        until(lambda: state(f"{defers}/taskInstances/wait") == "deferred")
        until(lambda: state(defers) in {"success", "failed"})
        assert state(defers) == "success"
        assert "the triggerer sent" in session.get(f"{defers}/taskInstances/wait/logs/1", timeout=60).text
        runs = trigger("runs")  # not before: Airflow 2 has one task at a time there
        until(lambda: state(f"{runs}/taskInstances/work") == "running")

        def pids(attempt: int = 1) -> list[int]:
            log = session.get(f"{runs}/taskInstances/work/logs/{attempt}", timeout=60).text
            return [int(found) for found in re.findall(r"\bpid (\d+)", log)]

        task = until(pids)[0]
        assert alive(task)
        components = components_of(google_) - others
        assert len(components) >= (3 if API == "/api/v2" else 2)
        assert listening_beyond_loopback(components) == []

        update(client, name, [VARIABLES], {"env_variables": {"A": "1"}}).result(timeout=60)
        assert [number for number in (task, *components) if alive(number)] == []
        if API == "/api/v1":  # the task hears the signal, and says so itself
            until(lambda: state(f"{runs}/taskInstances/work") == "failed", 45)
            return
        # The scheduler that was started again finds the task that nobody runs any more, and starts it anew.
        again = until(lambda: pids(2), 45)
        assert state(f"{runs}/taskInstances/work") == "running"
        assert alive(again[0])
        client.delete_environment(name=name).result(timeout=60)
        assert not alive(again[0])


def alive(number: int) -> bool:
    """False for a dead process that init has not collected yet, too."""
    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


def listening_beyond_loopback(processes: set[int]) -> list[str]:
    found = []
    for number in processes:
        everyone = [psutil.Process(number), *psutil.Process(number).children(recursive=True)]
        for process in everyone:
            found += [
                str(connection.laddr)
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN and not connection.laddr.ip.startswith("127.")
            ]
    return found
