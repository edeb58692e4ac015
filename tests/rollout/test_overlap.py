"""How many environments of a stage are under way at a time, in a real Airflow, with deferral on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from airflow_gar_provider.compat import counts_deferred_tasks
from tests.conftest import Running
from tests.rollout import airflow2
from tests.rollout.conftest import Run, World, most_at_once

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"
NAMES = ["one", "two", "three", "four", "five"]


@pytest.fixture(scope="module")
def fleets(world: World, tmp_path_factory: pytest.TempPathFactory, sandbox: Running) -> Iterator[World]:
    """One fleet, and the Airflow that rolls it out. A try that failed waits for longer than others need to begin, and
    an update lasts long enough to meet others.
    """
    stage = {"name": "prod", "environments": NAMES, "max_parallel": 2}
    world.fleet("overlap", [stage], 'skip_checks="import_errors"', retry_delay=20, late_after=5)
    base = tmp_path_factory.mktemp("stack")
    with airflow2.start(home=base / "home", dags=world.dags, environ=sandbox.child_env(), parallelism=5) as running:
        world.stack = running
        sandbox.post("/sandbox/time", {"operation_seconds": 15})
        yield world
        sandbox.post("/sandbox/time", {"operation_seconds": 0})


@pytest.fixture(scope="module")
def run(fleets: World, sandbox: Running) -> Run:
    """One update is refused once: its task is tried again."""
    sandbox.fault(UPDATE, status=503)
    return fleets.start("overlap")


def test_no_more_than_max_parallel_are_under_way(fleets: World, run: Run, sandbox: Running) -> None:
    """Five environments, two places, five workers, one task that is tried again: two at a time, from the first write
    to the verdict, and never three. Where a limit counts deferred tasks they are deferred, elsewhere they are not.
    """
    seen, deadline = set(), time.monotonic() + 600
    while (state := run.client.run_state(run.dag_id, run.run_id)) not in ("success", "failed"):
        assert time.monotonic() < deadline, run.states()
        seen |= {task.state for task in run.client.task_instances(run.dag_id, run.run_id)}
        time.sleep(1)
    assert state == "success", run.states()
    assert sandbox.unused() == []
    tasks = [task for task in run.client.task_instances(run.dag_id, run.run_id) if task.map_index >= 0]
    assert sorted(task.try_number for task in tasks) == [1, 1, 1, 1, 2]
    assert ("deferred" in seen) == counts_deferred_tasks
    assert set(fleets.declared("overlap").values()) == {"==1.0"}
    assert fleets.overlaps("overlap") == 2
    assert most_at_once(fleets.under_way(run)) == 2


@pytest.mark.needs_airflow("3.2", "the answer of a callback in its own table")
def test_a_run_that_is_late_is_told_of(fleets: World, run: Run) -> None:
    """The deadline was five seconds after the run was queued: the triggerer has run the callback, once."""
    with closing(sqlite3.connect(f"file:{fleets.stack.home}/airflow.db?mode=ro", uri=True)) as database:
        query = "select callback.state, callback.output from callback join deadline on callback_id = callback.id"
        [(state, output)] = database.execute(query).fetchall()
    assert state == "success"
    assert f"overlap is late: run {run.run_id} should have ended by" in output
