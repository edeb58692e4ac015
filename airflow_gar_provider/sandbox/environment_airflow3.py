"""What the process in an environment's image does with Airflow 3 (loaded by `environment_process.py`, never imported).

The REST API is Airflow's own application. The loop over a run's tasks is the one of Airflow's `DAG.test`, on the run
that
the API created: `DAG.test` itself would make a run of its own and clear the task instances of earlier ones.
"""

# Airflow is imported inside functions: the process forks, and each child loads what it needs.
# ruff: noqa: PLC0415
# Airflow's own annotations: untyped constructors, an engine and a session factory that may be None, imports that moved.
# mypy: disable-error-code="no-untyped-call,union-attr,misc,no-redef"

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import selectors
import signal
import sys
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

BUNDLE = "dags-folder"  # the bundle that Airflow makes of `[core] dags_folder`
RAN, NOTHING_TO_DO = 0, 3
alone = True  # no scheduler and no triggerer run beside: set by `environment_process`
POLL_SECONDS = 0.2


def prepare() -> None:
    """Import what every child needs, and connect to nothing."""
    from airflow import settings

    if hasattr(settings, "initialize"):
        settings.initialize()


def warm() -> None:
    """Let the execution API, which every task talks to in process, build its routes: 4 s once instead of in each
    run."""
    import httpx
    from airflow import settings
    from airflow.sdk.execution_time.supervisor import in_process_api_server

    api = in_process_api_server()

    async def ask() -> None:
        client = httpx.AsyncClient(transport=api.atransport, base_url="http://in-process.invalid")
        async with api.app.router.lifespan_context(api.app), client:
            await client.get("/health")

    asyncio.run(ask())
    settings.engine.dispose()  # a connection must not cross a fork


def application() -> Callable[[str, str, Mapping[str, str], object], Awaitable[tuple[int, object]]]:
    """Return a function that asks Airflow's REST API application."""
    import httpx
    from airflow.api_fastapi.app import create_app
    from airflow.api_fastapi.auth.managers.simple.services.login import SimpleAuthManagerLogin

    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=create_app(apps="core")), base_url="http://environment.invalid"
    )

    async def call(method: str, path: str, query: Mapping[str, str], body: object) -> tuple[int, object]:
        if alone and path.endswith("/monitor/health"):
            await asyncio.to_thread(_heartbeat)
        # Whoever comes here is an administrator already; Airflow 3.1 wants a token all the same.
        token = SimpleAuthManagerLogin.create_token_all_admins()
        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
        response = await client.request(method, path, params=dict(query), json=body, headers=headers)
        return response.status_code, response.json() if response.content else None

    return call


def _heartbeat() -> None:
    """Note that scheduling, parsing and triggers are alive: the process that answers is the one that does them."""
    from airflow.jobs.job import Job
    from airflow.utils.session import create_session
    from sqlalchemy import select

    now = datetime.now(timezone.utc)
    with create_session() as session:
        for kind in ("SchedulerJob", "TriggererJob", "DagProcessorJob"):
            job = session.scalars(select(Job).where(Job.job_type == kind)).first()
            if job is None:
                job = Job()
                job.job_type = kind
                job.start_date = now
                session.add(job)
            job.state = "running"
            job.latest_heartbeat = now


def parse() -> int:
    """Parse the DAG folder and write what was found, and what could not be imported, to the database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.dag import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session
    from sqlalchemy import delete, update

    bag = _dag_bag()
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    try:
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:  # 3.1
        from airflow.models.dagbag import sync_bag_to_db
    sync_bag_to_db(bag, BUNDLE, None)
    broken = [str(name) for name in bag.import_errors]
    with create_session() as session:
        # What left the folder: the file processor of a real environment does this in its own loop.
        gone = DagModel.dag_id.not_in(list(bag.dags))
        session.execute(update(DagModel).where(gone).values(is_stale=True))
        session.execute(delete(ParseImportError).where(ParseImportError.filename.not_in(broken)))
    return 0


def _dag_bag() -> Any:
    from airflow import settings

    folder = settings.DAGS_FOLDER
    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:  # 3.1, where a bag does not know its bundle's name
        from airflow.models.dagbag import DagBag

        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        return DagBag(folder, bundle_path=Path(folder), include_examples=False)
    return BundleDagBag(folder, bundle_path=Path(folder), bundle_name=BUNDLE)


def run_next() -> int:
    """Run the oldest queued DAG run whose DAG is not paused, to its end. Returns NOTHING_TO_DO without one."""
    from airflow import settings
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    session = settings.Session()
    _end_orphans(session)
    run = session.scalars(
        select(DagRun)
        .join(DagModel, DagModel.dag_id == DagRun.dag_id)
        .where(DagRun.state.in_(("running", "queued")), DagModel.is_paused.is_(False))
        .order_by(DagRun.state.desc(), DagRun.run_after, DagRun.id)  # running ones (cut off before) first
    ).first()
    if run is None:
        return NOTHING_TO_DO
    dag = _dag_bag().dags.get(run.dag_id)
    if dag is None:
        run.set_state("failed")
        session.commit()
        return RAN
    if run.state == "queued":
        run.set_state("running")
        run.start_date = datetime.now(timezone.utc)
        session.commit()
    _Run(dag, run.id).finish()
    return RAN


def _end_orphans(session: Any) -> None:
    """Fail, or set up for a retry, the tasks that were running when the process ended: nothing runs them any more."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    alive = ("running", "queued", "restarting", "deferred")
    for task_instance in session.scalars(select(TaskInstance).where(TaskInstance.state.in_(alive))):
        _fail(task_instance)
    session.commit()


def _fail(task_instance: Any) -> None:
    again = task_instance.try_number <= task_instance.max_tries
    task_instance.state = "up_for_retry" if again else "failed"
    task_instance.end_date = datetime.now(timezone.utc)


class _Run:
    """One DAG run on its way to an end."""

    def __init__(self, dag: Any, key: int) -> None:
        from airflow import settings

        self.dag = dag
        self.key = key
        self.session = settings.Session()

    def finish(self) -> None:
        """Start what can start, one task at a time, until the run has ended."""
        while (ready := self.ready()) is not None:
            for key in ready:
                self.one_try(key)
            if not ready:
                time.sleep(POLL_SECONDS)  # a retry's delay, a sensor's next poke, an answer of a human

    def ready(self) -> list[Any] | None:
        """Update the run as the scheduler does; return the keys of the tasks that can start, None at the end."""
        from airflow.models.dagbag import DBDagBag
        from airflow.models.dagrun import DagRun

        run = self.session.get(DagRun, self.key)
        if run is None:
            return None  # deleted through the API
        run.dag = DBDagBag().get_dag_for_run(run, session=self.session)
        run.dag.on_success_callback = self.dag.on_success_callback
        run.dag.on_failure_callback = self.dag.on_failure_callback
        schedulable, _ = run.update_state(session=self.session)
        for task_instance in schedulable:
            if task_instance.state != "up_for_reschedule":
                task_instance.try_number += 1
            task_instance.state = "scheduled"
            task_instance.scheduled_dttm = datetime.now(timezone.utc)
        self.session.commit()
        running = run.state == "running"
        keys = [t.id for t in run.get_task_instances(session=self.session) if t.state == "scheduled"]
        self.release()
        return keys if running else None

    def release(self) -> None:
        """Close the database: a connection must not cross a fork."""
        from airflow import settings

        self.session.close()
        settings.engine.dispose()

    def one_try(self, key: Any) -> None:
        """Run one try of a task in a fork of its own; all that it prints goes to the task's log."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.log.file_task_handler import FileTaskHandler

        task_instance = self.session.get(TaskInstance, key)
        handler = FileTaskHandler(os.environ["AIRFLOW__LOGGING__BASE_LOG_FOLDER"])
        log = Path(handler.local_base, handler._render_filename(task_instance, task_instance.try_number))
        log.parent.mkdir(parents=True, exist_ok=True)
        self.release()
        code = _in_fork(lambda: self.execute(key, log), log)
        task_instance = self.session.get(TaskInstance, key)
        if task_instance is not None and task_instance.state in ("running", "queued", "scheduled"):
            _append(log, "error", f"The task's process ended with exit code {code}.", logger="task")
            _fail(task_instance)
            self.session.commit()
        self.release()

    def execute(self, key: Any, log: Path) -> None:
        """Run the task in this process, with its log in the form that Airflow's workers write."""
        import structlog
        from airflow import settings
        from airflow.models.taskinstance import TaskInstance
        from airflow.sdk.definitions.dag import _run_task
        from airflow.sdk.log import configure_logging

        configure_logging(json_output=True, output=_TaskLog(log))
        logging.getLogger(_run_task.__module__).setLevel(logging.WARNING)  # its "[DAG TEST]" lines are no worker's
        task_instance = settings.Session().get(TaskInstance, key)
        assert task_instance is not None
        task = self.dag.task_dict[task_instance.task_id]

        def stop(*_: object) -> None:
            task.on_kill()
            os._exit(128 + signal.SIGTERM)

        signal.signal(signal.SIGTERM, stop)
        # Through Airflow's own logger: it masks the secrets that the task registered.
        sys.stdout = _Printed(structlog.get_logger(logger_name="task.stdout").info)
        sys.stderr = _Printed(structlog.get_logger(logger_name="task.stderr").error)
        _run_task(ti=task_instance, task=task, run_triggerer=True)


class _TaskLog:
    """A task's log file, as Airflow's logging writes to it: whole lines of JSON."""

    def __init__(self, log: Path) -> None:
        self.file = log.open("ab", buffering=0)

    def write(self, data: bytes) -> int:
        """Write a line; an exception gets the name under which a worker's supervisor writes it."""
        try:
            line = json.loads(data)
            line["error_detail"] = line.pop("exception")
        except (ValueError, LookupError, TypeError):
            return self.file.write(data) or 0
        return self.file.write(json.dumps(line).encode() + b"\n") or 0

    def flush(self) -> None:
        """Do nothing: the file has no buffer."""


class _Printed(io.TextIOBase):
    """A standard stream whose lines go to a logger, in order with what the task logs."""

    def __init__(self, emit: Callable[[str], object]) -> None:
        self.emit = emit
        self.rest = ""

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str) -> int:
        """Log each whole line."""
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.emit(line)
        return len(text)

    def finish(self) -> None:
        """Log what did not end with a newline."""
        if self.rest:
            self.write("\n")


def _append(log: Path, level: str, event: str, *, logger: str) -> None:
    """Write one line in the form of Airflow's task logs."""
    moment = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
    line = json.dumps({"timestamp": moment, "level": level, "event": event, "logger": logger})
    with log.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _in_fork(work: Callable[[], None], log: Path) -> int:
    """Run a function in a child and log what it, or a program that it starts, writes to the standard streams."""
    streams = {"task.stdout": os.pipe(), "task.stderr": os.pipe()}
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for number, (_, end) in enumerate(streams.values(), start=1):
                os.dup2(end, number)
            for reading, end in streams.values():
                os.close(reading)
                os.close(end)
            work()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException as problem:
            _append(log, "error", f"{type(problem).__name__}: {problem}", logger="task")
        finally:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, _Printed):
                    stream.finish()
            os._exit(code)
    for _, end in streams.values():
        os.close(end)
    _copy_lines({reading: name for name, (reading, _) in streams.items()}, log, pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _copy_lines(readers: Mapping[int, str], log: Path, pid: int) -> None:
    """Copy lines from pipes to the task's log until the task's process has ended and the pipes are empty."""
    selector = selectors.DefaultSelector()
    printed = {}
    for reader, name in readers.items():
        selector.register(reader, selectors.EVENT_READ)
        level = "info" if name == "task.stdout" else "error"
        printed[reader] = _Printed(partial(_append, log, level, logger=name))
    while selector.get_map():
        ready = selector.select(timeout=POLL_SECONDS)
        for key, _ in ready:
            chunk = os.read(key.fd, 65536)
            if chunk:
                printed[key.fd].write(chunk.decode("utf-8", "replace"))
            else:
                selector.unregister(key.fd)
        # A daemon that the task left behind holds the pipes open: the task's end counts, not theirs.
        if not ready and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    for reader, stream in printed.items():
        stream.finish()
        os.close(reader)
    selector.close()
