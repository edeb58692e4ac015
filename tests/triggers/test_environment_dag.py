"""The triggers that look at an environment: at a run of a DAG, at its packages."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from airflow_gar_provider.errors import AccessDeniedError, UnavailableError
from airflow_gar_provider.triggers.environment_dag import EnvironmentDagTrigger
from airflow_gar_provider.triggers.package_installed import PackageInstalledTrigger
from tests.triggers.virtual import ENVIRONMENT, run

EPOCH = 1_800_000_000.0
RUN: dict[str, Any] = {
    "environment": ENVIRONMENT,
    "dag_id": "d",
    "run_id": "r",
    "deadline": EPOCH + 300,
    "poll_interval": 30.0,
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": ["a@x"],
}
PACKAGES: dict[str, Any] = {
    "environment": ENVIRONMENT,
    "requirements": ["acme>=1"],
    "poll_interval": 5.0,
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": None,
}


class _Handed:
    """What is looked at is a list, whose last item stays; each look must be off the loop."""

    looks: list[Any]

    def _connect(self) -> Any:
        if isinstance(self.looks[0], RuntimeError):
            raise self.looks[0]
        return None

    def _look(self, cloud: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def _time(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()


class WatchedRun(_Handed, EnvironmentDagTrigger):
    """The trigger with what it sees handed in."""


class WatchedPackages(_Handed, PackageInstalledTrigger):
    """The trigger with what it sees handed in."""


def fired(trigger: Any, *looks: Any) -> tuple[float, dict[str, Any]]:
    """Run it to its event: the moment, and the event."""
    trigger.looks = list(looks)

    async def main() -> tuple[float, dict[str, Any]]:
        [event] = [event.payload async for event in trigger.run()]
        return asyncio.get_running_loop().time(), event

    return run(main())


@pytest.mark.parametrize(("kind", "arguments"), [(EnvironmentDagTrigger, RUN), (PackageInstalledTrigger, PACKAGES)])
def test_they_survive_serialization(kind: Any, arguments: dict[str, Any]) -> None:
    """What goes into the database makes the same trigger, and carries no secret."""
    path, kept = kind(**arguments).serialize()
    assert path == f"{kind.__module__}.{kind.__name__}"
    assert kept == arguments
    assert kind(**json.loads(json.dumps(kept))).serialize() == (path, kept)


@pytest.mark.parametrize(
    ("looks", "moment", "status", "message"),
    [
        (["success"], 30, "ended", "success"),
        (["queued", "running", "failed"], 90, "ended", "failed"),
        (["running", "", "", "running", "success"], 150, "ended", "success"),
        (["running", ""], 120, "ended", "gone"),
        ([UnavailableError("away"), AccessDeniedError("no"), "success"], 90, "ended", "success"),
        (["running"], 330, "timed_out", ""),
        ([RuntimeError("no such connection")], 30, "lost", "no Google client could be made: no such connection"),
    ],
)
def test_a_run(looks: list[Any], moment: float, status: str, message: str) -> None:
    """One event whatever happens; a run counts as deleted when three looks in a row do not find it."""
    assert fired(WatchedRun(**RUN), *looks) == (moment, {"status": status, "run_id": "r", "message": message})


@pytest.mark.parametrize(
    ("looks", "moment", "status", "message"),
    [
        ([{"message": "dev has acme 1.2"}], 10, "installed", "dev has acme 1.2"),
        ([None, UnavailableError("away"), {"message": "m"}], 20, "installed", "m"),
        ([AccessDeniedError("could not look")], 10, "lost", "could not look"),
        ([RuntimeError("no such connection")], 10, "lost", "no Google client could be made: no such connection"),
    ],
)
def test_packages(looks: list[Any], moment: float, status: str, message: str) -> None:
    """Never before ten seconds; what cannot become true is for the task to say."""
    assert fired(WatchedPackages(**PACKAGES), *looks) == (moment, {"status": status, "message": message})


def test_a_kill_says_that_the_run_goes_on(told: Callable[[], list[str]]) -> None:
    """Airflow 3.3 calls on_kill when somebody ends the deferred task by hand."""
    asyncio.run(EnvironmentDagTrigger(**RUN).on_kill())
    [line] = told()
    assert f"run r of DAG d in {ENVIRONMENT} was not" in line
