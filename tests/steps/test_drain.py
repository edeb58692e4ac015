"""Drain: tasks that an update would end are waited for, then named; the update goes on or is postponed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.errors import AccessDeniedError, InvalidInputError, PostponedError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.drain import Draining, action_of, drain, others, running, wait_idle
from airflow_gar_provider.steps.install import Pending, begin, proceed
from tests.steps.conftest import QuickClock
from tests.steps.installing import Site

SLOW = """
import time
try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.decorators import task
with DAG("slow", schedule=None):
    @task
    def work():
        time.sleep(600)
    work()
"""


def task(dag: str, name: str, *, run: str = "run", map_index: int = -1) -> dict[str, Any]:
    return {"dag_id": dag, "dag_run_id": run, "task_id": name, "map_index": map_index}


class Busy(Cloud):
    """Google's cloud, where the tasks that run in the environment are handed in, one list for each look."""

    def __init__(self, cloud: Cloud, *looks: list[dict[str, Any]] | Exception) -> None:
        super().__init__(cloud.session)
        self.looks = list(looks)

    def airflow_of(self, environment: Environment) -> Any:
        return self

    def running_tasks(self) -> list[dict[str, Any]]:
        look = self.looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return look


@pytest.mark.parametrize(
    ("task_instance", "run", "waits"),
    [
        (task("dag", "install"), "dag/run/install", False),
        (task("dag", "install", run="other"), "dag/run/install", True),
        (task("dag", "install", map_index=0), "dag/run/install/0", False),
        (task("dag", "install", map_index=1), "dag/run/install/0", True),
        (task("dag", "install", map_index=0), "dag/run/install", True),
    ],
)
def test_a_task_does_not_wait_for_itself(task_instance: dict[str, Any], run: str, waits: bool) -> None:
    """It runs in the very environment that it updates; every other task is waited for, its own siblings too."""
    assert bool(others([task_instance], run)) is waits


def test_what_runs_is_named() -> None:
    """By DAG, task, map index and run, in order."""
    found = others([task("b", "t"), task("a", "t", map_index=3, run="r1")], "")
    assert found == ("a.t[3] in r1", "b.t in run")


def test_it_waits_until_nothing_runs(site: Site) -> None:
    """Then the update begins; the time that is left is not spent."""
    site.publish("1.0")
    site.cloud = Busy(site.cloud, [task("a", "t")], [task("a", "t")], [], [])
    clock = QuickClock()
    found = begin(site.cloud, site.wish(drain=1800), clock)
    assert found == Draining(("a.t in run",))
    assert not site.updates()
    wait_idle(site.cloud, site.wish(drain=1800), clock, poll_interval=30)
    assert clock.slept == 60
    assert isinstance(proceed(site.cloud, site.wish(drain=1800), clock, found), Pending)


def test_what_still_runs_is_logged_and_the_update_goes_on(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """When the time is over, with `go`."""
    site.publish("1.0")
    site.cloud = Busy(site.cloud, [task("a", "t")], [task("a", "t"), task("b", "u")])
    found = begin(site.cloud, site.wish(drain=60), site.clock)
    assert isinstance(found, Draining)
    assert isinstance(proceed(site.cloud, site.wish(drain=60), site.clock, found), Pending)
    assert "the update ends 2 task(s) that still run after 60 s" in caplog.text
    assert "a.t in run" in caplog.text
    assert "b.u in run" in caplog.text


def test_postponed(site: Site) -> None:
    """With `postpone` it is a retryable error, and nothing was changed: no record, no pip.conf, no update."""
    site.publish("1.0")
    site.cloud = Busy(site.cloud, [task("a", "t")], [task("a", "t")])
    wish = site.wish(drain=60, drain_action="postpone")
    with pytest.raises(PostponedError, match=r"1 task\(s\) still run after 60 s:\n  - a\.t in run") as caught:
        proceed(site.cloud, wish, site.clock, begin(site.cloud, wish, site.clock))  # type: ignore[arg-type]
    assert caught.value.retryable
    assert (site.updates(), site.pip_conf(), site.record()) == (0, None, None)


def test_an_airflow_that_may_not_be_asked(site: Site) -> None:
    """Who asks to wait for tasks gets no update that ends them unseen: the error says which role is missing."""
    site.publish("1.0")
    site.cloud = Busy(site.cloud, AccessDeniedError("could not list the running tasks", remedy="roles/composer.user"))
    with pytest.raises(AccessDeniedError, match="could not list the running tasks"):
        begin(site.cloud, site.wish(drain=60), site.clock)
    assert site.updates() == 0


def test_without_drain_nobody_is_asked(site: Site) -> None:
    """Zero seconds: not one look."""
    assert drain(Busy(site.cloud), site.wish(), waited=False) is None


def test_an_action_that_does_not_exist() -> None:
    """Refused before anything is looked at."""
    assert action_of("postpone") == "postpone"
    with pytest.raises(InvalidInputError, match="drain_action is 'go' or 'postpone', not 'stop'"):
        action_of("stop")


@pytest.mark.slow
def test_the_environments_own_airflow_is_asked(site: Site) -> None:
    """A task that really runs there is seen, through the REST API of the environment's Airflow."""
    site.deploy("slow.py", SLOW)
    airflow = site.cloud.airflow_of(site.now())
    until(lambda: airflow.get_dag("slow"))
    airflow.start_run("slow", "one", {})
    until(lambda: running(site.cloud, site.environment, "") or None)
    assert running(site.cloud, site.environment, "") == ("slow.work in one",)
    assert running(site.cloud, site.environment, "slow/one/work") == ()
    times = airflow.parse_times()
    assert json.dumps(list(times)) == '["slow"]'
    assert times["slow"] is not None


def until(look: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found
