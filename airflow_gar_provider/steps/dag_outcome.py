"""Use, its ending: what the tasks of a run in an environment logged and returned, shown here and brought back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.core.environment_dag import READ, DagOrder, labels_of
from airflow_gar_provider.core.foreign_text import Quote, cut, keepable
from airflow_gar_provider.errors import EnvironmentDagError, GoogleApiError
from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
TASKS_SHOWN = 50
"""Tasks whose logs are shown; failed ones come first."""
TASKS_KEPT = 100
"""Tasks whose return values are kept."""
LATE_LOG = 30.0
"""Seconds to wait for the log of a task that failed: Composer's come from Cloud Logging, and lag."""
LOOK_AGAIN = 5.0
"""Seconds between two looks at such a log."""


def end_run(
    airflow: EnvironmentAirflow, environment: Environment, order: DagOrder, run_id: str, clock: Clock
) -> dict[str, Any]:
    """Show what the run's tasks logged, and bring back what they returned. Outcome: success.

    Raises EnvironmentDagError when it failed: each failed task with the line that most likely says why.
    """
    state = str((airflow.get_run(order.dag_id, run_id) or {}).get("state") or "")
    tasks = airflow.task_instances(order.dag_id, run_id) if state else []
    names = labels_of(tasks)
    reasons = _show(airflow, order.dag_id, run_id, list(zip(names, tasks, strict=True)), clock)
    try:
        airflow.note_run(order.dag_id, run_id, f"{order.note}; {READ}")
    except GoogleApiError as error:
        log.warning("the run could not be marked as read: %s", error)
    if state != "success":
        failed = [(name, task) for name, task in zip(names, tasks, strict=True) if task["state"] == "failed"]
        told = "; ".join(f"task {name}: {reasons.get(name) or task['state']}" for name, task in failed[:10])
        raise EnvironmentDagError(
            f"DAG {order.dag_id} ended {state or 'by being deleted'} in {environment.name.name}"
            + (f": {told}" if told else ""),
            resource=str(environment.name),
            remedy=f"the end of each log is above; all of it at {environment.airflow_uri} (run {run_id})",
        )
    returned = {}
    for name, task in list(zip(names, tasks, strict=True))[:TASKS_KEPT]:
        value = airflow.return_value(order.dag_id, run_id, task) if task["state"] == "success" else None
        if value is not None:
            returned[name] = keepable(value)
    return {
        "outcome": "success",
        "message": f"DAG {order.dag_id} succeeded in {environment.name.name}{_tell_returned(returned)}",
        "environment": str(environment.name),
        "dag_id": order.dag_id,
        "run_id": run_id,
        "returned": returned,
    }


def _show(
    airflow: EnvironmentAirflow,
    dag_id: str,
    run_id: str,
    tasks: Sequence[tuple[str, Mapping[str, Any]]],
    clock: Clock,
) -> dict[str, str]:
    """Show the logs of the tasks that ran, bounded and redacted; for each the line that most likely says why."""
    ran = [(name, task) for name, task in tasks if task.get("state") in ("success", "failed", "up_for_retry")]
    first = sorted(ran, key=lambda pair: pair[1]["state"] == "success")
    reasons = {}
    for name, task in first[:TASKS_SHOWN]:
        quote = _log_of(airflow, dag_id, run_id, task, clock)
        log.info("task %s (%s) of DAG %s says:", name, task["state"], dag_id)
        if quote.left_out:
            log.info("  | ... %s lines before these are not shown", quote.left_out)
        for line in quote.lines:
            log.info("  | %s", line)
        reasons[name] = quote.reason
    if len(first) > TASKS_SHOWN:
        log.info("the logs of %s more tasks are not shown", len(first) - TASKS_SHOWN)
    return reasons


def _log_of(airflow: EnvironmentAirflow, dag_id: str, run_id: str, task: Mapping[str, Any], clock: Clock) -> Quote:
    """The end of a task's log; that of a failed task is waited for a little."""
    begun = clock.monotonic()
    while True:
        quote = Quote.of(airflow.task_log(dag_id, run_id, task))
        if quote.lines or task["state"] == "success" or clock.monotonic() - begun > LATE_LOG:
            return quote
        clock.sleep(LOOK_AGAIN)


def _tell_returned(returned: Mapping[str, Any]) -> str:
    """What the tasks returned, in the length of a line or two."""
    told = "; ".join(f"{name} returned {json.dumps(value, default=str)}" for name, value in returned.items())
    return f": {cut(told, 300)}" if told else ""
