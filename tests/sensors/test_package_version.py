"""Waiting for a version, in Airflow's own loop and in the triggerer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider import sensors
from airflow_gar_provider.compat import AirflowFailException, AirflowSkipException
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import UnavailableError
from airflow_gar_provider.sensors import PackageVersionSensor
from tests.conftest import Running
from tests.operators.conftest import Ti
from tests.wheels import make_wheel

GET = "google.devtools.artifactregistry.v1.ArtifactRegistry.GetRepository"


def test_signature() -> None:
    """Keyword-only, templates for whatever a form may give, and exported."""
    assert sensors.__all__.count("PackageVersionSensor") == 1
    parameters = inspect.signature(PackageVersionSensor.__init__).parameters
    own = [name for name in parameters if name not in ("self", "kwargs")]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in own)
    assert {"repository", "requirement", "min_age", "gcp_conn_id"} <= set(PackageVersionSensor.template_fields)


def sensor(repository: object, **arguments: Any) -> PackageVersionSensor:
    values = {"requirement": "acme-demo>=1.0", "poke_interval": 0.01, "timeout": 0.3, "deferrable": False}
    return PackageVersionSensor(task_id="wait", repository=str(repository), **{**values, **arguments})


@pytest.mark.usefixtures("conn")
def test_both_modes_end_alike(
    context: Any, ti: Ti, repository: RepositoryName, published: Callable[[Path], str], tmp_path: Path
) -> None:
    """The newest version that counts; the trigger's event only says to look again."""
    with pytest.raises(BaseException) as deferred:
        sensor(repository, deferrable=True, min_age=timedelta(0), poke_interval=60, timeout=3600).execute(context)
    assert type(deferred.value).__name__ == "TaskDeferred"
    trigger, method = deferred.value.trigger, deferred.value.method_name  # type: ignore[attr-defined]
    assert (trigger.requirement, trigger.min_age, trigger.poll_interval) == ("acme-demo>=1.0", 0.0, 60.0)
    assert deferred.value.timeout == timedelta(hours=1)  # type: ignore[attr-defined]
    published(make_wheel(tmp_path))
    task = sensor(repository, deferrable=True)
    result = getattr(task, method)(context, {"status": "served", "message": "1.0"})
    assert result["outcome"] == "served"
    assert (result["package"], result["version"]) == ("acme-demo", "1.0")
    assert sensor(repository).execute(context) == result
    assert sensor(repository, deferrable=True).execute(context) == result
    pages = {key: url.partition("?")[0] for key, url in ti.pushed.items()}
    assert pages["gar_package_link"] == pages["gar_repository_link"] + "/acme-demo"


@pytest.mark.usefixtures("conn")
def test_not_there(context: Any, repository: RepositoryName) -> None:
    """Airflow's timeout ends the wait; `soft_fail` skips."""
    with pytest.raises(Exception, match="Sensor has timed out") as caught:
        sensor(repository).execute(context)
    assert type(caught.value).__name__ == "AirflowSensorTimeout"
    with pytest.raises(AirflowSkipException):
        sensor(repository, soft_fail=True).execute(context)


@pytest.mark.usefixtures("conn")
@pytest.mark.parametrize("deferrable", [False, True])
def test_what_cannot_come_true(context: Any, repository: RepositoryName, deferrable: bool) -> None:
    """A repository that is not there, or input that cannot be, is an error at once; `soft_fail` skips it."""
    nobody = f"{repository}x"
    with pytest.raises(AirflowFailException, match="the repository does not exist"):
        sensor(nobody, deferrable=deferrable).execute(context)
    with pytest.raises(AirflowFailException, match="has a URL"):
        sensor(repository, requirement="a @ https://x/a.whl", deferrable=deferrable).execute(context)
    with pytest.raises(AirflowSkipException):
        sensor(nobody, deferrable=deferrable, soft_fail=True).execute(context)


@pytest.mark.usefixtures("conn")
def test_an_error_that_passes(
    context: Any,
    repository: RepositoryName,
    published: Callable[[Path], str],
    tmp_path: Path,
    sandbox: Running,
) -> None:
    """The sensor looks again."""
    published(make_wheel(tmp_path))
    sandbox.fault(GET, status=409)
    assert sensor(repository, timeout=30).execute(context)["version"] == "1.0"  # type: ignore[index]
    assert sandbox.unused() == []


@pytest.mark.usefixtures("conn")
def test_a_trigger_that_was_lost(context: Any, repository: RepositoryName) -> None:
    """The task looks itself; when it sees no version either, it fails so that it can be tried again."""
    event = {"status": "lost", "message": "no Google client could be made"}
    with pytest.raises(UnavailableError, match="the triggerer could not watch: no Google client could be made"):
        sensor(repository, deferrable=True).execute_complete(context, event)
