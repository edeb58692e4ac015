"""Waiting until an environment really has packages, in Airflow's own loop and in the triggerer."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest

from airflow_gar_provider import sensors
from airflow_gar_provider.compat import AirflowFailException, AirflowSkipException
from airflow_gar_provider.core.environment import Environment, EnvironmentName, Patch
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.errors import AccessDeniedError, UnavailableError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.sensors import PackageInstalledSensor
from airflow_gar_provider.steps.installed import installed
from tests.conftest import Running
from tests.operators.conftest import Ti

GET = "google.cloud.orchestration.airflow.service.v1.Environments.GetEnvironment"


def test_signature() -> None:
    """Keyword-only, templates for whatever a form may give, and exported."""
    assert sensors.__all__.count("PackageInstalledSensor") == 1
    parameters = inspect.signature(PackageInstalledSensor.__init__).parameters
    own = [name for name in parameters if name not in ("self", "kwargs")]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in own)
    assert {"environment", "requirements", "gcp_conn_id"} <= set(PackageInstalledSensor.template_fields)


def sensor(environment: object, **arguments: Any) -> PackageInstalledSensor:
    values = {"requirements": "pip>=1", "poke_interval": 0.01, "timeout": 0.3, "deferrable": False}
    return PackageInstalledSensor(task_id="wait", environment=str(environment), **{**values, **arguments})


class FakeComposer:
    """An environment whose map, state and installed packages are handed in; it counts the expensive calls."""

    def __init__(
        self, name: EnvironmentName, packages: dict[str, str], listed: str | Exception = "", state: str = "RUNNING"
    ) -> None:
        self.composer = self
        self.environment = Environment(name, state, "b", "", "", "", packages)
        self.listed = listed
        self.lists = 0

    def get_environment(self, name: EnvironmentName) -> Environment:
        assert name == self.environment.name
        return self.environment

    def pip_list(self, _: EnvironmentName) -> str:
        self.lists += 1
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed


NAME = EnvironmentName.parse("projects/acme-data/locations/europe-west1/environments/dev")


@pytest.mark.parametrize(
    ("packages", "state", "listed", "versions", "lists"),
    [
        ({"acme": "==1.2"}, "RUNNING", "acme==1.2", ["1.2"], 1),
        ({"acme": ">=1"}, "RUNNING", "acme==1.2", ["1.2"], 1),
        ({"acme": ">=1"}, "RUNNING", "acme==0.9", None, 1),  # declared, but another one is installed
        ({"acme": "==1.2"}, "RUNNING", "pip==24", None, 1),
        ({}, "RUNNING", "acme==1.2", None, 0),  # the map does not agree: nothing else is asked
        ({"acme": "==0.9"}, "RUNNING", "acme==0.9", None, 0),
        ({"acme": "==1.2"}, "UPDATING", "acme==1.2", None, 0),  # workers may still have the old image
        ({"acme": "==1.2"}, "RUNNING", AccessDeniedError("no"), ["==1.2"], 1),  # the map has to do
    ],
)
def test_the_map_first(
    packages: dict[str, str], state: str, listed: Any, versions: list[str] | None, lists: int
) -> None:
    """`pip list` costs seconds and quota: it is run only when the map agrees and no update runs."""
    fake = FakeComposer(NAME, packages, listed, state)
    result = installed(fake, NAME, parse_requirements("acme>=1"))  # type: ignore[arg-type]
    assert (result and [entry["version"] for entry in result["packages"]]) == versions
    assert fake.lists == lists
    with pytest.raises(UnavailableError):
        installed(FakeComposer(NAME, {"acme": ""}, UnavailableError("x")), NAME, parse_requirements("acme"))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.usefixtures("conn")
def test_both_modes_end_alike(
    context: Any, ti: Ti, cloud: Cloud, environment: EnvironmentName, sandbox: Running
) -> None:
    """Somebody else updates the environment meanwhile; the trigger's event only says to look again."""
    wanted = "sortedcontainers>=2"
    with pytest.raises(BaseException) as deferred:
        sensor(environment, requirements=wanted, deferrable=True, poke_interval=60, timeout=3600).execute(context)
    assert type(deferred.value).__name__ == "TaskDeferred"
    trigger = deferred.value.trigger  # type: ignore[attr-defined]
    assert (trigger.requirements, trigger.poll_interval) == ([wanted], 60.0)
    assert deferred.value.timeout == timedelta(hours=1)  # type: ignore[attr-defined]
    cloud.composer.update_packages(environment, Patch({"sortedcontainers": "==2.4.0"}, ()))
    result = sensor(environment, requirements=wanted, poke_interval=0.5, timeout=200).execute(context)
    assert result is not None
    assert result["message"] == "dev has sortedcontainers 2.4.0"
    event = {"status": "installed", "message": ""}
    assert sensor(environment, requirements=wanted, deferrable=True).execute_complete(context, event) == result
    assert ti.pushed["gar_environment_link"].startswith("https://console.cloud.google.com/composer/")


@pytest.mark.usefixtures("conn")
def test_not_there(context: Any, environment: EnvironmentName) -> None:
    """Airflow's timeout ends the wait; `soft_fail` skips."""
    with pytest.raises(Exception, match="Sensor has timed out") as caught:
        sensor(environment).execute(context)
    assert type(caught.value).__name__ == "AirflowSensorTimeout"
    with pytest.raises(AirflowSkipException):
        sensor(environment, soft_fail=True).execute(context)


@pytest.mark.usefixtures("conn")
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"environment": "dev"}, "is not the name of a Composer environment"),
        ({"requirements": "a @ https://x/a.whl"}, "has a URL"),
        ({"requirements": ""}, "names no package"),
        ({"environment": "{}x"}, "could not look at the environment"),
    ],
)
def test_what_cannot_come_true(
    context: Any, environment: EnvironmentName, arguments: dict[str, str], message: str, deferrable: bool
) -> None:
    """An environment that is not there, or input that cannot be, is an error at once; `soft_fail` skips it."""
    given = {**arguments, "deferrable": deferrable}
    name = str(given.pop("environment", str(environment))).replace("{}", str(environment))
    with pytest.raises(AirflowFailException, match=message):
        sensor(name, **given).execute(context)
    with pytest.raises(AirflowSkipException):
        sensor(name, **given, soft_fail=True).execute(context)


@pytest.mark.usefixtures("conn")
def test_an_error_that_passes(context: Any, environment: EnvironmentName, sandbox: Running) -> None:
    """The sensor looks again."""
    sandbox.fault(GET, status=409)
    with pytest.raises(Exception, match="Sensor has timed out"):
        sensor(environment).execute(context)
    assert sandbox.unused() == []


@pytest.mark.usefixtures("conn")
def test_a_trigger_that_was_lost(context: Any, environment: EnvironmentName) -> None:
    """The task looks itself; when the packages are not there either, it fails so that it can be tried again."""
    event = {"status": "lost", "message": "no Google client could be made"}
    with pytest.raises(UnavailableError, match="the triggerer could not watch: no Google client could be made"):
        sensor(environment, deferrable=True).execute_complete(context, event)
