"""DAGs through which secrets go, in a real Airflow. The secrets are in a file beside it."""

# ruff: noqa: E501 -- a table of tasks

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import requests
from airflow.sdk import DAG, Asset, task

from airflow_gar_provider.operators import (
    BuildWheelOperator,
    ComposerPipConfigOperator,
    CreateRepositoryOperator,
    DeployDagOperator,
    InstallPrivatePackageOperator,
    PublishWheelOperator,
    RunEnvironmentDagOperator,
)
from airflow_gar_provider.rollout import Fleet, roll_out
from airflow_gar_provider.sensors import PackageInstalledSensor, PackageVersionSensor

HERE = Path(__file__).parent
WORLD: dict[str, Any] = json.loads((HERE / "world.json").read_text())
ENVIRONMENT, REPOSITORY = WORLD["environment"], WORLD["repository"]
COMPOSER = "google.cloud.orchestration.airflow.service.v1.Environments."


def refused(method: str, **fault: Any) -> Any:
    """Before the task: the next call of this method is answered with the secrets."""

    def queue(context: Any) -> None:
        done = HERE / f"{context['ti'].task_id}.refused"
        if done.exists():
            return  # Airflow calls this once more when a task that was deferred goes on
        done.touch()
        message = Path(os.environ["LEAKS_SAID"]).read_text()
        with requests.Session() as own:
            own.trust_env = False
            body = {"method": method, "message": message, **fault}
            own.post(f"http://127.0.0.1:{WORLD['port']}/sandbox/faults", json=body, timeout=30).raise_for_status()

    return queue


with DAG("leaks", schedule=None, max_active_tasks=2, default_args={"trigger_rule": "all_done"}):
    point = {"environment": ENVIRONMENT, "repository": REPOSITORY}
    key = {**point, "auth": "service_account_key"}
    install = {"environment": ENVIRONMENT, "poll_interval": 10, "skip_checks": "import_errors", "deferrable": True}
    steps = [
        CreateRepositoryOperator(task_id="repository", repository=REPOSITORY),
        BuildWheelOperator(task_id="build", source=WORLD["source"], destination=WORLD["bucket"]),
        BuildWheelOperator(task_id="build_fails", source=WORLD["broken_source"], destination=WORLD["bucket"]),
        PublishWheelOperator(
            task_id="publish_refused", wheels=WORLD["wheels"], repository=REPOSITORY,
            pre_execute=refused("Python-UploadPackage", status=403),
        ),
        PublishWheelOperator(
            task_id="publish", wheels=WORLD["wheels"], repository=REPOSITORY,
            pre_execute=refused("Python-UploadPackage", status=503),
        ),
        PublishWheelOperator(
            task_id="publish_as_another", wheels=WORLD["wheels"], repository=REPOSITORY, impersonation_chain=WORLD["other"],
            pre_execute=refused("google.iam.credentials.v1.IAMCredentials.GenerateAccessToken", status=403),
        ),
        ComposerPipConfigOperator(task_id="pip_conf_refused", **point, pre_execute=refused(f"{COMPOSER}GetEnvironment", status=403)),
        ComposerPipConfigOperator(task_id="pip_conf_secret", **key, key_secret=WORLD["secret"]),
        ComposerPipConfigOperator(task_id="pip_conf_no_key", **key, key_secret=WORLD["no_key"]),
        ComposerPipConfigOperator(task_id="pip_conf_conn", **key, key_conn_id="canary_key"),
        ComposerPipConfigOperator(task_id="pip_conf_made", **key, key_service_account=WORLD["reader"]),
        ComposerPipConfigOperator(task_id="pip_conf_rotated", **key, key_service_account=WORLD["reader"], rotate=True),
        InstallPrivatePackageOperator(task_id="install", requirements="acme-lib==1.0", **install),
        ComposerPipConfigOperator(
            task_id="retire", environment=ENVIRONMENT, key_service_account=WORLD["reader"], retire=True,
            operation="{{ ti.xcom_pull('install')['operation'] }}",
        ),
        InstallPrivatePackageOperator(
            task_id="install_fails", requirements="acme-lib==1.1", **install,
            pre_execute=refused(f"{COMPOSER}UpdateEnvironment", kind="failed_operation"),
        ),
        ComposerPipConfigOperator(task_id="broken_conn", **point, gcp_conn_id="canary_broken", retries=0),
        PackageVersionSensor(
            task_id="version", repository=REPOSITORY, requirement="acme-lib==1.1", deferrable=True, timeout=60,
            pre_execute=refused("google.devtools.artifactregistry.v1.ArtifactRegistry.ListFiles", status=403),
        ),
        PackageInstalledSensor(
            task_id="installed", environment=ENVIRONMENT, requirements="acme-lib==1.0", poke_interval=5, timeout=60,
            pre_execute=refused(f"{COMPOSER}GetEnvironment", status=503),
        ),
        DeployDagOperator(task_id="deploy", environment=ENVIRONMENT, files=WORLD["environment_dag"]),
        RunEnvironmentDagOperator(
            task_id="run", environment=ENVIRONMENT, environment_dag_id="tells", unpause=True, deferrable=True,
        ),
        RunEnvironmentDagOperator(
            task_id="run_fails", environment=ENVIRONMENT, environment_dag_id="tells", unpause=True, conf={"fail": True},
        ),
    ]  # fmt: skip
    for before, after in itertools.pairwise(steps):
        before >> after

with DAG("leaks_heard", schedule=[Asset(WORLD["asset"])]):

    @task
    def heard(triggering_asset_events: Any = None) -> str:
        """Print what the event holds."""
        return str({str(asset): [event.extra for event in events] for asset, events in triggering_asset_events.items()})

    heard()


def told(report: dict[str, Any]) -> None:
    """A notification: printed, as one to a chat would be sent."""
    print(json.dumps(report, default=str))
    raise RuntimeError(Path(os.environ["LEAKS_SAID"]).read_text().splitlines()[0][:0] + "the chat is away")


with DAG("leaks_rollout", schedule=None):
    roll_out(
        Fleet.from_file(str(HERE / "fleet.yaml")), repository=REPOSITORY, requirements="acme-lib==1.1", poll_interval=10,
        approve_before="prod", skip_checks="import_errors", notify=told, on_failure="roll_back",
    )  # fmt: skip
