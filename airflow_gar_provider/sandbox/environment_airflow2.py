"""What the process in an environment's image does with Airflow 2 (loaded by `environment_process.py`, never imported).

The REST API is Airflow's own Flask application, asked through its test client. A task is run by `airflow tasks run
--local`,
as a worker does, so that states, retries and logs are Airflow's own.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

RAN, NOTHING_TO_DO = 0, 3
alone = True  # no scheduler and no triggerer run beside: set by `environment_process`
POLL_SECONDS = 0.2


def _load(module: str, name: str) -> Any:
    """Import by name: the type checker sees Airflow 3, where these are gone or differ."""
    return getattr(importlib.import_module(module), name)


def prepare() -> None:
    """Import what every child needs."""
    for module in ("airflow.models.dagrun", "airflow.models.dagbag", "airflow.cli.commands.task_command"):
        importlib.import_module(module)
    importlib.import_module("airflow.settings").engine.dispose()


def warm() -> None:
    """Do nothing: on Airflow 2 a task writes to the database itself."""


def application() -> Callable[[str, str, Mapping[str, str], object], Awaitable[tuple[int, object]]]:
    """Return a function that asks Airflow's REST API application."""
    client = _load("airflow.www.app", "create_app")().test_client()
    asking = asyncio.Lock()  # one Flask client, one request at a time

    async def call(method: str, path: str, query: Mapping[str, str], body: object) -> tuple[int, object]:
        if alone and path.endswith("/health"):
            await asyncio.to_thread(_heartbeat)
        async with asking:
            response = await asyncio.to_thread(
                client.open,
                path,
                method=method,
                query_string=dict(query),
                json=body,
                headers={"Accept": "application/json"},
            )
        return response.status_code, response.get_json(silent=True)

    return call


def _heartbeat() -> None:
    """Note that scheduling is alive: the process that answers is the one that does it."""
    job_type = _load("airflow.jobs.job", "Job")
    with _load("airflow.utils.session", "create_session")() as session:
        now = datetime.now(timezone.utc)
        for kind in ("SchedulerJob", "TriggererJob"):
            job = session.query(job_type).filter(job_type.job_type == kind).first()
            if job is None:
                job = job_type()
                job.job_type = kind
                job.start_date = now
                session.add(job)
            job.state = "running"
            job.latest_heartbeat = now


def _dag_bag() -> Any:
    settings = importlib.import_module("airflow.settings")
    return _load("airflow.models.dagbag", "DagBag")(settings.DAGS_FOLDER, include_examples=False)


def parse() -> int:
    """Parse the DAG folder and write what was found, and what could not be imported, to the database."""
    error_type = _load("airflow.models.errors", "ParseImportError")
    model = _load("airflow.models.dag", "DagModel")
    bag = _dag_bag()
    bag.sync_to_db()
    with _load("airflow.utils.session", "create_session")() as session:
        session.query(error_type).delete()
        for name, trace in bag.import_errors.items():
            session.add(error_type(filename=name, timestamp=datetime.now(timezone.utc), stacktrace=trace))
        gone = model.dag_id.not_in(list(bag.dags))
        session.query(model).filter(gone).update({"is_active": False}, synchronize_session=False)
    return 0


def run_next() -> int:
    """Run the oldest queued DAG run whose DAG is not paused, to its end. Returns NOTHING_TO_DO without one."""
    settings = importlib.import_module("airflow.settings")
    run_type = _load("airflow.models.dagrun", "DagRun")
    model = _load("airflow.models.dag", "DagModel")
    session = settings.Session()
    _end_orphans(session)
    run = (
        session.query(run_type)
        .join(model, model.dag_id == run_type.dag_id)
        .filter(run_type.state.in_(("running", "queued")), model.is_paused.is_(False))
        .order_by(run_type.state.desc(), run_type.id)
        .first()
    )
    if run is None:
        return NOTHING_TO_DO
    dag = _dag_bag().dags.get(run.dag_id)
    run.set_state("failed" if dag is None else "running")
    key = run.id
    session.commit()
    while dag is not None and (ready := _ready(session, dag, key)) is not None:
        for task_instance in ready:
            _one_try(*task_instance, dag)
        if not ready:
            time.sleep(POLL_SECONDS)
    return RAN


def _end_orphans(session: Any, only: tuple[str, str, str, int] | None = None) -> None:
    """Fail, or set up for a retry, the tasks that were running when the process ended: all, or only one of them.

    `only` is (DAG, task, run, map index): beside it others are queued, whose turn has not come.
    """
    instance_type = _load("airflow.models.taskinstance", "TaskInstance")
    alive = ("running", "queued", "restarting")
    for task_instance in session.query(instance_type).filter(instance_type.state.in_(alive)):
        key = (task_instance.dag_id, task_instance.task_id, task_instance.run_id, task_instance.map_index)
        if only not in (None, key):
            continue
        again = task_instance.try_number <= task_instance.max_tries
        task_instance.state = "up_for_retry" if again else "failed"
        task_instance.end_date = datetime.now(timezone.utc)
    session.commit()


def _ready(session: Any, dag: Any, key: int) -> list[tuple[str, str, int]] | None:
    """Update the run as the scheduler does; return what can start as (task, run, map index), None at the end."""
    session.expire_all()
    run = session.get(_load("airflow.models.dagrun", "DagRun"), key)
    if run is None:
        return None
    run.dag = dag
    for task_instance in run.get_task_instances(session=session):
        if task_instance.state == "deferred":
            _run_trigger(task_instance, session)
    schedulable, _ = run.update_state(session=session)
    run.schedule_tis(schedulable, session=session)
    session.commit()
    found = run.get_task_instances(session=session)
    ready = [(t.task_id, t.run_id, t.map_index) for t in found if t.state == "scheduled"]
    for task_instance in found:
        if task_instance.state == "scheduled":
            task_instance.state = "queued"
    running = run.state == "running"
    session.commit()
    session.close()
    importlib.import_module("airflow.settings").engine.dispose()  # a connection must not cross a fork
    return ready if running else None


def _run_trigger(task_instance: Any, session: Any) -> None:
    """Wait for a deferred task's first event in line, as `airflow dags test` does, and let the task go on."""
    trigger_type = _load("airflow.models.trigger", "Trigger")
    row = session.get(trigger_type, task_instance.trigger_id)
    trigger = _load("airflow.utils.module_loading", "import_string")(row.classpath)(**row.kwargs)
    event = _load("airflow.models.dag", "_run_inline_trigger")(trigger)
    trigger_type.submit_event(trigger_id=row.id, event=event, session=session)
    session.commit()


def _one_try(task: str, run: str, map_index: int, dag: Any) -> None:
    """Run one try of a task in a fork of its own, as a worker does."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        settings = importlib.import_module("airflow.settings")
        session = settings.Session()
        _end_orphans(session, (dag.dag_id, task, run, map_index))  # one that could not even start
        session.close()
        return
    code = 1
    try:
        arguments = ["tasks", "run", dag.dag_id, task, run, "--local", "--subdir", str(Path(dag.fileloc))]
        arguments += ["--map-index", str(map_index)] if map_index >= 0 else []
        parsed = _load("airflow.cli.cli_parser", "get_parser")().parse_args(arguments)
        parsed.func(parsed)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    finally:
        os._exit(code)
