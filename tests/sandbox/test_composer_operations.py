"""Composer's operations: how long they take, how they fail or never end, and the commands that run beside them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import google.auth.transport.requests
import psutil
import pytest
from google.api_core import exceptions
from google.auth import compute_engine
from google.cloud.orchestration.airflow import service_v1 as composer
from google.oauth2.credentials import Credentials

from tests.airflows import IMAGE
from tests.conftest import LOCATION, Running

from .test_artifact_registry import CALLER
from .test_composer import update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Metadata = composer.OperationMetadata
State = composer.Environment.State
UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"
CREATE = "google.cloud.orchestration.airflow.service.v1.Environments.CreateEnvironment"
GET = "google.cloud.orchestration.airflow.service.v1.Environments.GetEnvironment"


@pytest.fixture
def clock(sandbox: Running) -> Iterator[Callable[..., Any]]:
    """Sets the clock, which is virtual here; afterwards it is the wall clock again."""
    sandbox.post("/sandbox/time", {"virtual": True})
    yield lambda **value: sandbox.post("/sandbox/time", value)
    sandbox.post("/sandbox/time", {"virtual": False, "operation_seconds": 0})


@pytest.fixture
def world(google_: Running, project: str) -> tuple[composer.EnvironmentsClient, str]:
    """A client and the name of an environment."""
    environment = f"projects/{project}/locations/{LOCATION}/environments/dev"
    google_.setup(environments=[environment])
    return composer.EnvironmentsClient(credentials=Credentials(google_.token(CALLER))), environment


def label(client: composer.EnvironmentsClient, environment: str, value: str = "data") -> str:
    """Start the quickest of updates; the operation's name."""
    return str(update(client, environment, ["labels"], {}, labels={"team": value}).operation.name)


def metadata_of(client: composer.EnvironmentsClient, operation: str) -> Any:
    metadata = Metadata()
    client.get_operation({"name": operation}).metadata.Unpack(Metadata.pb(metadata))
    return metadata


def test_an_operation_takes_a_set_time_of_a_virtual_clock_and_timestamps_follow_it(
    world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    client, environment = world
    before = datetime.fromisoformat(clock(operation_seconds=1200)["now"].replace("Z", "+00:00"))
    operation = label(client, environment)
    clock(advance=1199)
    assert client.get_operation({"name": operation}).done is False
    found = client.get_environment(name=environment)
    assert (found.state, dict(found.labels)) == (State.UPDATING, {})
    clock(advance=3600)
    assert client.get_operation({"name": operation}).done is True
    found = client.get_environment(name=environment)
    assert (found.state, dict(found.labels)) == (State.RUNNING, {"team": "data"})
    metadata = metadata_of(client, operation)
    assert metadata.state == Metadata.State.SUCCESSFUL
    # The clock was moved far beyond the end: the operation ended at its own time all the same.
    assert (metadata.create_time - before, metadata.end_time - before) == (timedelta(0), timedelta(seconds=1200))
    assert found.update_time - before == timedelta(seconds=1200)


def test_advancing_waits_for_the_work_that_is_due(
    world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    """Creating an image takes the machine a while, and nobody has to poll for it."""
    client, environment = world
    name = environment.replace("dev", "second")
    parent = environment.rpartition("/environments/")[0]
    clock(operation_seconds=0.001)
    operation = client.create_environment(parent=parent, environment={"name": name}).operation.name
    assert client.get_environment(name=name).state == State.CREATING
    with pytest.raises(exceptions.FailedPrecondition, match="Cannot update environment in state CREATING"):
        label(client, name)
    with pytest.raises(exceptions.FailedPrecondition, match="in state CREATING"):
        client.execute_airflow_command({"environment": name, "command": "version"})
    clock(advance=0.001)
    assert client.get_operation({"name": operation}).done is True
    assert client.get_environment(name=name).state == State.RUNNING


def test_an_operation_takes_a_set_time_of_the_wall_clock(
    world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    client, environment = world
    clock(virtual=False, operation_seconds=0.6)
    start = time.monotonic()
    operation = update(client, environment, ["labels"], {}, labels={"team": "data"})
    operation.result(timeout=30)
    assert time.monotonic() - start >= 0.6
    metadata = metadata_of(client, operation.operation.name)
    assert metadata.end_time - metadata.create_time >= timedelta(seconds=0.6)


def test_the_clock_is_shown_and_nonsense_is_refused(sandbox: Running, clock: Callable[..., Any]) -> None:
    shown = clock(operation_seconds=5, build_timeout_seconds=2100)
    assert (shown["virtual"], shown["operation_seconds"], shown["build_timeout_seconds"]) == (True, 5.0, 2100.0)
    assert sandbox.get("/sandbox/time") == shown
    answer = sandbox.own.post(f"http://127.0.0.1:{sandbox.port}/sandbox/time", json={"speed": 2}, timeout=30)
    assert (answer.status_code, "operation_seconds" in answer.json()["error"]) == (400, True)


def test_the_clock_stands_at_a_moment_of_the_past(sandbox: Running, clock: Callable[..., Any]) -> None:
    assert clock(at="2026-01-02T03:04:05Z")["now"] == "2026-01-02T03:04:05.000000Z"
    assert clock(advance=1)["now"] == "2026-01-02T03:04:06.000000Z"
    clock(virtual=False)
    for value, why in (
        ({"at": "2026-01-02T03:04:05Z"}, "Only a virtual clock"),
        ({"virtual": True, "at": "yesterday"}, "at is a moment"),
        ({"virtual": True, "at": "2026-01-02T03:04:05"}, "at is a moment"),
    ):
        answer = sandbox.own.post(f"http://127.0.0.1:{sandbox.port}/sandbox/time", json=value, timeout=30)
        assert (answer.status_code, why in answer.json()["error"]) == (400, True)
    assert sandbox.get("/sandbox/time")["virtual"] is False


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_an_operation_fails_on_request_and_nothing_has_changed(
    sandbox: Running, world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any], kind: str
) -> None:
    _, environment = world
    client = composer.EnvironmentsClient(credentials=Credentials(sandbox.token(CALLER)), transport=kind)
    clock(operation_seconds=600)
    sandbox.fault(UPDATE, kind="failed_operation", message="Some of the GKE pods failed to become healthy.")
    with pytest.raises(exceptions.BadRequest):
        update(client, environment, [], {})  # starts no operation
    assert [fault["kind"] for fault in sandbox.unused()] == ["failed_operation"]
    failing = update(client, environment, ["labels"], {}, labels={"team": "data"})
    assert sandbox.unused() == []
    clock(advance=599)
    assert client.get_environment(name=environment).state == State.UPDATING
    clock(advance=1)
    with pytest.raises(exceptions.GoogleAPICallError, match="Some of the GKE pods failed") as caught:
        failing.result(timeout=30)
    assert isinstance(caught.value, exceptions.InvalidArgument)
    found = client.get_environment(name=environment)
    assert (found.state, dict(found.labels)) == (State.RUNNING, {})
    assert metadata_of(client, failing.operation.name).state == Metadata.State.FAILED


def test_a_creation_that_fails_leaves_an_environment_in_error(
    sandbox: Running, world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    client, environment = world
    name = environment.replace("dev", "broken")
    sandbox.fault(CREATE, kind="failed_operation", status=500, message="Creating the cluster failed.")
    parent = environment.rpartition("/environments/")[0]
    operation = client.create_environment(parent=parent, environment={"name": name}).operation.name
    clock(advance=0)
    error = client.get_operation({"name": operation}).error
    assert (error.code, error.message) == (13, "Creating the cluster failed.")
    assert client.get_environment(name=name).state == State.ERROR
    with pytest.raises(exceptions.FailedPrecondition, match="in state ERROR"):
        label(client, name)
    with sandbox.session(CALLER) as session:
        uri = client.get_environment(name=name).config.airflow_uri
        assert session.get(f"{uri}/api/v2/dags", timeout=30).status_code == 503


def test_a_stuck_operation_never_ends_and_keeps_its_environment(
    sandbox: Running, world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    client, environment = world
    sandbox.fault(UPDATE, kind="stuck_operation")
    operation = label(client, environment)
    clock(advance=7 * 86400)
    assert client.get_operation({"name": operation}).done is False
    assert metadata_of(client, operation).state == Metadata.State.RUNNING
    with pytest.raises(exceptions.FailedPrecondition, match="Cannot update environment in state UPDATING"):
        label(client, environment)
    with pytest.raises(exceptions.FailedPrecondition, match="Cannot delete environment in state UPDATING"):
        client.delete_environment(name=environment)


def test_an_expired_token_is_refused_until_the_client_asks_for_another(
    sandbox: Running, world: tuple[composer.EnvironmentsClient, str]
) -> None:
    client, environment = world
    sandbox.fault(GET, kind="token_expiry")
    with pytest.raises(exceptions.Unauthenticated, match="invalid authentication credentials"):
        client.get_environment(name=environment)
    with pytest.raises(exceptions.Unauthenticated):
        client.get_environment(name=environment)  # it holds on to its old token
    fresh = composer.EnvironmentsClient(credentials=Credentials(sandbox.token(CALLER)))
    assert fresh.get_environment(name=environment).name == environment
    credentials = compute_engine.Credentials()
    with google.auth.transport.requests.AuthorizedSession(credentials) as session:
        url = f"https://composer.googleapis.com/v1/{environment}"
        assert session.get(url, timeout=30).status_code == 200
        old = credentials.token
        sandbox.fault(GET, kind="token_expiry")
        assert session.get(url, timeout=30).status_code == 200  # google-auth took a new one by itself
        assert credentials.token != old
    assert sandbox.unused() == []


def test_a_finished_operation_can_be_deleted_and_a_running_one_cannot(
    world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    client, environment = world
    clock(operation_seconds=60)
    operation = label(client, environment)
    with pytest.raises(exceptions.FailedPrecondition, match="not done"):
        client.delete_operation({"name": operation})
    clock(advance=60)
    client.delete_operation({"name": operation})
    with pytest.raises(exceptions.NotFound):
        client.get_operation({"name": operation})
    parent = environment.rpartition("/environments/")[0]
    assert [item.name for item in client.list_operations({"name": parent}).operations] == []


def test_operations_are_listed_with_the_newest_first_and_in_pages(
    world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    client, environment = world
    made = []
    for value in ("a", "b", "c"):
        made.append(label(client, environment, value))
        clock(advance=1)
    parent = environment.rpartition("/environments/")[0]
    first = client.list_operations({"name": parent, "page_size": 2})
    second = client.list_operations({"name": parent, "page_size": 2, "page_token": first.next_page_token})
    assert [item.name for item in [*first.operations, *second.operations]] == made[::-1]


@pytest.mark.slow
def test_an_upgrade_is_checked_by_a_build_that_changes_nothing(
    world: tuple[composer.EnvironmentsClient, str], clock: Callable[..., Any]
) -> None:
    client, environment = world
    clock(operation_seconds=300)
    alias = client.get_environment(name=environment).config.software_config.image_version.partition("-build")[0]
    with pytest.raises(exceptions.InvalidArgument, match="is not one that this sandbox has"):
        client.check_upgrade({"environment": environment, "image_version": "composer-3-airflow-1.10"})
    check = client.check_upgrade({"environment": environment, "image_version": alias})
    assert metadata_of(client, check.operation.name).operation_type == Metadata.Type.CHECK
    with pytest.raises(exceptions.FailedPrecondition, match="Cannot update environment in state UPDATING"):
        label(client, environment)
    clock(advance=300)
    answer = check.result(timeout=30)
    assert answer.image_version == f"{alias}-build.0"
    assert answer.contains_pypi_modules_conflict == composer.CheckUpgradeResponse.ConflictResult.NO_CONFLICT
    assert (dict(answer.pypi_dependencies), answer.pypi_conflict_build_log_extract) == ({}, "")
    assert answer.build_log_uri.startswith("https://console.cloud.google.com/composer/environments/detail/")
    assert client.get_environment(name=environment).state == State.RUNNING


def test_who_may_not_update_may_not_check_an_upgrade(
    sandbox: Running, world: tuple[composer.EnvironmentsClient, str]
) -> None:
    _, environment = world
    project = environment.split("/")[1]
    for role, message in (("composer.user", "does not have permission"), ("composer.admin", "actAs")):
        email = f"{role.partition('.')[2]}@example.com"
        sandbox.setup(grants=[f"user:{email}=roles/{role}@projects/{project}"])
        client = composer.EnvironmentsClient(credentials=Credentials(sandbox.token(email)))
        with pytest.raises(exceptions.PermissionDenied, match=message):
            client.check_upgrade({"environment": environment, "image_version": IMAGE})


@pytest.mark.slow
@pytest.mark.parametrize(("force", "code"), [(False, 143), (True, 137)])
def test_a_command_is_stopped_by_the_signal_that_was_asked_for(
    world: tuple[composer.EnvironmentsClient, str], project: str, force: bool, code: int
) -> None:
    client, environment = world
    parameters = ["core", project]  # a name that finds the process
    request = {"environment": environment, "command": "config", "subcommand": "get-value", "parameters": parameters}
    command = {
        "environment": environment,
        "execution_id": client.execute_airflow_command(request).execution_id,
    }
    deadline = time.monotonic() + 60
    while not running(project):
        assert client.poll_airflow_command(command).output_end is False
        assert time.monotonic() < deadline
    stopped = client.stop_airflow_command({**command, "force": force})
    assert running(project) == []
    assert (stopped.is_done, list(stopped.output)) == (True, [f"The command was stopped, with exit code {code}."])
    polled = client.poll_airflow_command({**command, "next_line_number": 1})
    assert (polled.output_end, polled.exit_info.exit_code) == (True, code)
    again = client.stop_airflow_command(command)
    assert list(again.output) == [f"The command has ended already, with exit code {code}."]
    with pytest.raises(exceptions.NotFound):
        client.stop_airflow_command({**command, "execution_id": "nobody"})


def running(word: str) -> list[int]:
    """The processes that have a word among their arguments."""
    return [process.pid for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or [])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("subcommand", "pattern"),
    [("pip list", r"apache-airflow +\d"), ("pipdeptree", r"[├└]── apache-airflow \[required: .*, installed: \d")],
)
def test_list_packages_as_a_list_and_as_a_tree(
    world: tuple[composer.EnvironmentsClient, str], subcommand: str, pattern: str
) -> None:
    client, environment = world
    code, lines = command_output(client, environment, "list-packages", subcommand)
    assert code == 0, lines
    assert any(re.match(pattern, text) for text in lines), lines[:20]


def command_output(
    client: composer.EnvironmentsClient, environment: str, command: str, subcommand: str
) -> tuple[int, list[str]]:
    """Run a command to its end as gcloud does: from line to line."""
    request = {"environment": environment, "command": command, "subcommand": subcommand}
    started = client.execute_airflow_command(request)
    asked = {"environment": environment, "execution_id": started.execution_id, "pod": started.pod}
    lines: list[str] = []
    deadline = time.monotonic() + 60
    while True:
        answer = client.poll_airflow_command({**asked, "next_line_number": len(lines) + 1})
        lines += [item.content for item in answer.output]
        if answer.output_end:
            return answer.exit_info.exit_code, lines
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)
