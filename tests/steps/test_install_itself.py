"""A task that updates the very environment that it runs in: with its own scheduler and triggerer, restarted by it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from google.cloud.orchestration.airflow import service_v1 as composer
from google.oauth2.credentials import Credentials
from google.protobuf import field_mask_pb2

from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
from tests.steps.installing import Site

pytestmark = pytest.mark.slow
DAG = """
from datetime import datetime, timedelta
from airflow import DAG
from airflow_gar_provider.operators import InstallPrivatePackageOperator

with DAG("installs", schedule=None, start_date=datetime(2026, 1, 1)):
    InstallPrivatePackageOperator(
        task_id="install",
        environment="{environment}",
        requirements="acme-demo==1.0",
        repository="{repository}",
        drain=600,
        poll_interval=10,
        deferrable={deferrable},
        retries=3,
        retry_delay=timedelta(seconds=1),
    )
"""
CONNECTION = json.dumps({"conn_type": "google_cloud_platform"})
FAST_ENOUGH = 420.0


def prepare(site: Site) -> EnvironmentAirflow:
    """Give the environment processes of its own, and its service account the right to update it."""
    name, project = str(site.environment), site.environment.project
    account = f"serviceAccount:{site.now().service_account}"
    roles = ("roles/composer.admin", "roles/iam.serviceAccountUser")
    grants = [f"{account}={role}@projects/{project}" for role in roles]
    site.sandbox.setup(processes=[name], environments=[name], grants=grants)
    site.grant()
    site.publish("1.0")
    client = composer.EnvironmentsClient(credentials=Credentials(site.sandbox.token(site.owner)))
    variables = {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": CONNECTION}
    client.update_environment(
        name=name,
        environment=composer.Environment(
            config=composer.EnvironmentConfig(software_config=composer.SoftwareConfig(env_variables=variables))
        ),
        update_mask=field_mask_pb2.FieldMask(paths=["config.software_config.env_variables"]),
    ).result(timeout=60)
    return site.cloud.airflow_of(site.now())


def logs(airflow: EnvironmentAirflow, task: dict[str, Any]) -> str:
    """What each try of the task said."""
    tries = range(1, task["try_number"] + 1)
    return "\n\n".join(f"Try {n}:\n" + airflow.task_log("installs", "one", {**task, "try_number": n}) for n in tries)


def ended(airflow: EnvironmentAirflow) -> dict[str, Any]:
    """The task of the DAG run when that has ended; the environment restarts meanwhile."""
    deadline = time.monotonic() + FAST_ENOUGH
    while True:
        run = airflow.get_run("installs", "one")
        [task] = airflow.task_instances("installs", "one")
        if run is not None and run["state"] in ("success", "failed"):
            return {**task, "run": run["state"], "log": logs(airflow, task)}
        assert time.monotonic() < deadline, airflow.task_log("installs", "one", task)
        time.sleep(2)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_updates_its_own_environment(site: Site, deferrable: bool) -> None:
    """One update. Blocking, the update kills the task, and its next try finds the outcome; deferred, it is resumed."""
    airflow = prepare(site)
    text = DAG.format(environment=site.environment, repository=site.repository, deferrable=deferrable)
    site.deploy("installs.py", text)
    deadline = time.monotonic() + 120
    while airflow.get_dag("installs") is None:
        assert time.monotonic() < deadline, airflow.import_errors()
        time.sleep(2)
    airflow.start_run("installs", "one", {})
    task = ended(airflow)
    assert task["run"] == "success", task["log"]
    # The dying scheduler may have begun the second try, which it took with it.
    assert (task["try_number"] == 1) is deferrable, task["log"]
    assert airflow.return_value("installs", "one", task)["outcome"] == "installed"
    assert site.packages() == {"acme-demo": "==1.0"}
    packages = [
        call for call in site.sandbox.calls(site.environment.project) if call["method"].endswith("UpdateEnvironment")
    ]
    assert len(packages) == 2  # the variables, and one update of the packages
    assert site.stored("installs/one/install")["outcome"] == "installed"
