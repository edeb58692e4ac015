"""Use: copy DAG files to an environment, run one DAG there, and bring back what it did."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.errors import ConcurrentChangeError, EnvironmentDagError, InvalidInputError
from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
_LOG_LINES = 200
_POLL = 5.0
"""Seconds between two looks at a run."""


def deploy_dags(storage: Storage, environment: Environment, files: object, *, delete: bool = False) -> dict[str, Any]:
    """Copy local DAG files to the environment's `dags/` prefix, or delete them there. Outcomes: written, unchanged.

    A file that is there with the same MD5 is not written again: Airflow would parse it anew for nothing.
    """
    bucket = environment.require_bucket()
    paths = _local_files(files, must_exist=not delete)
    names = [path.name for path in paths]
    if len(set(names)) != len(names):
        raise InvalidInputError(f"two of these files have the same name: {', '.join(map(str, paths))}")
    present = {stored.name: stored for stored in storage.list(bucket, "dags/")}
    changed = []
    for path in paths:
        target = f"dags/{path.name}"
        stored = present.get(target)
        if delete:
            if stored:
                storage.delete(bucket, target)
                changed.append(path.name)
            continue
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if stored and stored.md5 == digest:
            log.info("%s is there already, with the same content", stored.uri)
            continue
        storage.upload(bucket, target, path)
        log.info("%s -> gs://%s/%s", path, bucket, target)
        changed.append(path.name)
    verb = "deleted from" if delete else "copied to"
    done = "is not in" if delete else "already in"
    return {
        "outcome": "written" if changed else "unchanged",
        "message": f"{', '.join(changed)} {verb} {environment.name.name}"
        if changed
        else f"{', '.join(names)} {done} {environment.name.name}",
        "environment": str(environment.name),
        "files": [f"gs://{bucket}/dags/{name}" for name in names],
    }


def _local_files(files: object, *, must_exist: bool) -> list[Path]:
    paths: list[Path] = []
    for item in split_list(files):
        matched = [Path(found) for found in sorted(glob.glob(item))]  # noqa: PTH207 -- an absolute pattern is allowed
        if not matched and must_exist:
            raise InvalidInputError("there is no such DAG file", resource=item)
        paths += matched or [Path(item)]
    if not paths:
        raise InvalidInputError("no DAG file was named")
    return paths


def run_environment_dag(
    airflow: EnvironmentAirflow,
    environment: Environment,
    dag_id: str,
    *,
    run_id: str,
    earlier_run_id: str | None,
    conf: Mapping[str, Any] | None,
    unpause: bool,
    timeout: float,
    clock: Clock,
) -> dict[str, Any]:
    """Run a DAG in the environment, wait for it, and show its tasks' logs. Outcome: success.

    `run_id` names the run, so that a retry which finds it follows it; `earlier_run_id` is the run of an earlier try,
    followed while it still runs. Raises EnvironmentDagError when the DAG is unknown within the timeout, broken, paused,
    or its run failed.
    """
    deadline = clock.monotonic() + timeout
    _wait_until_known(airflow, environment, dag_id, unpause=unpause, deadline=deadline, clock=clock)
    followed = _running(airflow, dag_id, earlier_run_id) or run_id
    if followed == run_id:
        try:
            airflow.start_run(dag_id, run_id, conf or {})
            log.info("started DAG %s in %s as run %s", dag_id, environment.name.name, run_id)
        except ConcurrentChangeError:
            log.info("run %s of DAG %s exists: following it", run_id, dag_id)
    state = _wait_until_done(airflow, environment, dag_id, followed, deadline=deadline, clock=clock)
    tasks = _tell_tasks(airflow, dag_id, followed)
    if state != "success":
        failed = [task for task in tasks if task["state"] == "failed"] or tasks
        raise EnvironmentDagError(
            f"DAG {dag_id} ended {state} in {environment.name.name}: "
            + "; ".join(f"task {task['task_id']}: {task['last_line'] or task['state']}" for task in failed),
            resource=str(environment.name),
            remedy=f"its whole log is above, and at {environment.airflow_uri} (run {followed})",
        )
    returned = {task["task_id"]: task["returned"] for task in tasks if task["returned"] is not None}
    return {
        "outcome": "success",
        "message": f"DAG {dag_id} succeeded in {environment.name.name}{_tell_returned(returned)}",
        "environment": str(environment.name),
        "dag_id": dag_id,
        "run_id": followed,
        "returned": returned,
    }


def _running(airflow: EnvironmentAirflow, dag_id: str, run_id: str | None) -> str | None:
    run = airflow.get_run(dag_id, run_id) if run_id else None
    return run_id if run and run["state"] in ("queued", "running") else None


def _wait_until_known(
    airflow: EnvironmentAirflow,
    environment: Environment,
    dag_id: str,
    *,
    unpause: bool,
    deadline: float,
    clock: Clock,
) -> None:
    """Airflow parses a new file when it gets to it: minutes on a busy environment."""
    while True:
        dag = airflow.get_dag(dag_id)
        if dag is not None:
            break
        errors = {file: trace for file, trace in airflow.import_errors().items() if dag_id in Path(file).name}
        if errors:
            file, trace = next(iter(errors.items()))
            raise EnvironmentDagError(
                f"the file of DAG {dag_id} cannot be imported in {environment.name.name}: {_last_line(trace)}",
                resource=f"{environment.name} {file}",
                remedy="correct the file, or install what it imports (InstallPrivatePackageOperator)",
            )
        if clock.monotonic() > deadline:
            raise EnvironmentDagError(
                f"{environment.name.name} does not know a DAG {dag_id}",
                resource=str(environment.name),
                remedy="deploy its file first (DeployDagOperator), and look at the environment's import errors",
            )
        log.info("%s has not parsed DAG %s yet", environment.name.name, dag_id)
        clock.sleep(_POLL)
    if dag.get("is_paused"):
        if not unpause:
            raise EnvironmentDagError(
                f"DAG {dag_id} is paused in {environment.name.name}: its run would wait for ever",
                resource=str(environment.name),
                remedy="unpause it there, or set unpause=True",
            )
        airflow.unpause(dag_id)
        log.info("unpaused DAG %s in %s", dag_id, environment.name.name)


def _wait_until_done(
    airflow: EnvironmentAirflow,
    environment: Environment,
    dag_id: str,
    run_id: str,
    *,
    deadline: float,
    clock: Clock,
) -> str:
    begun, told = clock.monotonic(), ""
    while True:
        run = airflow.get_run(dag_id, run_id) or {}
        state = str(run.get("state") or "unknown")
        if state in ("success", "failed"):
            log.info("DAG %s: %s after %.0f s", dag_id, state, clock.monotonic() - begun)
            return state
        if state != told:
            log.info("DAG %s is %s in %s", dag_id, state, environment.name.name)
            told = state
        if clock.monotonic() > deadline:
            raise EnvironmentDagError(
                f"DAG {dag_id} is still {state} in {environment.name.name} when the timeout ends",
                resource=str(environment.name),
                remedy=f"look at run {run_id} at {environment.airflow_uri}",
            )
        clock.sleep(1.0 if clock.monotonic() - begun < 2 * _POLL else _POLL)


def _tell_tasks(airflow: EnvironmentAirflow, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """Show every task's log here, bounded and redacted; what each task returned comes back."""
    told = []
    for task in airflow.task_instances(dag_id, run_id):
        lines = redact(airflow.task_log(dag_id, run_id, task)).splitlines()
        log.info("task %s (%s) of DAG %s says:", task["task_id"], task["state"], dag_id)
        for line in lines[-_LOG_LINES:]:
            log.info("  | %s", line)
        returned = airflow.return_value(dag_id, run_id, task["task_id"]) if task["state"] == "success" else None
        told.append(
            {
                "task_id": task["task_id"],
                "state": task["state"],
                "returned": returned,
                "last_line": _error_line(lines),
            }
        )
    return told


def _tell_returned(returned: Mapping[str, Any]) -> str:
    """What the tasks returned, in the length of a line or two."""
    told = "; ".join(f"{task_id} returned {json.dumps(value, default=str)}" for task_id, value in returned.items())
    return f": {redact(told)[:300]}" if told else ""


def _error_line(lines: list[str]) -> str:
    """The line of a log that most likely says why: the last one that names an exception."""
    named = [line for line in lines if "Error" in line or "Exception" in line]
    return (named or lines or [""])[-1].strip()[:500]


def _last_line(text: str) -> str:
    return redact(text.strip().splitlines()[-1] if text.strip() else "")
