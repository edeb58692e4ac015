"""Airflow with CeleryExecutor: workers and triggerers with folders of their own, which can be killed one by one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from demo import airflow_settings as settings
from demo import processes
from demo.airflow_stack import COMPONENTS, AirflowStack, airflow_command
from distributed.services import Services

if TYPE_CHECKING:
    from pathlib import Path

APART = ("worker-1", "worker-2", "triggerer-1")
"""The components that are "another machine": a name is also the host name that Airflow shows, and the folder's."""
COMMANDS = {
    # A worker serves everybody's queue, and one that is named after it.
    "worker": "celery worker --celery-hostname {name} --queues default,{name} --skip-serve-logs --without-mingle"
    " --without-gossip",
    "triggerer": "triggerer -s",
}
NOTICED = {
    # Airflow's own: 300, looked at every 10 s. A worker that is gone is noticed when its tasks' heartbeats stop.
    ("scheduler", "task_instance_heartbeat_timeout"): "25",
    ("scheduler", "task_instance_heartbeat_timeout_detection_interval"): "3",
    ("workers", "min_heartbeat_interval"): "3",
    # Airflow's own: 600 and 120. What a dead worker had taken from the queue and not begun is queued again.
    ("scheduler", "task_queued_timeout"): "40",
    ("scheduler", "task_queued_timeout_check_interval"): "5",
    # Airflow's own: 300 and 30. Tasks of a scheduler that is gone are taken over by the next one.
    ("scheduler", "orphaned_tasks_check_interval"): "5",
    ("scheduler", "scheduler_health_check_threshold"): "15",
    # Airflow's own: 30. Triggers of a triggerer that is gone are taken over by another one.
    ("triggerer", "triggerer_health_check_threshold"): "15",
    ("triggerer", "job_heartbeat_sec"): "3",
}
"""What makes a death noticed in seconds here, where tasks take seconds. Not for production: see docs/distributed.md."""
CELERY = {
    # Airflow's own: 16 and 1.
    ("celery", "worker_concurrency"): "3",
    ("celery", "operation_timeout"): "20",  # two slow cores: a message may take longer than a second to be sent
    ("workers", "execution_api_timeout"): "60",  # Airflow's own: 5; the first answer of an api-server takes long here
    # Airflow's own: 86400. So short that a dead worker's messages really come again here: Airflow has to refuse them.
    ("celery_broker_transport_options", "visibility_timeout"): "60",
}


class DistributedStack(AirflowStack):
    """A distributed Airflow, from `with` to the end of the block.

    The api-server, the scheduler and the dag-processor work in ``home``; each worker and triggerer has a folder below
    it: its own AIRFLOW_HOME, configuration, DAG files, logs, TMPDIR and current folder. They share the database, the
    broker, the network, and nothing else. Raises what `AirflowStack` raises, and `StackError` when Redis or PostgreSQL
    does not start.
    """

    _store: Services | None = None

    def kill(self, name: str) -> None:
        """KILL everything of a component at once, as when its machine dies; a folder of its own is gone with it."""
        component = self._component(name)
        self._components.remove(component)
        processes.kill(component.session)
        component.wait(5)
        if self._is_apart(name):
            shutil.rmtree(self._folder(name))
        else:
            component.log_file.rename(component.log_file.with_suffix(".killed.log"))  # the next one begins its own

    def begin(self, name: str) -> None:
        """Start another worker (`worker-N`) or triggerer (`triggerer-N`), or a killed `scheduler` again."""
        if self._is_apart(name):
            self._begin_apart(name)
        else:
            self._begin(name, COMPONENTS[name])

    def _component(self, name: str) -> processes.Component:
        return next(component for component in self._components if component.name == name)

    def _is_apart(self, name: str) -> bool:
        return name.partition("-")[0] in COMMANDS

    def _folder(self, name: str) -> Path:
        return self.home / name

    def _configure(self, port: int) -> None:
        self._say("starting PostgreSQL and Redis")
        self._store = Services(self.home, self._begun)
        found = self._store.begin()
        more: dict[str, dict[str, str]] = {
            "core": {"executor": "CeleryExecutor", "hostname_callable": "distributed.hostname.of_this_component"},
            "database": {"sql_alchemy_conn": found.database},
            "celery": {"broker_url": found.broker, "result_backend": f"db+{found.database}"},
        }
        for (section, option), value in (NOTICED | CELERY).items():
            more.setdefault(section, {})[option] = value
        settings.write_config(self.home, port=port, parallelism=self._parallelism, users=self._users, more=more)

    def _begun(self, service: processes.Component) -> None:
        self._services.append(service)
        self._watch(service)

    def _migrate(self, environ: Any) -> None:
        self._say("creating Airflow's database")
        self._run_migration(environ)

    def _begin_components(self) -> None:
        kept = {name: arguments for name, arguments in COMPONENTS.items() if name != "triggerer"}
        self._say("starting Airflow: " + ", ".join((*kept, *APART)))
        for name, arguments in kept.items():
            self._begin(name, arguments)
        for name in APART:
            self._begin_apart(name)

    def _begin_apart(self, name: str) -> None:
        folder = self._folder(name)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        settings.write_config_apart(folder, self.home)
        settings.link_dags(self._dags, folder)
        environ = {**self._environ(folder), "TMPDIR": str(folder / "tmp")}
        command = airflow_command(*COMMANDS[name.partition("-")[0]].format(name=name).split())
        log_file = self.home / f"{name}.log"
        component = processes.Component(name, command, environ=environ, log_file=log_file, folder=folder)
        self._components.append(component)
        self._watch(component)

    def _end(self) -> None:
        super()._end()
        if self._store is not None:
            self._store.remove()
            self._store = None
