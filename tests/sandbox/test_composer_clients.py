"""Composer as others speak to it, against production URLs: Google's clients, sync and async, the google provider."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import google.auth
import pytest
from google.api_core import exceptions
from google.cloud.orchestration.airflow import service_v1 as composer

from tests.conftest import LOCATION, Running

from .test_artifact_registry import CALLER
from .test_composer import VARIABLES
from .test_environment_airflow import validated

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
State = composer.Environment.State


def test_the_sync_client_finds_its_own_credentials_and_waits_for_its_operations(google_: Running, parent: str) -> None:
    credentials, _ = google.auth.default()
    client = composer.EnvironmentsClient(credentials=credentials)
    name = f"{parent}/environments/sync"
    made = client.create_environment(parent=parent, environment={"name": name}).result(timeout=60)
    assert (made.name, made.state) == (name, State.STATE_UNSPECIFIED)  # as at Google: read it again
    assert [item.state for item in client.list_environments(parent=parent)] == [State.RUNNING]
    change = {
        "name": name,
        "environment": {"config": {"software_config": {"env_variables": {"A": "1"}}}},
        "update_mask": {"paths": [VARIABLES]},
    }
    operation = client.update_environment(change)
    assert operation.metadata.operation_type == composer.OperationMetadata.Type.UPDATE
    assert dict(operation.result(timeout=60).config.software_config.env_variables) == {"A": "1"}
    with pytest.raises(exceptions.InvalidArgument, match="No change in configuration"):
        client.update_environment(change)
    client.delete_environment(name=name).result(timeout=60)
    assert list(client.list_environments(parent=parent)) == []


def test_the_async_client_awaits_the_result_of_an_operation(google_: Running, parent: str) -> None:
    names = [f"{parent}/environments/async{number}" for number in range(3)]

    async def make(client: composer.EnvironmentsAsyncClient, name: str) -> str:
        operation = await client.create_environment(parent=parent, environment={"name": name})
        await operation.result(timeout=60)
        change = {"name": name, "environment": {"labels": {"a": "b"}}, "update_mask": {"paths": ["labels.a"]}}
        changed = await (await client.update_environment(change)).result(timeout=60)
        assert dict(changed.labels) == {"a": "b"}
        return str((await client.get_environment(name=name)).name)

    async def scene() -> None:
        client = composer.EnvironmentsAsyncClient()
        assert list(await asyncio.gather(*(make(client, name) for name in names))) == names
        change = {"name": names[0], "environment": {"labels": {}}, "update_mask": {"paths": ["labels"]}}
        google_.fault(UPDATE, kind="failed_operation", message="It was not meant to be.")
        failing = await client.update_environment(change)
        # The async client does not turn the operation's code into an exception of its own, as the sync one does.
        with pytest.raises(exceptions.GoogleAPICallError, match="3: It was not meant to be"):
            await failing.result(timeout=60)
        listed = [item.name async for item in await client.list_environments(parent=parent)]
        assert listed == names
        await client.transport.close()

    asyncio.run(scene())


UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"

# Runs in the environment: a task that a run of the DAG below starts over there.
REMOTE_DAG = """
from datetime import datetime
from airflow import DAG
try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    from airflow.operators.python import PythonOperator

with DAG("remote", schedule=None, start_date=datetime(2026, 1, 1)):
    PythonOperator(task_id="work", python_callable=lambda: print("done over there"))
"""

MANAGEMENT_DAG = '''
import json, os, time
from datetime import datetime, timezone

import requests
from airflow import DAG
from airflow.providers.google.cloud.hooks.cloud_composer import CloudComposerHook
from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.operators import cloud_composer as operators
from airflow.providers.google.cloud.sensors.cloud_composer import (
    CloudComposerDAGRunSensor,
    CloudComposerExternalTaskSensor,
)
try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    from airflow.operators.python import PythonOperator

PROJECT, REGION, NAME = os.environ["TEST_PROJECT"], os.environ["TEST_REGION"], "made"
WHERE = {"project_id": PROJECT, "region": REGION}
ONE = {**WHERE, "environment_id": NAME}
FACTS = {}


def fact(**values):
    with open(os.environ["TEST_FACTS"], "a") as file:
        file.write(json.dumps(values) + "\\n")


def deploy():
    environment = CloudComposerHook().get_environment(**ONE)
    bucket = environment.storage_config.bucket
    hook = GCSHook()
    hook.upload(bucket_name=bucket, object_name="dags/remote.py", data=os.environ["TEST_REMOTE_DAG"])
    fact(
        listed=hook.list(bucket, prefix="dags/"),
        same=hook.download(bucket, "dags/remote.py").decode() == os.environ["TEST_REMOTE_DAG"],
        hook_lists=[item.name for item in CloudComposerHook().list_environments(**WHERE)],
    )


def trigger(**context):
    """The provider's operator, which sends only `conf`; then the run that the sensors wait for."""
    operator = operators.CloudComposerTriggerDAGRunOperator(task_id="inner", composer_dag_id="remote", **ONE)
    try:
        fact(triggered=operator.execute(context)["state"])
    except requests.HTTPError as error:
        fact(trigger_status=error.response.status_code, trigger_detail=error.response.text)
    hook = CloudComposerHook()
    uri = hook.get_environment(**ONE).config.airflow_uri
    version = "v1" if os.environ["TEST_MAJOR"] == "2" else "v2"
    answer = hook.make_composer_airflow_api_request(
        "POST", uri, f"/api/{version}/dags/remote/dagRuns",
        data=json.dumps({"dag_run_id": "ours", "logical_date": "2026-01-01T12:00:00Z"}), timeout=120,
    )
    fact(own_status=answer.status_code)


def look(**context):
    pull = context["ti"].xcom_pull
    fact(
        got=pull(task_ids="get")["name"],
        all=[item["name"] for item in pull(task_ids="list")],
        images=[item["image_version_id"] for item in pull(task_ids="images")],
        labels=pull(task_ids="labels")["labels"],
        variables=pull(task_ids="variables")["config"]["software_config"]["env_variables"],
        version=[line["content"] for line in pull(task_ids="command")["output"]][-1],
        version_deferred=[line["content"] for line in pull(task_ids="command_deferred")["output"]][-1],
    )


def mask(path):
    return {"paths": [path]}


RANGE = [datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 2, tzinfo=timezone.utc)]
SOFTWARE = {"config": {"software_config": {"env_variables": {"STAGE": "dev"}}}}

with DAG("manage", schedule=None, start_date=datetime(2026, 1, 1), catchup=False):
    tasks = [
        operators.CloudComposerCreateEnvironmentOperator(task_id="create", environment={"labels": {"a": "b"}}, **ONE),
        operators.CloudComposerGetEnvironmentOperator(task_id="get", **ONE),
        operators.CloudComposerListEnvironmentsOperator(task_id="list", **WHERE),
        operators.CloudComposerListImageVersionsOperator(task_id="images", **WHERE),
        operators.CloudComposerUpdateEnvironmentOperator(
            task_id="labels", environment={"labels": {"c": "d"}}, update_mask=mask("labels"), **ONE
        ),
        operators.CloudComposerUpdateEnvironmentOperator(
            task_id="variables", environment=SOFTWARE, deferrable=True, pooling_period_seconds=1,
            update_mask=mask("config.software_config.env_variables"), **ONE
        ),
        operators.CloudComposerRunAirflowCLICommandOperator(
            task_id="command", command="version", poll_interval=1, **ONE
        ),
        operators.CloudComposerRunAirflowCLICommandOperator(
            task_id="command_deferred", command="version", poll_interval=1, deferrable=True, **ONE
        ),
        PythonOperator(task_id="look", python_callable=look),
        PythonOperator(task_id="deploy", python_callable=deploy),
        PythonOperator(task_id="trigger", python_callable=trigger),
        CloudComposerDAGRunSensor(
            task_id="wait_for_run", composer_dag_id="remote", composer_dag_run_id="ours",
            poke_interval=1, timeout=60, **ONE
        ),
        CloudComposerExternalTaskSensor(
            task_id="wait_for_task", composer_external_dag_id="remote", composer_external_task_id="work",
            execution_range=RANGE, poke_interval=1, timeout=60, **ONE
        ),
        operators.CloudComposerDeleteEnvironmentOperator(
            task_id="delete", deferrable=True, pooling_period_seconds=1, **ONE
        ),
    ]
    for before, after in zip(tasks, tasks[1:]):
        before >> after
'''


@pytest.mark.needs_airflow("3.0", "the standard provider, which google's sensors import,")
def test_the_google_providers_hooks_operators_sensors_and_triggers(
    sandbox: Running, project: str, tmp_path: Path
) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "manage.py").write_text(MANAGEMENT_DAG)
    facts = tmp_path / "facts"
    version = sandbox.run(sys.executable, "-c", "import airflow; print(airflow.__version__)").stdout.split()[-1]
    variables = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps({"conn_type": "google_cloud_platform"}),
        "TEST_PROJECT": project,
        "TEST_REGION": LOCATION,
        "TEST_FACTS": str(facts),
        "TEST_REMOTE_DAG": REMOTE_DAG,
        "TEST_MAJOR": version.partition(".")[0],
    }
    airflow = (sys.executable, "-m", "airflow")
    migrated = sandbox.run(*airflow, "db", "migrate", **variables)
    assert migrated.returncode == 0, migrated.stderr[-3000:]
    done = sandbox.run(*airflow, "dags", "test", "manage", "2026-02-01", **variables)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    found: dict[str, Any] = {}
    for line in facts.read_text().splitlines():
        found |= json.loads(line)
    name = f"projects/{project}/locations/{LOCATION}/environments/made"
    assert (found["got"], found["all"], found["hook_lists"]) == (name, [name], [name])
    assert found["images"] == [f"composer-3-airflow-{version}-build.0"]
    assert (found["labels"], found["variables"]) == ({"c": "d"}, {"STAGE": "dev"})
    assert (found["version"], found["version_deferred"]) == (version, version)
    assert (found["listed"], found["same"]) == (["dags/remote.py"], True)
    if version.startswith("2."):
        assert found["triggered"] == "queued"
    else:
        # Airflow 3 wants a logical_date (null is allowed), and the provider's operator sends none.
        assert found["trigger_status"] == 422
        assert "logical_date" in found["trigger_detail"]
    assert found["own_status"] == 200
    states = {call["status"] for call in sandbox.calls(project) if call["method"].startswith("google.cloud")}
    assert states == {200}
    with sandbox.session(CALLER) as session:
        assert session.get(f"https://composer.googleapis.com/v1/{name}", timeout=30).status_code == 404


def test_airflow_uri_answers_in_the_shapes_of_airflows_own_description(
    sandbox: Running, project: str, parent: str
) -> None:
    """Through the door: TLS, token, role; DAG runs, task instances, logs, import errors."""
    name = f"{parent}/environments/dev"
    bucket = sandbox.setup(environments=[name])["environments"][name]
    answers: list[tuple[str, str, int, Any]] = []
    with sandbox.session(CALLER) as session:
        for file, text in (
            ("remote.py", REMOTE_DAG),
            ("broken.py", "from airflow import DAG\nimport nobody_has_this\n"),
        ):
            url = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
            session.post(url, params={"uploadType": "media", "name": f"dags/{file}"}, data=text, timeout=30)
        found = session.get(f"https://composer.googleapis.com/v1/{name}", timeout=30).json()["config"]
        two = found["softwareConfig"]["imageVersion"].startswith("composer-3-airflow-2")
        base = f"{found['airflowUri']}/api/{'v1' if two else 'v2'}"

        def ask(verb: str, path: str, body: object | None = None) -> Any:
            answer = session.request(verb, base + path, json=body, timeout=120)
            answers.append((verb, path, answer.status_code, answer.json()))
            return answer.json()

        run = ask("POST", "/dags/remote/dagRuns", {} if two else {"logical_date": None})["dag_run_id"]
        while ask("GET", f"/dags/remote/dagRuns/{run}")["state"] in {"queued", "running"}:
            answers.pop()
        assert answers[-1][3]["state"] == "success"
        task = f"/dags/remote/dagRuns/{run}/taskInstances"
        assert [item["state"] for item in ask("GET", task)["task_instances"]] == ["success"]
        assert "done over there" in json.dumps(ask("GET", f"{task}/work/logs/1"))
        errors = ask("GET", "/importErrors")["import_errors"]
        assert ["nobody_has_this" in error["stack_trace"] for error in errors] == [True]
        assert ask("GET", "/dags/nobody")["detail"]
    assert validated(answers) == len(answers) >= 6
    assert re.fullmatch(r"https://[0-9a-f]{32}-dot-europe-west1\.composer\.googleusercontent\.com", found["airflowUri"])
