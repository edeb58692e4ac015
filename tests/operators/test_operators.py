"""The Airflow surface: templates, results, errors, deferral. Decisions are tested where they are made."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from airflow_gar_provider import operators
from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.errors import InterruptedWaitError, NotFoundError, UnavailableError
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
from tests.conftest import Running
from tests.operators.conftest import Ti

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
ENVIRONMENT = "projects/acme-data/locations/europe-west1/environments/dev"


OBJECTS = {"fleet", "notify"}  # a Fleet and a function: no text that a template could make
LIMITS = {"allowed_sources", "allowed_prefixes", "approve_before"}
"""What the DAG's author sets, and whoever triggers the DAG must not change: on purpose no template fields."""
OF_THE_DAG = {("ApproveStageOperator", "stage")}
"""One of the DAG's own task groups."""
ALL: list[type[GarOperator]] = [getattr(operators, name) for name in operators.__all__]


@pytest.mark.parametrize("operator", ALL, ids=lambda cls: cls.__name__)
def test_signatures(operator: type[GarOperator]) -> None:
    """Keyword-only; every text but a limit is a template field; the connection and the impersonation chain too."""
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
        if name in LIMITS:
            assert name not in operator.template_fields, f"{operator.__name__}.{name} must not be templated"
        elif (
            parameter.annotation not in numbers and name not in OBJECTS and (operator.__name__, name) not in OF_THE_DAG
        ):
            assert name in operator.template_fields, f"{operator.__name__}.{name} cannot be templated"
        assert f":param {name}:" in (operator.__doc__ or ""), f"{operator.__name__}.{name} is not documented"


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
    before = google_.mark()
    with pytest.raises(AirflowFailException, match=message):
        operator(task_id="t", **arguments).execute(context)
    assert ti.pushed["return_value"]["outcome"] == "failed"
    assert message in ti.pushed["return_value"]["message"]
    assert google_.mark() == before


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
