"""InstallPrivatePackageOperator: parameters, deferral, and how its failures reach Airflow."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.errors import OperationTimeoutError, PostponedError, UnavailableError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.operators import InstallPrivatePackageOperator
from airflow_gar_provider.steps.hold import hold
from airflow_gar_provider.steps.update import Pending
from airflow_gar_provider.triggers.drain import DrainTrigger
from airflow_gar_provider.triggers.operation import ComposerOperationTrigger
from tests.operators.conftest import Ti
from tests.steps.installing import Site

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
LOOK = "google.longrunning.Operations.GetOperation"
ENVIRONMENT = "projects/acme-data/locations/europe-west1/environments/dev"


def operator(site: Site, **other: Any) -> InstallPrivatePackageOperator:
    """The task; the DAGs of the environment are not looked at."""
    arguments: dict[str, Any] = {
        "environment": str(site.environment),
        "requirements": "acme-demo==1.0",
        "repository": str(site.repository),
        "skip_checks": "import_errors",
        "deferrable": True,
        **other,
    }
    return InstallPrivatePackageOperator(task_id="task", **arguments)


def deferred(task: InstallPrivatePackageOperator, context: Any, event: dict[str, Any] | None = None) -> Any:
    """The trigger that the task defers to."""
    with pytest.raises(BaseException) as caught:
        task.execute(context) if event is None else task.execute_complete(context, event)
    assert type(caught.value).__name__ == "TaskDeferred", caught.value
    assert caught.value.method_name == "execute_complete"  # type: ignore[attr-defined]
    return caught.value.trigger  # type: ignore[attr-defined]


def test_design_signature() -> None:
    """The one line that a team writes, and the parameters that the guide promises."""
    task = InstallPrivatePackageOperator(
        task_id="lib", environment=ENVIRONMENT, requirements="mypythonlib==1.2.0", repository=REPOSITORY
    )
    assert (task.timeout, task.poll_interval, task.preflight, task.deferrable) == (5400, 30, True, False)
    assert (task.rollback, task.ignore_hold, task.drain, task.drain_action) == (False, False, 0, "go")
    assert (task.skip_checks, task.pin_dependencies) == ((), False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drain_action": "stop"}, "drain_action is 'go' or 'postpone', not 'stop'"),
        ({"preflight": "maybe"}, "preflight is True, False or"),
        ({"skip_checks": "indx"}, "there is no preflight check 'indx'"),
        ({"requirements": "a==1", "absent": "A"}, "wanted and listed under `absent` at once"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], message: str, context: Any, ti: Ti, conn: None, site: Site) -> None:
    """A clear error, no retry, and the failure as the task's result."""
    with pytest.raises(AirflowFailException, match=message):
        operator(site, **{"preflight": False, **arguments}).execute(context)
    assert ti.pushed["return_value"]["outcome"] == "failed"
    assert site.updates() == 0


@pytest.mark.slow
def test_it_defers_and_ends_as_the_blocking_mode_does(context: Any, ti: Ti, conn: None, site: Site) -> None:
    """execute defers with the operation; execute_complete verifies; a run without a change does not defer."""
    site.publish("1.0")
    site.grant()
    trigger = deferred(operator(site), context)
    assert isinstance(trigger, ComposerOperationTrigger)
    assert ti.pushed["gar_environment_link"].startswith("https://console.cloud.google.com/composer/")
    event = {"status": "timed_out", "operation": trigger.operation, "ours": True, "message": ""}
    with pytest.raises(OperationTimeoutError, match="did not end within 5400 s"):
        operator(site).execute_complete(context, event)
    # The triggerer lost it, or fires too soon: it is looked at, and waited for again.
    for status in ("lost", "ended"):
        again = deferred(operator(site), context, {**event, "status": status, "message": "x"})
        assert again.serialize()[1]["operation"] == trigger.operation
    site.wait(site.start())
    result = operator(site).execute_complete(context, {**event, "status": "ended"})
    assert (result["outcome"], result["operation"]) == ("installed", trigger.operation)
    assert operator(site, deferrable=False).execute(context)["outcome"] == "unchanged"
    assert site.updates() == 1


@pytest.mark.slow
def test_a_token_that_ends_while_it_waits(context: Any, conn: None, site: Site) -> None:
    """And Composer being away for a while: the wait goes on."""
    site.publish("1.0")
    site.grant()
    site.sandbox.fault(LOOK, kind="token_expiry")
    site.sandbox.fault(LOOK, kind="reset", times=2)
    task = operator(site, deferrable=False, poll_interval=1)
    assert task.execute(context)["outcome"] == "installed"
    assert site.updates() == 1
    assert site.sandbox.unused() == []


class Broken(InstallPrivatePackageOperator):
    """The operator in an environment where `pip list` finds nothing: each verification fails."""

    def cloud(self) -> Cloud:
        cloud = super().cloud()
        cloud.composer.pip_list = lambda _: "pip 24.0"  # type: ignore[method-assign]
        return cloud


@pytest.mark.slow
def test_a_rollback_is_waited_for_in_the_triggerer_too(context: Any, ti: Ti, conn: None, site: Site) -> None:
    """The failed verification defers once more; the task then fails without a retry, and both facts are its result."""
    site.publish("1.0")
    site.grant()

    def task() -> Broken:
        return Broken(
            task_id="task",
            environment=str(site.environment),
            requirements="acme-demo==1.0",
            repository=str(site.repository),
            skip_checks="import_errors",
            rollback=True,
            deferrable=True,
        )

    event: dict[str, Any] | None = None
    for _ in range(2):
        trigger = deferred(task(), context, event)
        event = {"operation": trigger.operation, "ours": trigger.ours, "status": "ended", "message": ""}
        site.wait(Pending(trigger.operation, ours=True))
    assert event is not None
    with pytest.raises(AirflowFailException, match="acme-demo is not declared any more"):
        task().execute_complete(context, event)
    result = ti.pushed["return_value"]
    assert (result["outcome"], result["held"]) == ("rolled_back", ["acme-demo 1.0"])
    assert "acme-demo==1.0 is declared, but not installed" in result["failure"]
    assert (site.updates(), site.packages()) == (2, {})


def test_a_held_version_is_no_retry(context: Any, ti: Ti, conn: None, site: Site) -> None:
    """Refused before anything is changed; `ignore_hold` begins the update."""
    site.publish("1.0")
    hold(site.cloud.storage, site.now().bucket, "acme-demo", {"1.0": "it broke"})
    with pytest.raises(AirflowFailException, match=r"acme-demo 1\.0: it broke"):
        operator(site).execute(context)
    assert ti.pushed["return_value"]["error"] == "HeldVersionError"
    assert isinstance(deferred(operator(site, ignore_hold=True), context), ComposerOperationTrigger)


# Drain


class Busy(Cloud):
    """Google's cloud, where one task runs in the environment for as many looks as it is told."""

    def __init__(self, cloud: Cloud, looks: int, error: Exception | None = None) -> None:
        super().__init__(cloud.session)
        self.looks = looks
        self.error = error

    def airflow_of(self, environment: Environment) -> Any:
        return self

    def running_tasks(self) -> list[dict[str, Any]]:
        self.looks -= 1
        if self.error is not None and self.looks == 0:
            raise self.error
        return [{"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": -1}] if self.looks >= 0 else []


class Draining(InstallPrivatePackageOperator):
    """The operator with Google handed in."""

    given: Cloud

    def cloud(self) -> Cloud:
        return self.given


def draining(site: Site, looks: int, **other: Any) -> Draining:
    task = Draining(
        task_id="task",
        environment=str(site.environment),
        requirements="acme-demo==1.0",
        skip_checks="import_errors",
        preflight=False,
        deferrable=True,
        drain=1800,
        **other,
    )
    task.given = Busy(site.cloud, looks)
    return task


def test_it_waits_for_tasks_in_the_triggerer(context: Any, site: Site) -> None:
    """Then it looks again: the update begins when nothing runs, or goes on, or is postponed."""
    trigger = deferred(draining(site, 1), context)
    assert isinstance(trigger, DrainTrigger)
    assert trigger.serialize()[1]["run"] == "dag/run/task"
    event = {"status": "over", "drain": True, "message": ""}
    with pytest.raises(PostponedError, match=r"d\.t in r"):
        draining(site, 1, drain_action="postpone").execute_complete(context, event)
    assert site.updates() == 0
    following = deferred(draining(site, 0), context, {**event, "status": "idle"})
    assert isinstance(following, ComposerOperationTrigger)
    assert site.updates() == 1


class Watched(DrainTrigger):
    """The trigger with Google and time handed in."""

    given: Cloud

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.slept: list[float] = []

    def _connect(self) -> Any:
        if not isinstance(self.given, Cloud):
            raise RuntimeError("no such connection")
        return self.given

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


ARGUMENTS = {
    "environment": ENVIRONMENT,
    "run": "dag/run/task",
    "deadline": 9e12,
    "poll_interval": 15.0,
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": None,
}


@pytest.mark.parametrize(
    ("looks", "deadline", "error", "status", "waits"),
    [
        (0, 9e12, None, "idle", [15.0]),
        (2, 9e12, None, "idle", [15.0, 15.0, 15.0]),
        (2, 9e12, UnavailableError("away"), "idle", [15.0, 15.0, 15.0]),
        (9, 0.0, None, "over", [10.0]),
        (1, 0.0, UnavailableError("away"), "over", [10.0]),
    ],
)
def test_the_drain_trigger_reports_and_never_raises(
    site: Site, looks: int, deadline: float, error: Exception | None, status: str, waits: list[float]
) -> None:
    """One event; never within ten seconds; an error that may pass is looked past until the deadline."""
    trigger = Watched(**{**ARGUMENTS, "environment": str(site.environment), "deadline": deadline})
    trigger.given = Busy(site.cloud, looks, error)
    assert events(trigger) == [{"status": status, "drain": True, "message": ""}]
    assert trigger.slept == waits


def test_the_drain_trigger_without_a_connection() -> None:
    """It says so; the task looks again, where the error can be told."""
    trigger = Watched(**ARGUMENTS)
    trigger.given = None  # type: ignore[assignment]
    [event] = events(trigger)
    assert (event["status"], event["message"]) == ("lost", "no Google client could be made: no such connection")
    assert trigger.slept == [10.0]


def test_the_drain_trigger_survives_serialization() -> None:
    """What goes into the database makes the same trigger, and carries no secret."""
    path, arguments = DrainTrigger(**ARGUMENTS).serialize()  # type: ignore[arg-type]
    assert path == "airflow_gar_provider.triggers.drain.DrainTrigger"
    assert arguments == ARGUMENTS
    assert DrainTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)


def events(trigger: DrainTrigger) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())
