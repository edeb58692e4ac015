"""The Airflow surface: templates, results, errors, deferral. Decisions are tested where they are made."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider import operators
from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import InterruptedWaitError, NotFoundError, OperationTimeoutError, UnavailableError
from airflow_gar_provider.operators import (
    ComposerPipConfigOperator,
    CreateRepositoryOperator,
    DeployDagOperator,
    GrantRepositoryAccessOperator,
    InstallPrivatePackageOperator,
    PublishWheelOperator,
    RunEnvironmentDagOperator,
)
from airflow_gar_provider.operators.base import GarOperator, run_of
from airflow_gar_provider.triggers import operation as trigger_module
from airflow_gar_provider.triggers.operation import ComposerOperationTrigger
from tests.conftest import Running
from tests.wheels import make_wheel

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
ENVIRONMENT = "projects/acme-data/locations/europe-west1/environments/dev"


class Ti:
    """As much of a task instance as the operators use."""

    dag_id, run_id, task_id, map_index, try_number = "dag", "run", "task", -1, 1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


@pytest.fixture
def ti() -> Ti:
    return Ti()


@pytest.fixture
def context(ti: Ti) -> Any:
    return {"ti": ti}


@pytest.fixture
def conn(monkeypatch: pytest.MonkeyPatch, google_: Running, owner: str, tmp_path: Path) -> None:
    """A connection without a key: Application Default Credentials, here those of the test's owner."""
    with google_.session(owner) as session:
        made = session.post(
            f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{owner}/keys", json={}, timeout=30
        ).json()
    path = tmp_path / "credentials.json"
    path.write_bytes(base64.b64decode(made["privateKeyData"]))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform"}')


ALL: list[type[GarOperator]] = [getattr(operators, name) for name in operators.__all__]


@pytest.mark.parametrize("operator", ALL, ids=lambda cls: cls.__name__)
def test_signatures(operator: type[GarOperator]) -> None:
    """Keyword-only; every text is a template field; the connection and the impersonation chain too."""
    parameters = inspect.signature(inspect.unwrap(operator.__init__)).parameters
    own = {
        name: parameter
        for name, parameter in parameters.items()
        if name not in ("self", "kwargs") and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in own.values())
    assert {"gcp_conn_id", "impersonation_chain"} <= set(operator.template_fields)
    numbers = {"bool", "float", "int"}
    for name, parameter in own.items():
        if parameter.annotation not in numbers:
            assert name in operator.template_fields, f"{operator.__name__}.{name} cannot be templated"
        assert f":param {name}:" in (operator.__doc__ or ""), f"{operator.__name__}.{name} is not documented"


def test_design_signature() -> None:
    """The one line that a team writes, and the parameters that the guide promises."""
    task = InstallPrivatePackageOperator(
        task_id="lib", environment=ENVIRONMENT, requirements="mypythonlib==1.2.0", repository=REPOSITORY
    )
    assert (task.timeout, task.poll_interval, task.preflight, task.deferrable) == (5400, 30, True, False)
    with pytest.raises(ValueError, match="rollback and drain are not offered yet"):
        InstallPrivatePackageOperator(task_id="x", environment=ENVIRONMENT, requirements="a==1", rollback=True)


BAD = [
    (CreateRepositoryOperator, {"repository": "python"}, "is not the name of a repository"),
    (PublishWheelOperator, {"repository": "x/y", "wheels": "a.whl"}, "is not the name of a repository"),
    (
        GrantRepositoryAccessOperator,
        {"repository": REPOSITORY, "environment": "dev"},
        "is not the name of a Composer environment",
    ),
    (
        ComposerPipConfigOperator,
        {"repository": REPOSITORY, "environment": ENVIRONMENT + "/"},
        "is not the name of a Composer environment",
    ),
    (
        InstallPrivatePackageOperator,
        {"environment": ENVIRONMENT, "requirements": "a @ https://example.com/a.whl"},
        "has a URL; publish the wheel",
    ),
    (
        InstallPrivatePackageOperator,
        {"environment": ENVIRONMENT, "requirements": "a==1; python_version > '3'"},
        "has a marker",
    ),
    (InstallPrivatePackageOperator, {"environment": ENVIRONMENT, "requirements": ""}, "names a package"),
    (DeployDagOperator, {"environment": "", "files": "x.py"}, "is not the name of a Composer environment"),
    (
        RunEnvironmentDagOperator,
        {"environment": "prod", "environment_dag_id": "d"},
        "is not the name of a Composer environment",
    ),
]


@pytest.mark.parametrize(("operator", "arguments", "message"), BAD)
def test_bad_input_fails_at_once(
    operator: type[GarOperator],
    arguments: dict[str, Any],
    message: str,
    context: Any,
    ti: Ti,
    google_: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clear error, no retry, the failure as the task's result, and not one call to Google."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform"}')
    before = len(google_.get("/sandbox/calls")["calls"])
    with pytest.raises(AirflowFailException, match=message):
        operator(task_id="t", **arguments).execute(context)
    assert ti.pushed["return_value"]["outcome"] == "failed"
    assert message in ti.pushed["return_value"]["message"]
    assert len(google_.get("/sandbox/calls")["calls"]) == before


def test_errors_and_retries(context: Any, ti: Ti) -> None:
    """Retryable errors pass for Airflow to retry; others end the task; a retry policy gets the typed one."""
    task = GarOperator(task_id="t")
    with pytest.raises(UnavailableError), task.explained(context):
        raise UnavailableError("away", resource="r")
    assert ti.pushed["return_value"]["retryable"] is True
    with pytest.raises(AirflowFailException, match="away\n  resource: r") as caught, task.explained(context):
        raise NotFoundError("away", resource="r")
    assert isinstance(caught.value.__cause__, NotFoundError)
    task.retry_policy = object()
    with pytest.raises(NotFoundError), task.explained(context):
        raise NotFoundError("away")
    with pytest.raises(ZeroDivisionError), task.explained(context):
        raise ZeroDivisionError


def test_a_kill_ends_a_wait() -> None:
    """Airflow's SIGTERM only calls on_kill: the wait has to notice."""
    task = GarOperator(task_id="t")
    clock = task.clock()
    task.on_kill()
    with pytest.raises(InterruptedWaitError, match="was killed") as caught:
        clock.sleep(60)
    assert caught.value.retryable  # a worker that is shut down must not end the task for good


def test_run_identity(context: Any, ti: Ti) -> None:
    """One identity over all tries; another for every mapped instance."""
    assert run_of(context) == "dag/run/task"
    ti.map_index = 0  # type: ignore[misc]
    assert run_of(context) == "dag/run/task/0"


TRIGGER = {
    "operation": "projects/p/locations/l/operations/o",
    "ours": True,
    "deadline": 9e12,
    "poll_interval": 15.0,
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": None,
}


class FakeCloud:
    """A Composer whose operation ends after some looks; each look can fail."""

    def __init__(self, *looks: Operation | Exception) -> None:
        self.looks = list(looks)
        self.composer = self

    def get_operation(self, name: str) -> Operation:
        look = self.looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return look


def look(state: str) -> Operation:
    return Operation(TRIGGER["operation"], ENVIRONMENT, "UPDATE", state, done=state in ("SUCCEEDED", "FAILED"))  # type: ignore[arg-type]


class Watched(ComposerOperationTrigger):
    """The trigger with Google and time handed in."""

    cloud: FakeCloud | Exception

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.slept: list[float] = []

    def _connect(self) -> Any:
        if isinstance(self.cloud, Exception):
            raise self.cloud
        return self.cloud

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def events(trigger: ComposerOperationTrigger) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


def test_the_trigger_survives_serialization() -> None:
    """What goes into the database makes the same trigger, and carries no secret."""
    path, arguments = ComposerOperationTrigger(**TRIGGER).serialize()  # type: ignore[arg-type]
    assert path == "airflow_gar_provider.triggers.operation.ComposerOperationTrigger"
    assert arguments == TRIGGER
    assert ComposerOperationTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("cloud", "status", "waits"),
    [
        (FakeCloud(look("SUCCEEDED")), "ended", 1),
        (FakeCloud(look("PENDING"), look("RUNNING"), look("FAILED")), "ended", 3),
        (FakeCloud(UnavailableError("away"), look("SUCCEEDED")), "ended", 2),
        (FakeCloud(NotFoundError("gone")), "lost", 1),
        (RuntimeError("no such connection"), "lost", 1),
    ],
)
def test_the_trigger_reports_and_never_raises(cloud: Any, status: str, waits: int) -> None:
    """One structured event whatever happens; it waits before the first look."""
    trigger = Watched(**TRIGGER)
    trigger.cloud = cloud
    [event] = events(trigger)
    assert (event["status"], event["operation"], event["ours"]) == (status, TRIGGER["operation"], True)
    assert trigger.slept == [15.0] * waits


def test_the_trigger_is_never_too_quick_and_ends_at_its_deadline() -> None:
    """Ten seconds at least before the first look, whatever poll_interval says; then the deadline counts."""
    trigger = Watched(**{**TRIGGER, "poll_interval": 1.0, "deadline": 0.0})
    trigger.cloud = FakeCloud(look("RUNNING"))
    [event] = events(trigger)
    assert event["status"] == "timed_out"
    assert trigger.slept == [trigger_module.POLL_FLOOR]


@pytest.mark.slow
def test_install_defers_and_ends_as_the_blocking_mode_does(
    context: Any,
    ti: Ti,
    sandbox: Running,
    conn: None,
    repository: RepositoryName,
    environment: EnvironmentName,
    published: Callable[[Path], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """execute defers with the operation; execute_complete verifies; a run without a change does not defer."""
    published(make_wheel(tmp_path))
    grant = GrantRepositoryAccessOperator(task_id="g", repository=str(repository), environment=str(environment))
    assert grant.execute(context)["outcome"] == "granted"

    def install() -> InstallPrivatePackageOperator:
        return InstallPrivatePackageOperator(
            task_id="i",
            environment=str(environment),
            requirements="acme-demo==1.0",
            repository=str(repository),
            deferrable=True,
            poll_interval=0.2,
        )

    with pytest.raises(BaseException) as deferred:
        install().execute(context)
    assert type(deferred.value).__name__ == "TaskDeferred"
    assert ti.pushed["gar_environment_link"].startswith("https://console.cloud.google.com/composer/")
    trigger = deferred.value.trigger  # type: ignore[attr-defined]
    event = {"status": "timed_out", "operation": trigger.operation, "ours": True, "message": ""}
    with pytest.raises(OperationTimeoutError, match="did not end within 5400 s"):
        install().execute_complete(context, event)
    watched = Watched(**trigger.serialize()[1])
    watched.cloud = GarOperator(task_id="c").cloud()  # type: ignore[assignment]

    async def patiently(seconds: float) -> None:
        await asyncio.sleep(0.2)

    watched._sleep = patiently  # type: ignore[method-assign]
    [event] = events(watched)
    assert event["status"] == "ended"
    assert install().execute_complete(context, event)["outcome"] == "installed"
    assert install().execute(context)["outcome"] == "unchanged"
