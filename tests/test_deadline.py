"""When a rollout should have ended: an alert where Airflow has one, and nothing where it has none."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.compat import approval_operator
from airflow_gar_provider.deadline import finish_within, tell

EXAMPLE = Path(__file__).parents[1] / "example_dags" / "nightly_rollout.py"
has_deadlines = approval_operator() is not None  # both came with Airflow 3.1


async def call_somebody(context: dict[str, Any], who: str) -> None:
    """A callback of a user's."""


@pytest.mark.before_airflow("3.1", "the time without deadlines")
def test_before_airflow_3_1_there_is_none() -> None:
    """No argument that a DAG of Airflow 2.11 would refuse."""
    assert finish_within(timedelta(hours=3)) == {}


@pytest.mark.needs_airflow("3.1", "deadlines")
def test_a_deadline_comes_through_the_database() -> None:
    """A DAG with it is serialized, for the scheduler; the callback is a path that the triggerer can import."""
    from airflow.sdk import DAG
    from airflow.serialization import serialized_objects

    serializer = getattr(serialized_objects, "DagSerialization", serialized_objects.SerializedDAG)
    told = finish_within(timedelta(hours=2), call_somebody, {"who": "on duty"})
    for arguments, path, kwargs in (
        (finish_within(timedelta(hours=3)), f"{tell.__module__}.{tell.__qualname__}", {}),
        (told, f"{__name__}.call_somebody", {"who": "on duty"}),
    ):
        [alert] = DAG("late", schedule=None, **arguments).deadline or ()
        assert (alert.callback.path, alert.callback.kwargs or {}) == (path, kwargs)
        text = serializer.to_dict(DAG("late", schedule=None, **arguments))
        assert path in str(text)
        assert serializer.from_dict(text).dag_id == "late"
        # What Airflow 3.3 needs to clear a task of a run with a deadline; before, seconds are what it keeps by itself.
        [kept] = text["dag"]["deadline"]
        assert (kept.get("__var") or kept)["interval"] in (7200.0, 10800.0)


def test_a_missed_deadline_names_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """What Airflow keeps beside the deadline is what the log says."""
    run = {"dag_id": "nightly_rollout", "dag_run_id": "scheduled__2026"}
    context = {"dag_run": run, "deadline": {"id": "1", "deadline_time": "2026-11-23T05:00:00Z"}}
    with caplog.at_level(logging.ERROR):
        message = asyncio.run(tell(context))
    expected = "nightly_rollout is late: run scheduled__2026 should have ended by 2026-11-23T05:00:00Z"
    assert message == expected
    assert [record.message for record in caplog.records] == [expected]


def test_the_nightly_rollout_has_one_where_it_can() -> None:
    """The example is read by every Airflow."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("example_nightly", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert bool(getattr(module.dag, "deadline", None)) == has_deadlines
