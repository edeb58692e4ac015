"""gcloud composer: environments and everything that an update can change; the beta surface; operations; snapshots."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import LOCATION

from ..test_artifact_registry import upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
HERE = f"--location={LOCATION}"
UPDATE = f"composer environments update dev {HERE}"
SERVICE = "google.cloud.orchestration.airflow.service.v1.Environments"


@pytest.fixture(scope="module")
def bucket(shared: Gcloud, http: requests.Session) -> str:
    """An environment `dev` whose one index is a private repository with two packages; the name of its bucket."""
    parent = f"projects/{shared.project}/locations/{LOCATION}"
    environment = f"{parent}/environments/dev"
    found = shared.sandbox.setup(environments=[environment])["environments"][environment]
    url = f"https://artifactregistry.googleapis.com/v1/{parent}/repositories?repositoryId=python"
    assert http.post(url, json={"format": "PYTHON"}, timeout=30).status_code == 200
    for name, version in (("acme-geo", "1.0"), ("acme-geo", "1.1"), ("acme.dots", "2.0")):
        assert upload(http, shared.project, name, version)[0] == 200
    index = f"[global]\nindex-url = https://{LOCATION}-python.pkg.dev/{shared.project}/python/simple/\n"
    http.post(
        f"https://storage.googleapis.com/upload/storage/v1/b/{found}/o?uploadType=media&name=config/pip/pip.conf",
        data=index,
        timeout=30,
    ).raise_for_status()
    return str(found)


@pytest.fixture
def environment(shared: Gcloud, bucket: str, http: requests.Session) -> Iterator[Callable[[], Any]]:
    """Reads the environment `dev`. Every test leaves it without packages, variables, overrides and labels."""
    url = f"https://composer.googleapis.com/v1/projects/{shared.project}/locations/{LOCATION}/environments/dev"

    def read() -> Any:
        answer = http.get(url, timeout=30)
        answer.raise_for_status()
        return answer.json()

    yield read
    left = read()
    kept = ("pypiPackages", "envVariables", "airflowConfigOverrides")
    assert not any(left["config"]["softwareConfig"].get(name) for name in kept), left
    assert not left.get("labels"), left
    assert left["state"] == "RUNNING"
    assert shared.sandbox.unused() == []


@pytest.fixture
def update(shared: Gcloud, http: requests.Session) -> Callable[..., None]:
    """Updates `dev` and waits for the end of the operation, by questions that come quicker than gcloud's."""

    def run(flags: str, *, track: str = "") -> None:
        name = shared(f"{track} {UPDATE} {flags} --async --format=value(name)").out.strip()
        url = f"https://composer.googleapis.com/v1/{name}"
        while not (operation := http.get(url, timeout=30).json()).get("done"):
            time.sleep(0.1)
        assert "error" not in operation, operation

    return run


def packages(environment: Any) -> Any:
    return environment["config"]["softwareConfig"].get("pypiPackages", {})


def test_an_environment_is_created_described_listed_and_deleted(gcloud: Gcloud, http: requests.Session) -> None:
    create = (
        f"composer environments create new {HERE} --image-version=composer-3-airflow-3 --environment-size=medium "
        "--labels=team=data --env-variables=MODE=fast --airflow-configs=core-parallelism=7"
    )
    assert "done." in gcloud(create).err
    described = gcloud.json(f"composer environments describe new {HERE}")
    software = described["config"]["softwareConfig"]
    assert described["state"] == "RUNNING"
    assert described["labels"] == {"team": "data"}
    assert described["config"]["environmentSize"] == "ENVIRONMENT_SIZE_MEDIUM"
    assert software["envVariables"] == {"MODE": "fast"}
    assert software["airflowConfigOverrides"] == {"core-parallelism": "7"}
    assert re.fullmatch(r"composer-3-airflow-3\.\d+\.\d+-build\.\d+", software["imageVersion"])
    table = gcloud(f"composer environments list --locations={LOCATION}").out
    assert re.search(rf"\bnew\b.*{LOCATION}.*RUNNING", table)
    assert f"ALREADY_EXISTS: Resource '{described['name']}' already exists" in gcloud.fails(create)

    assert "done." in gcloud(f"composer environments delete new {HERE}").err
    message = f"NOT_FOUND: Resource '{described['name']}' was not found"
    assert message in gcloud.fails(f"composer environments describe new {HERE}")
    bucket = described["storageConfig"]["bucket"]
    assert http.get(f"https://storage.googleapis.com/storage/v1/b/{bucket}", timeout=30).status_code == 200


def test_packages_are_set_one_by_one_replaced_from_a_file_removed_and_cleared(
    shared: Gcloud, environment: Callable[[], Any], update: Callable[..., None], tmp_path: Path
) -> None:
    update("--update-pypi-package=acme-geo==1.0 --update-pypi-package=acme.dots")
    assert packages(environment()) == {"acme-geo": "==1.0", "acme.dots": ""}
    listed = shared(f"composer environments list-packages dev {HERE}").out
    assert re.search(r"^acme-geo +1\.0$", listed, re.M)
    assert re.search(r"^acme[.-]dots +2\.0$", listed, re.M)

    assert "done." in shared(f"{UPDATE} --remove-pypi-packages=acme.dots --update-pypi-package=acme-geo>=1.1").err
    assert packages(environment()) == {"acme-geo": ">=1.1"}
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# ours\n\nacme.dots ==2.0\n")
    update(f"--update-pypi-packages-from-file={requirements}")
    assert packages(environment()) == {"acme.dots": "==2.0"}
    tree = shared(f"composer environments list-packages dev {HERE} --tree").out
    assert re.search(r"^acme[.-]dots==2\.0$", tree, re.M)
    assert "acme-geo" not in tree

    update("--clear-pypi-packages")
    assert packages(environment()) == {}


def test_a_failed_build_is_told_as_gcloud_tells_it_and_its_log_is_read(
    shared: Gcloud, environment: Callable[[], Any]
) -> None:
    refused = shared.fails(f"{UPDATE} --update-pypi-package=acme-geo==9.9")
    assert "ERROR: (gcloud.composer.environments.update) Error updating [projects/" in refused
    assert "failed: Failed to install Python packages." in refused
    assert "satisfies the requirement acme-geo==9.9 (from versions: 1.0, 1.1)" in refused
    assert f"https://console.cloud.google.com/composer/environments/detail/{LOCATION}/dev/logs?project=" in refused
    assert packages(environment()) == {}
    condition = (
        'resource.type="cloud_composer_environment" resource.labels.environment_name="dev" '
        'logName=~"projects/[^/]+/logs/build-log-" severity>=ERROR'
    )
    read = f"logging read '{condition}' --format=value(textPayload)"
    lines = shared(f"{read} --order=asc --freshness=1h").out
    assert "ERROR: No matching distribution found for acme-geo==9.9" in lines
    assert lines.rstrip().endswith("returned a non-zero code: 1")
    assert shared(f"{read} --limit=1").out.count("\n") == 1


def test_environment_variables_are_set_removed_and_cleared(
    shared: Gcloud, environment: Callable[[], Any], update: Callable[..., None]
) -> None:
    def variables() -> Any:
        return environment()["config"]["softwareConfig"].get("envVariables", {})

    update("--update-env-variables=MODE=fast,LEVEL=2")
    update("--update-env-variables=LEVEL=3 --remove-env-variables=MODE")
    assert variables() == {"LEVEL": "3"}
    reserved = shared.fails(f"{UPDATE} --update-env-variables=GCS_BUCKET=mine")
    assert "INVALID_ARGUMENT: Found 1 problem:" in reserved
    assert "1) Environment variables [GCS_BUCKET] may not be overridden." in reserved
    update("--clear-env-variables")
    assert variables() == {}


def test_overrides_of_airflows_configuration_reach_the_airflow(
    shared: Gcloud, environment: Callable[[], Any], update: Callable[..., None], http: requests.Session
) -> None:
    def overrides() -> Any:
        return environment()["config"]["softwareConfig"].get("airflowConfigOverrides", {})

    update("--update-airflow-configs=core-parallelism=7,email-from_email=a@example.com")
    update("--remove-airflow-configs=email-from_email")
    assert overrides() == {"core-parallelism": "7"}
    assert run_airflow(http, environment()["name"], "config", "get-value core parallelism") == ["7"]
    blocked = shared.fails(f"{UPDATE} --update-airflow-configs=core-executor=LocalExecutor")
    assert "INVALID_ARGUMENT: Found 1 problem:" in blocked
    assert "core-executor is blocked and cannot be overridden" in blocked
    assert overrides() == {"core-parallelism": "7"}
    update("--clear-airflow-configs")
    assert overrides() == {}


def run_airflow(http: requests.Session, environment: str, command: str, subcommand: str) -> list[str]:
    """What a command prints in an environment (gcloud 528 runs none on Airflow 3)."""
    url = f"https://composer.googleapis.com/v1/{environment}"
    started = http.post(
        f"{url}:executeAirflowCommand", json={"command": command, "subcommand": subcommand}, timeout=60
    ).json()
    asked = {"executionId": started["executionId"], "nextLineNumber": 1}
    while not (answer := http.post(f"{url}:pollAirflowCommand", json=asked, timeout=60).json()).get("outputEnd"):
        pass
    assert answer["exitInfo"] in ({}, {"exitCode": 0}), answer
    return [line["content"] for line in answer["output"] if not line["content"].startswith("[")]


def test_labels_are_set_removed_and_cleared_through_the_beta_surface(
    shared: Gcloud, environment: Callable[[], Any], update: Callable[..., None]
) -> None:
    update("--update-labels=team=data,stage=dev", track="beta")
    update("--remove-labels=stage", track="beta")
    assert environment()["labels"] == {"team": "data"}
    assert shared.json(f"beta composer environments describe dev {HERE}")["labels"] == {"team": "data"}
    listed = shared.json(f"beta composer environments list --locations={LOCATION}")
    assert [item["labels"] for item in listed] == [{"team": "data"}]
    update("--clear-labels", track="beta")
    assert "labels" not in environment()


def test_an_upgrade_is_checked_and_another_image_is_refused(shared: Gcloud, environment: Callable[[], Any]) -> None:
    check = f"composer environments check-upgrade dev {HERE} --image-version"
    answer = json.loads("{" + shared(f"{check}=composer-3-airflow-3 --format=json").out.partition("{")[2])
    assert answer["containsPypiModulesConflict"] == "NO_CONFLICT"
    assert answer["imageVersion"] == environment()["config"]["softwareConfig"]["imageVersion"]
    refused = shared.fails(f"{check}=composer-3-airflow-3.99.0")
    assert "INVALID_ARGUMENT: Found 1 problem:" in refused
    assert "is not one that this sandbox has" in refused
    assert shared.json(f"composer environments list-upgrades dev {HERE}") == []


def test_operations_are_listed_described_waited_for_and_deleted(
    shared: Gcloud, environment: Callable[[], Any], update: Callable[..., None]
) -> None:
    operation = shared.json(f"{UPDATE} --update-labels=a=b --async")["name"]
    shared(f"composer operations wait {operation}")
    described = shared.json(f"composer operations describe {operation}")
    assert described["done"] is True
    metadata = described["metadata"]
    assert (metadata["operationType"], metadata["resource"]) == ("UPDATE", environment()["name"])
    assert metadata["state"] in {"SUCCEEDED", "SUCCESSFUL"}
    newest = shared.json(f"composer operations list --locations={LOCATION} --limit=1")
    assert [item["name"] for item in newest] == [operation]
    shared(f"composer operations delete {operation}")
    assert f"NOT_FOUND: Operation '{operation}' was not found." in shared.fails(
        f"composer operations describe {operation}"
    )
    update("--clear-labels")


def test_a_snapshot_is_saved_and_brings_everything_back(
    shared: Gcloud, bucket: str, environment: Callable[[], Any], update: Callable[..., None], http: requests.Session
) -> None:
    objects = f"https://storage.googleapis.com/storage/v1/b/{bucket}/o"
    media = objects.replace("/storage/", "/upload/storage/", 1) + "?uploadType=media&name=dags/one.py"
    http.post(media, data="print(1)\n", timeout=30).raise_for_status()
    update("--update-pypi-package=acme-geo==1.0")
    saved = shared.json(f"composer environments snapshots save dev {HERE}")
    path = saved["snapshotPath"]
    place = rf"gs://{bucket}/snapshots/{shared.project}_{LOCATION}_dev_[0-9T-]+"
    assert re.fullmatch(place, path)

    update("--clear-pypi-packages")
    http.delete(f"{objects}/dags%2Fone.py", timeout=30).raise_for_status()
    load = f"composer environments snapshots load dev {HERE} --snapshot-path"
    shared(f"{load}={path}")
    assert packages(environment()) == {"acme-geo": "==1.0"}
    assert http.get(f"{objects}/dags%2Fone.py?alt=media", timeout=30).text == "print(1)\n"

    update("--clear-pypi-packages")
    shared(f"{load}={path} --skip-pypi-packages-installation --skip-gcs-data-copying")
    assert packages(environment()) == {}
    assert f"There is no snapshot at gs://{bucket}/nowhere." in shared.fails(f"{load}=gs://{bucket}/nowhere")
    elsewhere = shared.fails(f"composer environments snapshots save dev {HERE} --snapshot-location=gs://no-such-bucket")
    assert "NOT_FOUND: The specified bucket does not exist." in elsewhere


def test_what_google_refuses_changes_nothing_and_has_googles_words(
    shared: Gcloud, environment: Callable[[], Any]
) -> None:
    name, no_change = environment()["name"], "INVALID_ARGUMENT: No change in configuration. Must specify a change to "
    before = environment()["updateTime"]
    for command, message in (
        (f"{UPDATE} --clear-pypi-packages", f"{no_change}configuration.software_configuration.pypi_dependencies"),
        (f"{UPDATE} --remove-pypi-packages=numpy", "software_configuration.pypi_dependencies.numpy"),
        (f"{UPDATE} --clear-labels", f"{no_change}configuration.labels"),
        (
            f"composer environments update missing {HERE} --update-labels=a=b",
            f"NOT_FOUND: Resource '{name.replace('/dev', '/missing')}' was not found",
        ),
        (f"{UPDATE} --update-labels=a=b --update-pypi-package=x", "Exactly one of"),
    ):
        assert message in shared.fails(command), command
    grants = [f"user:viewer@example.com=roles/composer.user@projects/{shared.project}"]
    grants.append(f"user:roller@example.com=roles/composer.admin@projects/{shared.project}")
    shared.sandbox.setup(grants=grants)
    account = f"dev-sa@{shared.project}.iam.gserviceaccount.com"
    url = f"https://composer.googleapis.com/v1/{name}?updateMask=labels"
    for email, missing in (
        ("viewer@example.com", "The caller does not have permission"),
        ("roller@example.com", f"Permission 'iam.serviceaccounts.actAs' denied on service account {account}"),
    ):
        # gcloud has words of its own for a 403 here, and keeps Google's to itself.
        refused = shared.as_(email).fails(f"{UPDATE} --update-labels=a=b")
        assert "Update operation failed because of lack of proper permissions. Please, refer to https://" in refused
        with shared.sandbox.session(email) as session:
            answer = session.patch(url, json={"labels": {"a": "b"}}, timeout=30)
        assert (answer.status_code, missing in answer.text) == (403, True), answer.text
    assert environment()["updateTime"] == before


def test_a_second_update_has_to_wait_for_the_first(shared: Gcloud, environment: Callable[[], Any]) -> None:
    shared.sandbox.fault(f"{SERVICE}.UpdateEnvironment", kind="failed_operation", message="Not today.")
    shared.sandbox.post("/sandbox/time", {"operation_seconds": 4})
    try:
        operation = shared.json(f"{UPDATE} --update-labels=a=b --async")["name"]
        busy = shared.fails(f"{UPDATE} --update-labels=c=d")
    finally:
        shared.sandbox.post("/sandbox/time", {"operation_seconds": 0})
    text = "Cannot update environment in state UPDATING. Environment must be in RUNNING state."
    assert f"FAILED_PRECONDITION: {text}" in busy
    failed = shared.fails(f"composer operations wait {operation}")
    assert f"Operation [{operation}] failed: Not today." in failed
    assert environment()["state"] == "RUNNING"


def test_a_patch_is_sent_again_after_503_and_not_after_429(
    shared: Gcloud, environment: Callable[[], Any], update: Callable[..., None]
) -> None:
    method = "UpdateEnvironment"
    shared.sandbox.fault(f"{SERVICE}.{method}", status=503, times=2)
    mark = shared.since()
    shared(f"{UPDATE} --update-labels=a=b")
    assert [status for name, status in shared.calls(mark) if name == method] == [503, 503, 200]
    shared.sandbox.fault(f"{SERVICE}.{method}", status=429, message="Quota exceeded.")
    mark = shared.since()
    assert "RESOURCE_EXHAUSTED: Quota exceeded." in shared.fails(f"{UPDATE} --clear-labels")
    assert [status for name, status in shared.calls(mark) if name == method] == [429]
    assert environment()["labels"] == {"a": "b"}
    update("--clear-labels")


def test_a_patch_whose_answer_was_lost_is_refused_the_second_time(
    shared: Gcloud, environment: Callable[[], Any], update: Callable[..., None]
) -> None:
    """What gcloud shows then is an error, though the first try did its work."""
    shared.sandbox.fault(f"{SERVICE}.UpdateEnvironment", kind="lost_answer")
    refused = shared.fails(f"{UPDATE} --update-labels=a=b")
    assert "INVALID_ARGUMENT: No change in configuration." in refused or "in state UPDATING" in refused
    assert environment()["labels"] == {"a": "b"}
    update("--clear-labels")
