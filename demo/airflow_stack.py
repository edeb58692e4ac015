"""A real Airflow 3 in a folder: database, api-server, scheduler, dag-processor and triggerer, on loopback only.

``airflow standalone`` is not used: its scheduler and triggerer open log servers on all addresses, and a signal to it
leaves them running. Here each component is a process of its own with a log file of its own, and ends with the stack.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import airflow_settings as settings
from demo import processes
from demo.airflow_client import AirflowApiError, AirflowClient, TaskInstance
from demo.ending import signals_held

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import IO

COMPONENTS = {
    "api-server": ("api-server",),
    # -s: no log server. It would listen on all addresses, and the api-server reads the files itself.
    "scheduler": ("scheduler", "-s"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "-s"),
}
HEALTH = {  # what the health answer calls the components that beat, and how it names their heartbeat
    "scheduler": "latest_scheduler_heartbeat",
    "triggerer": "latest_triggerer_heartbeat",
    "dag_processor": "latest_dag_processor_heartbeat",
}
END_GRACE = 8.0  # a running task is not waited for longer: every step of the DAG can run again


class StackError(Exception):
    """Airflow did not start, or a part of it ended; the message quotes the log."""


class AirflowStack:
    """Airflow's processes in one folder, from `with` to the end of the block.

    ``home`` is kept between runs: its database, logs, secrets and login. ``dags`` is the folder of DAG files.
    ``environ`` is what the processes inherit (this process's own environment when None); ``python_path`` comes first on
    their import path. ``users`` may log in besides the admin: name → role (viewer, user, op, admin); `client_of` and
    `passwords` are theirs. ``say`` is told in one line what is being done.

    Raises `StackError` when a component ends or does not get healthy within ``timeout`` seconds, and when another
    stack runs in the same folder.
    """

    def __init__(
        self,
        *,
        home: Path,
        dags: Path,
        environ: Mapping[str, str] | None = None,
        python_path: Sequence[Path] = (),
        port: int = 0,
        parallelism: int = 3,
        users: Mapping[str, str] | None = None,
        timeout: float = 240,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.home = home.resolve()
        self._dags = dags
        self._inherited = os.environ if environ is None else environ
        self._python_path = tuple(path.resolve() for path in python_path)
        self._port = port
        self._parallelism = parallelism
        self._users = dict(users or {})
        self._timeout = timeout
        self._say = say
        self._components: list[processes.Component] = []
        self._services: list[processes.Component] = []  # what Airflow itself needs: ended after it
        self._keeper: processes.Keeper | None = None
        self._lock: IO[str] | None = None
        self._started = datetime.now(timezone.utc)
        self.user = settings.USER
        self.password = ""
        self.passwords: dict[str, str] = {}
        self.client = AirflowClient("", "", "")

    def __enter__(self) -> AirflowStack:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def url(self) -> str:
        """Where the web UI and the API are."""
        return self.client.url

    def client_of(self, user: str) -> AirflowClient:
        """The API as one of the users sees it."""
        return AirflowClient(self.url, user, self.passwords[user])

    def check(self) -> None:
        """Raise `StackError` when a component has ended meanwhile."""
        for component in (*self._services, *self._components):
            if component.exit_status is not None:
                raise StackError(
                    f"Airflow's {component.name} ended with exit status {component.exit_status}."
                    f" {_quote(component.log_file, component.last_lines())}"
                )

    def wait_for_dag(self, dag_id: str, timeout: float = 120) -> None:
        """Wait until Airflow has read the DAG's file in this start, and let its runs start."""
        self._say(f"waiting for Airflow to read the DAG {dag_id}")
        deadline = time.monotonic() + timeout
        while True:
            self.check()
            parsed = self.client.parsed_at(dag_id)
            # A DAG of an earlier start is in the database too, as its file was then.
            if parsed is not None and parsed > self._started:
                break
            if errors := self.client.import_errors():
                trace = "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors)
                raise StackError(f"Airflow cannot read these DAG files:\n{trace}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"Airflow has not read a DAG {dag_id} within {timeout:.0f} s; it looks in {self.home / 'dags'}"
                    f" (linked from {self._dags}). {self._quote('dag-processor')}"
                )
            time.sleep(0.5)
        self.client.unpause(dag_id)

    def wait_for_question(self, dag_id: str, run_id: str, task_id: str, timeout: float = 300) -> None:
        """Wait until a task asks somebody, and an answer would be taken.

        Airflow fails the try of a task that is resumed before its scheduler has heard of the end of the process that
        asked: of four answers within a second, three were lost, and asked for again (tried, 3.3.2). When it has heard,
        is in its log.
        """
        deadline = time.monotonic() + timeout
        while True:
            self.check()
            tasks = {task.task_id: task for task in self.client.task_instances(dag_id, run_id)}
            task = tasks.get(task_id)
            if task and task.state in ("deferred", "awaiting_input") and self._has_ended(dag_id, run_id, task):
                return
            state = self.client.run_state(dag_id, run_id)
            if state in ("success", "failed") or time.monotonic() > deadline:
                states = {name: each.state for name, each in tasks.items()}
                raise StackError(f"{task_id} asked nobody within {timeout:.0f} s; the run is {state}: {states}")
            time.sleep(0.5)

    def _has_ended(self, dag_id: str, run_id: str, task: TaskInstance) -> bool:
        """Whether the scheduler has heard that the process of a task's last try is gone."""
        key = f"dag_id={dag_id!r}, task_id={task.task_id!r}, run_id={run_id!r}, try_number={task.try_number},"
        heard = f"executor event with state success for task instance TaskInstanceKey({key}"
        return heard in (self.home / "scheduler.log").read_text(encoding="utf-8", errors="replace")

    def listening_sockets(self) -> list[processes.Socket]:
        """Every socket of every process of the stack that others could reach."""
        return processes.listening_sockets(self._sessions)

    @property
    def _sessions(self) -> list[int]:
        return [component.session for component in (*self._components, *self._services)]

    def _start(self) -> None:
        if settings.airflow_version() < (3, 1):
            found = ".".join(map(str, settings.airflow_version()))
            raise StackError(f"The demo's local Airflow needs Airflow 3.1 or newer; this environment has {found}.")
        self.home.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        port = self._port or free_port()
        self.passwords = {name: settings.password(self.home, name) for name in (self.user, *self._users)}
        self.password = self.passwords[self.user]
        self._keeper = processes.Keeper()
        self._configure(port)
        settings.link_dags(self._dags, self.home)
        self._migrate(self._environ(self.home))
        self.client = AirflowClient(f"http://127.0.0.1:{port}", self.user, self.password)
        self._started = datetime.now(timezone.utc)
        self._begin_components()
        self._wait_until_healthy()

    def _configure(self, port: int) -> None:
        """Write the configuration; a stack with services of its own starts them here."""
        settings.write_config(self.home, port=port, parallelism=self._parallelism, users=self._users)

    def _environ(self, home: Path) -> dict[str, str]:
        """The environment of a component whose AIRFLOW_HOME this is."""
        return settings.environment(self._inherited, home, python_path=self._python_path)

    def _begin_components(self) -> None:
        self._say("starting Airflow: " + ", ".join(COMPONENTS))
        for name, arguments in COMPONENTS.items():
            self._begin(name, arguments)

    def _begin(self, name: str, arguments: Sequence[str]) -> None:
        """Start one component, and have it ended with us."""
        log_file = self.home / f"{name}.log"
        log_file.write_bytes(b"")
        environ = self._environ(self.home)
        component = processes.Component(name, airflow_command(*arguments), environ=environ, log_file=log_file)
        self._components.append(component)
        self._watch(component)

    def _watch(self, component: processes.Component) -> None:
        assert self._keeper is not None, "it is there from the start to the end"
        self._keeper.watch(component.session)

    def _take_lock(self) -> None:
        """Refuse a second stack in the folder: both would work on one database, with different ports."""
        self._lock = (self.home / "stack.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            holder = self._lock.read().strip()
            raise StackError(
                f"Another Airflow of this demo runs in {self.home} (process {holder})."
                " End it first, or use another folder."
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _migrate(self, environ: Mapping[str, str]) -> None:
        """Create or upgrade the database, once per Airflow version: it takes many seconds."""
        marker = self.home / "migrated-for.txt"
        wanted = f"apache-airflow {version('apache-airflow')}"
        database = self.home / "airflow.db"
        if database.exists() and marker.exists() and marker.read_text(encoding="utf-8") == wanted:
            return
        self._say("creating Airflow's database" if not database.exists() else "upgrading Airflow's database")
        self._run_migration(environ)
        with sqlite3.connect(database) as connection:
            connection.execute("pragma journal_mode=wal")  # readers then do not wait for the writer; kept in the file
        connection.close()
        marker.write_text(wanted, encoding="utf-8")

    def _run_migration(self, environ: Mapping[str, str]) -> None:
        log_file = self.home / "db-migrate.log"
        log_file.write_bytes(b"")
        # A component like the others, so that it ends with us when we are interrupted.
        command = airflow_command("db", "migrate")
        migration = processes.Component("db migrate", command, environ=environ, log_file=log_file)
        self._components = [migration]
        status = migration.wait(self._timeout)
        if status != 0:
            how = f"did not end within {self._timeout:.0f} s" if status is None else f"ended with exit status {status}"
            raise StackError(f"'airflow db migrate' {how}. {_quote(log_file, migration.last_lines())}")
        self._components = []

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            self.check()
            missing = self._not_healthy()
            if not missing:
                return
            if time.monotonic() > deadline:
                quotes = "\n".join(self._quote(name.replace("_", "-")) for name in missing)
                raise StackError(f"Not healthy after {self._timeout:.0f} s: {', '.join(missing)}.\n{quotes}")
            time.sleep(0.3)

    def _not_healthy(self) -> list[str]:
        """The components that do not answer, or have not sent a heartbeat since this start."""
        try:
            health = self.client.health()
        except (OSError, AirflowApiError):
            return ["api-server"]
        return [name for name, heartbeat in HEALTH.items() if not self._beats(health.get(name) or {}, heartbeat)]

    def _beats(self, health: dict[str, Any], heartbeat: str) -> bool:
        beat = health.get(heartbeat)
        # The row of an earlier start still counts as healthy for Airflow, for half a minute.
        return health.get("status") == "healthy" and beat is not None and _time(beat) > self._started

    def _quote(self, name: str) -> str:
        component = next(component for component in self._components if component.name == name)
        return _quote(component.log_file, component.last_lines())

    def _end(self) -> None:
        """End everything, undisturbed by further signals: an impatient second Ctrl-C must not leave orphans."""
        with signals_held():
            for components in (self._components, self._services):
                processes.end([component.session for component in components], grace=END_GRACE)
                for component in components:
                    component.wait(5)
            self._components, self._services = [], []
            if self._keeper is not None:
                self._keeper.release()
                self._keeper = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None


def airflow_command(*arguments: str) -> list[str]:
    """The command line of an Airflow command in this very Python, whatever `airflow` on PATH is."""
    return [sys.executable, "-m", "airflow", *arguments]


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _quote(log_file: Path, lines: Sequence[str]) -> str:
    if not lines:
        return f"Its log {log_file} is empty."
    return f"The last lines of {log_file}:\n" + "\n".join(f"    {line}" for line in lines)
