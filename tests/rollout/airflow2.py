"""A real Airflow 2.11 for the rollout's tests: scheduler and triggerer as processes, and what is asked of them.

There is no api-server: runs are triggered with Airflow's command line, and their states are read in the database. It
is SQLite with the LocalExecutor, which Airflow 2 takes when it is told not to mind; a write waits for the other.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any

from demo import airflow_settings as settings
from demo import processes
from demo.airflow_client import TaskInstance

_SETTINGS = {
    "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True",
    "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",  # two slow cores, and everything starting at once
    "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "60",  # reading the files again and again takes a core
}


class Airflow2:
    """Airflow's processes in one folder, from `with` to the end of the block."""

    def __init__(self, *, home: Path, dags: Path, environ: Mapping[str, str], parallelism: int = 4) -> None:
        self.home, self._dags, self._parallelism = home.resolve(), dags, parallelism
        self._environ = {**settings.environment(environ, self.home, python_path=()), **_SETTINGS}
        self._components: list[processes.Component] = []
        self.client = Database(self.home / "airflow.db", self._environ)

    def __enter__(self) -> Airflow2:
        self.home.mkdir(parents=True)
        settings.write_config(self.home, port=0, parallelism=self._parallelism)
        settings.link_dags(self._dags, self.home)
        # The web server, which there is none of, makes the roles that a DAG's access_control names.
        for command in (("db", "migrate"), ("sync-perm",)):
            once = self._component(*command)
            assert once.wait(240) == 0, once.last_lines()
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            database.execute("pragma journal_mode=wal")
        self._components = [self._component("scheduler", "-s"), self._component("triggerer", "-s")]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        processes.end([component.session for component in self._components], grace=8)
        for component in self._components:
            component.wait(5)

    def wait_for_dag(self, dag_id: str, timeout: float = 180) -> None:
        """Wait until Airflow has read the DAG, and let its runs start."""
        deadline = time.monotonic() + timeout
        while not self.client.rows("select 1 from dag where dag_id = ?", dag_id):
            for component in self._components:
                assert component.exit_status is None, component.last_lines()
            errors = [row["stacktrace"] for row in self.client.rows("select stacktrace from import_error")]
            assert not errors, "\n".join(errors)
            assert time.monotonic() < deadline, f"{dag_id} was not read: {self._components[0].last_lines()}"
            time.sleep(1)
        with closing(sqlite3.connect(self.home / "airflow.db", timeout=30)) as database, database:
            database.execute("update dag set is_paused = 0 where dag_id = ?", (dag_id,))

    def _component(self, *arguments: str) -> processes.Component:
        command = [sys.executable, "-m", "airflow", *arguments]
        log_file = self.home / f"{arguments[0]}.log"
        return processes.Component(arguments[0], command, environ=self._environ, log_file=log_file)


class Database:
    """What `demo.airflow_client.AirflowClient` says, read from the database."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        self._file = file
        self._environ = environ

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=30)) as database:
            database.row_factory = sqlite3.Row
            return database.execute(query, values).fetchall()

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run; returns its id."""
        run_id = f"manual__{uuid.uuid4()}"
        command = [sys.executable, "-W", "ignore", "-m", "airflow", "dags", "trigger", dag_id, "--run-id", run_id]
        command += ["--conf", json.dumps(conf)] if conf else []
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        [row] = self.rows("select state from dag_run where dag_id = ? and run_id = ?", dag_id, run_id)
        return str(row["state"])

    def unfinished_runs(self, dag_id: str) -> list[str]:
        """The ids of the runs that are queued or running."""
        found = self.rows("select run_id from dag_run where dag_id = ? and state in ('queued', 'running')", dag_id)
        return [str(row["run_id"]) for row in found]

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """All task instances of a run."""
        found = self.rows("select * from task_instance where dag_id = ? and run_id = ?", dag_id, run_id)
        return [
            TaskInstance(
                task_id=row["task_id"],
                map_index=row["map_index"],
                state=row["state"],
                try_number=row["try_number"],
                operator=row["operator"],
                label=row["rendered_map_index"],
                environment=None,
                moment=row["end_date"] or row["start_date"] or "",
            )
            for row in found
        ]

    def xcom(self, dag_id: str, run_id: str, key: tuple[str, int], name: str = "return_value") -> Any:
        """One XCom of a task instance, or None when there is none."""
        query = "select value from xcom where dag_id = ? and run_id = ? and task_id = ? and map_index = ? and key = ?"
        found = self.rows(query, dag_id, run_id, *key, name)
        return json.loads(found[0]["value"]) if found else None


def start(*, home: Path, dags: Path, environ: Mapping[str, str], parallelism: int) -> Any:  # either Airflow's stack
    """The Airflow that this Python has, to be entered with `with`."""
    if settings.airflow_version() < (3, 0):
        return Airflow2(home=home, dags=dags, environ=environ, parallelism=parallelism)
    from demo.airflow_stack import AirflowStack

    return AirflowStack(home=home, dags=dags, environ=environ, parallelism=parallelism, timeout=240)
