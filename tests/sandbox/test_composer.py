"""Composer's API: masks, states, errors, and updates that really build."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.orchestration.airflow import service_v1 as composer
from google.oauth2.credentials import Credentials

from tests.conftest import LOCATION, Running

from .test_artifact_registry import CALLER

PACKAGES = "config.software_config.pypi_packages"
VARIABLES = "config.software_config.env_variables"


@pytest.fixture
def environment(sandbox: Running, project: str) -> str:
    name = f"projects/{project}/locations/{LOCATION}/environments/dev"
    sandbox.setup(environments=[name])
    return name


@pytest.fixture(params=["grpc", "rest"])
def client(google_: Running, request: pytest.FixtureRequest) -> composer.EnvironmentsClient:
    return composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER)), transport=request.param)


def update(
    client: composer.EnvironmentsClient, name: str, paths: list[str], config: dict[str, Any], **fields: Any
) -> Any:
    environment = {"config": {"software_config": config}, **fields}
    return client.update_environment({"name": name, "environment": environment, "update_mask": {"paths": paths}})


def test_an_environment_looks_like_googles(client: composer.EnvironmentsClient, environment: str, project: str) -> None:
    found = client.get_environment(name=environment)
    assert found.state == composer.Environment.State.RUNNING
    assert found.config.dag_gcs_prefix == f"gs://{found.storage_config.bucket}/dags"
    assert found.config.software_config.image_version.startswith("composer-3-airflow-")
    assert found.config.airflow_uri.endswith(f"-dot-{LOCATION}.composer.googleusercontent.com")
    assert found.config.node_config.service_account == f"dev-sa@{project}.iam.gserviceaccount.com"
    parent = environment.rpartition("/environments/")[0]
    assert [item.name for item in client.list_environments(parent=parent)] == [environment]
    with pytest.raises(exceptions.NotFound, match="was not found"):
        client.get_environment(name=environment + "-no")


def test_labels_and_variables_change_without_a_build(client: composer.EnvironmentsClient, environment: str) -> None:
    update(client, environment, ["labels"], {}, labels={"team": "data"}).result(timeout=30)
    update(client, environment, ["labels.stage", "labels.team"], {}, labels={"stage": "dev"}).result(timeout=30)
    update(client, environment, [VARIABLES], {"env_variables": {"MY_VAR": "1"}}).result(timeout=30)
    found = client.get_environment(name=environment)
    assert dict(found.labels) == {"stage": "dev"}
    assert dict(found.config.software_config.env_variables) == {"MY_VAR": "1"}


BAD = [
    ([], {}, "Request must not contain an empty update_mask"),
    ([PACKAGES, VARIABLES], {}, "Only one type of update is allowed"),
    ([PACKAGES, f"{PACKAGES}.a"], {}, "must not contain both"),
    (
        [PACKAGES],
        {},
        r"No change in configuration. Must specify a change to configuration.software_configuration.pypi_dependencies$",
    ),
    ([f"{PACKAGES}.numpy"], {}, r"pypi_dependencies.numpy$"),
    ([PACKAGES], {"pypi_packages": {"-r": ""}}, "must follow the format of 'identifier' specified in PEP-508"),
    ([PACKAGES], {"pypi_packages": {"a": "@ https://x"}}, "Error validating value"),
    ([PACKAGES], {"pypi_packages": {"a": "==1; python_version>'3'"}}, "Error validating value"),
    ([VARIABLES], {"env_variables": {"AIRFLOW__CORE__X": "1"}}, "may not be overridden"),
    (
        ["config.software_config.airflow_config_overrides.core-executor"],
        {"airflow_config_overrides": {"core-executor": "LocalExecutor"}},
        "core-executor is blocked",
    ),
    (
        ["config.software_config.airflow_config_overrides"],
        {"airflow_config_overrides": {"core": "1"}},
        "are named SECTION-PROPERTY",
    ),
    ([f"{VARIABLES}.A"], {"env_variables": {"A": "1"}}, "can only be replaced"),
    (["labels.Team"], {"labels": {"Team": "a"}}, "Label key Team is not valid"),
    (["labels.a"], {"labels": {"a": "B C"}}, "Label value B C is not valid"),
    (["labels"], {"labels": {f"a{n}": "" for n in range(65)}}, "at most 64 labels"),
    (["config.nothing"], {}, "unknown field"),
]


@pytest.mark.parametrize(("paths", "config", "message"), BAD)
def test_a_bad_update_is_refused_and_changes_nothing(
    google_: Running, environment: str, paths: list[str], config: dict[str, Any], message: str
) -> None:
    client = composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER)))
    fields = {name: config[name] for name in ("labels",) if name in config}
    software = {name: value for name, value in config.items() if name not in fields}
    with pytest.raises(exceptions.InvalidArgument) as caught:
        update(client, environment, paths, software, **fields)
    assert re.search(message, caught.value.message), caught.value.message
    assert client.get_environment(name=environment).state == composer.Environment.State.RUNNING


def test_an_update_that_is_not_played_says_so(google_: Running, environment: str) -> None:
    client = composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER)))
    with pytest.raises(exceptions.MethodNotImplemented, match=r"config\.node_count"):
        update(client, environment, ["config.node_count"], {})


def test_an_update_needs_the_role_and_the_right_to_act_as_the_service_account(
    google_: Running, environment: str, project: str
) -> None:
    google_.setup(grants=[f"user:viewer@example.com=roles/composer.user@projects/{project}"])
    google_.setup(grants=[f"user:roller@example.com=roles/composer.admin@projects/{project}"])
    for email, message in (("viewer@example.com", "does not have permission"), ("roller@example.com", "actAs")):
        client = composer.EnvironmentsClient(credentials=Credentials(google_.token(email)))
        assert client.get_environment(name=environment).name == environment
        with pytest.raises(exceptions.PermissionDenied, match=message):
            update(client, environment, ["labels"], {}, labels={"a": "b"})
    account = f"projects/{project}/serviceAccounts/dev-sa@{project}.iam.gserviceaccount.com"
    google_.setup(grants=[f"user:roller@example.com=roles/iam.serviceAccountUser@{account}"])
    update(client, environment, ["labels"], {}, labels={"a": "b"}).result(timeout=30)


@pytest.mark.slow
def test_a_failed_build_keeps_everything_and_a_second_update_has_to_wait(
    google_: Running, environment: str, project: str
) -> None:
    client = composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER)))
    wanted = {"pypi_packages": {"no-such-package-anywhere-2718": "==1"}}
    operation = update(client, environment, [f"{PACKAGES}.no-such-package-anywhere-2718"], wanted)
    assert client.get_environment(name=environment).state == composer.Environment.State.UPDATING
    with pytest.raises(exceptions.FailedPrecondition) as busy:
        update(client, environment, ["labels"], {}, labels={"a": "b"})
    text = "Cannot update environment in state UPDATING. Environment must be in RUNNING state."
    assert busy.value.message == text
    name = operation.operation.name
    listed = client.list_operations({"name": environment.rpartition("/environments/")[0]}).operations
    assert listed[0].name == name
    with pytest.raises(exceptions.InvalidArgument) as failed:
        operation.result(timeout=120)
    assert failed.value.message.startswith("Failed to install Python packages. \nCould not find a version")
    assert (
        "They can be found in the Environment logs https://console.cloud.google.com/composer/" in failed.value.message
    )
    found = client.get_environment(name=environment)
    assert found.state == composer.Environment.State.RUNNING
    assert dict(found.config.software_config.pypi_packages) == {}
    metadata = composer.OperationMetadata()
    client.get_operation({"name": name}).metadata.Unpack(composer.OperationMetadata.pb(metadata))
    assert metadata.state == composer.OperationMetadata.State.FAILED
    assert metadata.resource == environment


def test_gclouds_way_of_writing_a_mask_is_read(sandbox: Running, environment: str) -> None:
    mask = "config.software_config.env_variables"
    url = f"https://composer.googleapis.com/v1beta1/{environment}"
    with sandbox.session(CALLER) as session:
        body = {"config": {"softwareConfig": {"envVariables": {"A.B_c": "1"}}}}
        answer = session.patch(url, params={"updateMask": mask, "alt": "json"}, json=body, timeout=30)
        assert answer.status_code == 400
        assert "A.B_c" in answer.text
        body = {"config": {"softwareConfig": {"envVariables": {"A_c": "1"}}}}
        answer = session.patch(url, params={"updateMask": mask, "alt": "json"}, json=body, timeout=30)
        operation = answer.json()["name"]
        while not (now := session.get(f"https://composer.googleapis.com/v1beta1/{operation}", timeout=30).json()).get(
            "done"
        ):
            time.sleep(0.05)
        assert now["response"]["config"]["softwareConfig"]["envVariables"] == {"A_c": "1"}
        assert "state" not in now["response"]


def test_environments_are_created_and_deleted(google_: Running, project: str) -> None:
    client = composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER)))
    parent = f"projects/{project}/locations/{LOCATION}"
    name = f"{parent}/environments/fresh"
    made = client.create_environment(parent=parent, environment={"name": name, "labels": {"a": "b"}}).result(timeout=60)
    assert made.name == name
    assert client.get_environment(name=name).state == composer.Environment.State.RUNNING
    with pytest.raises(exceptions.AlreadyExists):
        client.create_environment(parent=parent, environment={"name": name})
    client.delete_environment(name=name).result(timeout=60)
    with pytest.raises(exceptions.NotFound):
        client.get_environment(name=name)


def test_the_image_version_is_the_one_that_environments_have(google_: Running, environment: str) -> None:
    credentials = Credentials(google_.token(CALLER))
    parent = environment.rpartition("/environments/")[0]
    versions = list(composer.ImageVersionsClient(credentials=credentials).list_image_versions(parent=parent))
    found = composer.EnvironmentsClient(credentials=credentials).get_environment(name=environment)
    assert [item.image_version_id for item in versions] == [found.config.software_config.image_version]
    assert versions[0].supported_python_versions


def test_airflow_is_open_to_those_who_may(sandbox: Running, environment: str, project: str) -> None:
    with sandbox.session(CALLER) as session:
        uri = session.get(f"https://composer.googleapis.com/v1/{environment}", timeout=30).json()["config"][
            "airflowUri"
        ]
    with sandbox.session() as session:
        assert session.get(f"{uri}/api/v2/dags", timeout=30).status_code == 401
    with sandbox.session("stranger@example.com") as session:
        assert session.get(f"{uri}/api/v2/dags", timeout=30).status_code == 403
