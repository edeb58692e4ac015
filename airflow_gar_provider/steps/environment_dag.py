"""Use: run one DAG in an environment, and bring back what it did.

`start_run`, a wait (here or in the triggerer), `steps.dag_outcome.end_run`. `steps.deploy_dag` deploys the DAG's file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.core.environment_dag import (
    BrokenFile,
    DagOrder,
    below_dags,
    file_of,
    is_known,
    same_source,
    what_to_do_with,
)
from airflow_gar_provider.core.foreign_text import Quote
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    EnvironmentDagError,
    GoogleApiError,
    UnavailableError,
)
from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.dag_outcome import end_run

log = logging.getLogger(__name__)
POLL = 5.0
"""Seconds between two looks at whether a file has been parsed."""
TELL = 60.0
"""Seconds between two lines that say the same."""
LOST_LOOKS = 3
"""Looks in a row that find no such run, before it counts as deleted."""


def run_environment_dag(
    airflow: EnvironmentAirflow,
    environment: Environment,
    dag_id: str,
    *,
    run_id: str,
    earlier_run_id: str | None = None,
    conf: Mapping[str, Any] | None = None,
    unpause: bool = False,
    timeout: float,
    clock: Clock,
    storage: Storage | None = None,
) -> dict[str, Any]:
    """Run a DAG in the environment, wait for it here, and show its tasks' logs. Outcome: success.

    `run_id` names the run, so that another try which finds it follows it. Errors: those of `start_run`, `end_run`.
    """
    deadline = clock.monotonic() + timeout
    order = DagOrder(dag_id, run_id, (earlier_run_id,) if earlier_run_id else (), conf, unpause)
    followed = start_run(airflow, storage, environment, order, timeout=timeout, clock=clock)
    wait_for_run(
        airflow, environment, dag_id, followed, timeout=deadline - clock.monotonic(), poll_interval=POLL, clock=clock
    )
    return end_run(airflow, environment, order, followed, clock)


def start_run(
    airflow: EnvironmentAirflow,
    storage: Storage | None,
    environment: Environment,
    order: DagOrder,
    *,
    timeout: float,
    clock: Clock,
) -> str:
    """Start a run as soon as the DAG's file, as it is in the bucket now, has been parsed; returns the run's id.

    A run that an earlier try started is followed instead. Raises EnvironmentDagError when the DAG is paused, broken,
    or not known within `timeout` seconds; AccessDeniedError, UnavailableError.
    """
    for run_id in order.earlier:
        run = airflow.get_run(order.dag_id, run_id)
        if run is None:
            continue
        if what_to_do_with(run) == "follow":
            log.info("run %s of DAG %s, of an earlier try, is %s: following it", run_id, order.dag_id, run["state"])
            return run_id
        break
    _wait_until_parsed(airflow, storage, environment, order, timeout=timeout, clock=clock)
    try:
        airflow.start_run(order.dag_id, order.run_id, order.conf or {}, order.note)
        log.info("started DAG %s in %s as run %s", order.dag_id, environment.name.name, order.run_id)
    except ConcurrentChangeError:
        if airflow.get_run(order.dag_id, order.run_id) is None:
            raise  # a conflict about something else: Airflow's words say what
        log.info("run %s of DAG %s exists: following it", order.run_id, order.dag_id)
    return order.run_id


def _wait_until_parsed(
    airflow: EnvironmentAirflow,
    storage: Storage | None,
    environment: Environment,
    order: DagOrder,
    *,
    timeout: float,
    clock: Clock,
) -> None:
    """Airflow parses a new file when it gets to it: minutes on a busy environment."""
    begun, said = clock.monotonic(), ("", float("-inf"))
    while True:
        try:
            missing = _missing(airflow, storage, environment, order)
        except UnavailableError as error:
            missing = f"cannot be asked: {error.what}"
        if missing is None:
            return
        if clock.monotonic() - begun > timeout:
            raise _never_parsed(airflow, environment, missing, timeout)
        if said[0] != missing or clock.monotonic() > said[1] + TELL:
            log.info("%s %s", environment.name.name, missing)
            said = missing, clock.monotonic()
        clock.sleep(POLL)


def _missing(
    airflow: EnvironmentAirflow, storage: Storage | None, environment: Environment, order: DagOrder
) -> str | None:
    """What keeps the DAG from being run now, for a sentence about the environment; None when nothing does."""
    dag = airflow.get_dag(order.dag_id)
    file = below_dags(order.file) if order.file else None
    missing = f"does not know DAG {order.dag_id} yet"
    if is_known(dag) and dag is not None:
        if dag.get("is_paused"):
            _unpause(airflow, environment, order)
        file = file_of(dag) or file
        if _is_parsed(airflow, storage, environment, dag, file):
            return None
        missing = f"has not parsed the newest version of {file} yet"
    broken = _broken(airflow, storage, environment, order.dag_id, file)
    if broken is None:
        return missing
    raise EnvironmentDagError(
        f"the file of DAG {order.dag_id} cannot be imported in {environment.name.name}: "
        f"{broken.path}: {Quote.of(broken.trace).reason}",
        resource=f"{environment.name} {broken.file}",
        remedy="correct the file, or install what it imports (InstallPrivatePackageOperator)",
    )


def _unpause(airflow: EnvironmentAirflow, environment: Environment, order: DagOrder) -> None:
    if not order.unpause:
        raise EnvironmentDagError(
            f"DAG {order.dag_id} is paused in {environment.name.name}: its run would wait for ever",
            resource=str(environment.name),
            remedy="unpause it there, or set unpause=True",
        )
    airflow.unpause(order.dag_id)
    log.info("unpaused DAG %s in %s; it stays so", order.dag_id, environment.name.name)


def _is_parsed(
    airflow: EnvironmentAirflow,
    storage: Storage | None,
    environment: Environment,
    dag: Mapping[str, Any],
    file: str | None,
) -> bool:
    """Whether Airflow's version of the DAG's file is the bucket's; where that cannot be told, what it has must do."""
    if storage is None or not file:
        return True
    try:
        stored = storage.read(environment.require_bucket(), f"dags/{file}")
        source = airflow.source(dag) if stored else None
    except AccessDeniedError as error:
        log.warning("whether the newest version of %s has been parsed cannot be told: %s", file, error.what)
        return True
    # A file of an archive, or one that has been deleted, is not in the bucket under its own name.
    return stored is None or source is None or same_source(source, stored[0])


def _broken(
    airflow: EnvironmentAirflow, storage: Storage | None, environment: Environment, dag_id: str, file: str | None
) -> BrokenFile | None:
    """The DAG's file, if the version of it that is in the bucket cannot be imported."""
    for broken in airflow.broken_files():
        name, content, written = f"dags/{broken.path}", None, None
        if file is not None and broken.path != file:
            continue
        if storage is not None:
            try:
                stored = storage.read(environment.require_bucket(), name)
                content = stored[0].decode("utf-8", "replace") if stored else None
                written = storage.written(environment.require_bucket(), name)
            except AccessDeniedError:
                log.info("%s may not be read: its import error is taken as it is", name)
        stale = written is not None and broken.when is not None and broken.when < written
        if broken.is_about(dag_id, file, content) and not stale:
            return broken
    return None


def _never_parsed(
    airflow: EnvironmentAirflow, environment: Environment, missing: str, timeout: float
) -> EnvironmentDagError:
    try:
        files = [f"{broken.path}: {Quote.of(broken.trace).reason}" for broken in airflow.broken_files()]
    except GoogleApiError as error:
        files = []
        log.warning("%s", error)
    others = f"; files that cannot be imported there: {'; '.join(files[:5])}" if files else ""
    return EnvironmentDagError(
        f"{environment.name.name} {missing} after {timeout:.0f} s{others}",
        resource=str(environment.name),
        remedy="deploy its file first (DeployDagOperator), and look at the environment's DAG processor",
    )


def wait_for_run(
    airflow: EnvironmentAirflow,
    environment: Environment,
    dag_id: str,
    run_id: str,
    *,
    timeout: float,
    poll_interval: float,
    clock: Clock,
) -> None:
    """Wait in this process until a run has ended. Raises EnvironmentDagError after `timeout` seconds."""
    begun, told, missing = clock.monotonic(), "", 0
    while True:
        try:
            state = state_of(airflow, dag_id, run_id)
        except UnavailableError as error:
            log.warning("looking again: %s", error)
            state = told or "not seen"
        if state in ("success", "failed"):
            log.info("DAG %s: %s after %.0f s", dag_id, state, clock.monotonic() - begun)
            return
        missing = 0 if state else missing + 1
        if missing == LOST_LOOKS:
            return  # `end_run` says so
        if state and state != told:
            log.info("DAG %s is %s in %s", dag_id, state, environment.name.name)
            told = state
        if clock.monotonic() - begun > timeout:
            raise still_running(environment, dag_id, run_id, state)
        clock.sleep(min(1.0, poll_interval) if clock.monotonic() - begun < 2 * poll_interval else poll_interval)


def state_of(airflow: EnvironmentAirflow, dag_id: str, run_id: str) -> str:
    """The state of a run; empty when there is none."""
    return str((airflow.get_run(dag_id, run_id) or {}).get("state") or "")


def still_running(environment: Environment, dag_id: str, run_id: str, state: str) -> EnvironmentDagError:
    """The error for a run that did not end in time."""
    return EnvironmentDagError(
        f"DAG {dag_id} is still {state or 'not seen'} in {environment.name.name} when the timeout ends",
        resource=str(environment.name),
        remedy=f"look at run {run_id} at {environment.airflow_uri}; it goes on, and another try follows it",
    )
