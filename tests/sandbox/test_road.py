"""The whole road with Google's own clients and twine: publish, point, update, list, read logs, run a DAG."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import google.auth
import pytest
from google.cloud import artifactregistry_v1 as ar
from google.cloud import storage
from google.cloud.orchestration.airflow import service_v1 as composer
from google.iam.v1 import policy_pb2

from tests.airflows import AIRFLOW, API, NEW_RUN
from tests.conftest import LOCATION, Running, wheel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
DAG = """
from datetime import datetime
from airflow import DAG
try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    from airflow.operators.python import PythonOperator

def say():
    import acme_geo
    print("acme_geo says", acme_geo.distance())

with DAG("say_distance", schedule=None, start_date=datetime(2026, 1, 1)):
    PythonOperator(task_id="say", python_callable=say)
"""


def patch(client: composer.EnvironmentsClient, name: str, packages: dict[str, str]) -> composer.Environment:
    environment = composer.Environment(
        config=composer.EnvironmentConfig(software_config=composer.SoftwareConfig(pypi_packages=packages))
    )
    paths = [f"config.software_config.pypi_packages.{key}" for key in packages]
    return client.update_environment(name=name, environment=environment, update_mask={"paths": paths}).result(
        timeout=200
    )


def test_a_private_wheel_reaches_an_environment_and_a_dag_there_uses_it(
    google_: Running, parent: str, project: str, tmp_path: Path
) -> None:
    other = f"{project}-env"
    environment = f"projects/{other}/locations/{LOCATION}/environments/dev"
    bucket_name = google_.setup(environments=[environment])["environments"][environment]
    registry, environments = ar.ArtifactRegistryClient(), composer.EnvironmentsClient()
    repository = f"{parent}/repositories/python"
    registry.create_repository(
        parent=parent, repository_id="python", repository=ar.Repository(format_=ar.Repository.Format.PYTHON)
    ).result()

    filename, content = wheel("acme-geo", "1.0.0", module="def distance():\n    return 314.4\n")
    (tmp_path / filename).write_bytes(content)
    credentials, _ = google.auth.default()
    credentials.refresh(google.auth.transport.requests.Request())
    upload = google_.run(
        *(sys.executable, "-m", "twine", "upload", "--non-interactive", "--verbose"),
        *("--repository-url", f"https://{LOCATION}-python.pkg.dev/{project}/python/", str(tmp_path / filename)),
        TWINE_USERNAME="oauth2accesstoken",
        TWINE_PASSWORD=credentials.token,
    )
    assert upload.returncode == 0, upload.stdout + upload.stderr

    bucket = storage.Client(project=other).bucket(bucket_name)
    index = f"[global]\nextra-index-url = https://{LOCATION}-python.pkg.dev/{project}/python/simple/\n"
    bucket.blob("config/pip/pip.conf").upload_from_string(index, if_generation_match=0)

    # Not allowed yet: the environment's service account is of another project.
    with pytest.raises(Exception, match="Failed to install Python packages") as caught:
        patch(environments, environment, {"acme-geo": "==1.0.0"})
    assert "Could not find a version that satisfies the requirement acme-geo==1.0.0" in str(caught.value)
    assert environments.get_environment(name=environment).config.software_config.pypi_packages == {}

    account = environments.get_environment(name=environment).config.node_config.service_account
    policy = registry.get_iam_policy({"resource": repository})
    policy.bindings.append(
        policy_pb2.Binding(role="roles/artifactregistry.reader", members=[f"serviceAccount:{account}"])
    )
    registry.set_iam_policy({"resource": repository, "policy": policy})
    patch(environments, environment, {"acme-geo": "==1.0.0"})
    found = environments.get_environment(name=environment)
    assert dict(found.config.software_config.pypi_packages) == {"acme-geo": "==1.0.0"}
    assert found.state == composer.Environment.State.RUNNING

    assert any(
        line.split() == ["acme-geo", "1.0.0"]
        for line in command(environments, environment, "list-packages", "pip list")
    )
    assert AIRFLOW in "".join(command(environments, environment, "version", ""))

    session = google_.session("caller@sandbox-tests.iam.gserviceaccount.com")
    bucket.blob("dags/say_distance.py").upload_from_string(DAG)
    api = f"{found.config.airflow_uri}{API}"
    answer = session.post(f"{api}/dags/say_distance/dagRuns", json={**NEW_RUN, "conf": {}}, timeout=120)
    assert answer.status_code == 200, answer.text
    run = answer.json()["dag_run_id"]
    deadline = time.monotonic() + 120
    while (state := session.get(f"{api}/dags/say_distance/dagRuns/{run}", timeout=60).json()["state"]) in {
        "queued",
        "running",
    }:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert state == "success"
    log = session.get(f"{api}/dags/say_distance/dagRuns/{run}/taskInstances/say/logs/1", timeout=60)
    assert "acme_geo says 314.4" in log.text

    query = {
        "resourceNames": [f"projects/{other}"],
        "filter": 'resource.type="cloud_composer_environment" resource.labels.environment_name="dev"\n'
        'logName=~"projects/[^/]+/logs/build-log-" AND textPayload:"No matching distribution"',
        "orderBy": "timestamp desc",
    }
    entries = session.post("https://logging.googleapis.com/v2/entries:list", json=query, timeout=30).json()["entries"]
    assert entries[0]["resource"]["labels"] == {"project_id": other, "location": LOCATION, "environment_name": "dev"}
    session.close()


def command(client: composer.EnvironmentsClient, environment: str, name: str, subcommand: str) -> list[str]:
    started = client.execute_airflow_command({"environment": environment, "command": name, "subcommand": subcommand})
    lines: list[str] = []
    for _ in range(120):
        answer = client.poll_airflow_command(
            {"environment": environment, "execution_id": started.execution_id, "next_line_number": len(lines) + 1}
        )
        lines += [line.content for line in answer.output]
        if answer.output_end:
            assert answer.exit_info.exit_code == 0, lines
            return lines
        time.sleep(0.5)
    raise AssertionError("the command did not end")
