"""The Airflow of one sandboxed Composer environment, run for real on the environment's image.

What answers at an environment's `airflowUri` is Airflow's own REST application over the environment's own database,
called
in process by a child that runs in the image (`environment_process.py`): no port is opened. The child also parses the
DAG
folder and runs what was triggered. A new image ends the child and the tasks that run in it, as a Composer update
restarts
schedulers and workers; the next child fails what was cut off, or sets it up for its retry.

A DAG folder that changed is parsed before the request is answered. (Google needs minutes for that.)
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_gar_provider.sandbox.environment_child import Child, EndedError, read_text
from airflow_gar_provider.sandbox.environment_components import Components
from airflow_gar_provider.sandbox.process_group import clean_environment, run_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_RAN = 0
# Anonymous is admin for Airflow 2's own API: who may call is decided before, by the sandbox's roles.
_WEBSERVER_CONFIG = 'AUTH_ROLE_PUBLIC = "Admin"\n'
# Subcommands of `airflow dags` that need the DAGs of the folder to be in the database, or leave runs to do.
_SCHEDULING_COMMANDS = ("trigger", "pause", "unpause", "delete", "state", "list-runs", "details")


class EnvironmentAirflow:
    """Airflow in one environment: its REST API, its commands, and the process that runs its DAGs.

    `folder` keeps everything that outlives a restart (database, task logs); `variables` is added to the environment of
    every process, as Composer adds `GCP_PROJECT` and the user's own; `template` is a folder where several environments
    share one migrated database file (making it takes seconds); `processes` gives the environment a scheduler and a
    triggerer of its own, which then run what is triggered, instead of the child.
    """

    def __init__(
        self, folder: Path, *, variables: Mapping[str, str], template: Path | None = None, processes: bool = False
    ) -> None:
        self.home = folder.absolute() / "home"
        self._template = template.absolute() if template else self.home
        self._variables = dict(variables)
        self._airflow_version = importlib.metadata.version("apache-airflow")
        self.api_version = "v1" if self._airflow_version.startswith("2.") else "v2"
        self._secret = secrets.token_hex(64)
        self._processes = processes
        self._components: Components | None = None
        self._process: Child | None = None
        self._starting = asyncio.Lock()
        self._scheduling: asyncio.Task[None] | None = None
        self._scheduled_again = False

    async def handle(
        self, method: str, path: str, query: Mapping[str, str], body: object | None, *, image: Path, dags: Path
    ) -> tuple[int, object]:
        """Answer one request of Airflow's REST API: (HTTP status, JSON value).

        `path` is what follows `/api/v2` (`/dags/my_dag`), or the whole path. Raises RuntimeError when Airflow cannot
        start.
        """
        process = await self._running(image, dags)
        path = path if path.startswith("/api/") else f"/api/{self.api_version}/{path.lstrip('/')}"
        status, answer = await process.request(method.upper(), path, query, body)
        if method.upper() != "GET" and status < 400:
            self._schedule(process)
        return status, answer

    async def command(
        self,
        arguments: Sequence[str],
        *,
        image: Path,
        dags: Path,
        on_line: Callable[[str], None] | None = None,
        on_start: Callable[[asyncio.subprocess.Process], None] | None = None,
    ) -> tuple[int, str]:
        """Run `airflow ARGUMENTS` in the image: (exit code, both output streams).

        `on_line` gets each line as it is printed, `on_start` the process: who ends it ends the command.
        """
        schedules = arguments[:1] == ["dags"] and any(word in _SCHEDULING_COMMANDS for word in arguments[1:2])
        process = await self._running(image, dags) if schedules else None
        await self._database(image, dags)
        output: list[str] = []

        def keep(line: str) -> None:
            output.append(line)
            if on_line is not None:
                on_line(line)

        code = await run_lines(
            [str(image / "bin" / "airflow"), *arguments],
            environment=self._environment(image, dags),
            folder=self.home,
            on_line=keep,
            on_start=on_start or (lambda _: None),
        )
        if process is not None:
            self._schedule(process)
        return code, "".join(f"{line}\n" for line in output)

    async def close(self) -> None:
        """End every child."""
        if self._scheduling is not None:
            self._scheduling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._scheduling
            self._scheduling = None
        if self._process is not None:
            await self._process.close()
            self._process = None
        if self._components is not None:
            await self._components.close()
            self._components = None

    @property
    def scheduled_from(self) -> Path | None:
        """The DAG folder of the scheduler that runs here; None when there is none."""
        return self._components.dags if self._components else None

    async def schedule(self, image: Path, dags: Path) -> None:
        """Start the scheduler and the triggerer, when the environment has its own and they do not run."""
        if self._processes and self._components is None:
            await self._database(image, dags)
            environment = self._environment(image, dags)
            self._components = await Components.start(
                image, dags, home=self.home, environment=environment, airflow_version=self._airflow_version
            )

    async def _running(self, image: Path, dags: Path) -> Child:
        """Return the process for this image and folder, started if needed, with the folder as it is now parsed."""
        async with self._starting:
            process = self._process
            if process is None or not process.alive or (process.image, process.dags) != (image, dags):
                if process is not None:
                    await self.close()
                await self._database(image, dags)
                environment = self._environment(image, dags)
                process = await Child.start(image, dags, self.home, environment, alone=not self._processes)
                self._process = process
            digest = await asyncio.to_thread(_digest, dags)
            if process.parsed != digest:
                first = process.parsed is None
                if await process.order("parse") != 0:
                    raise RuntimeError(f"Parsing the DAG folder failed: {process.log_tail()}")
                process.parsed = digest
                if first:
                    self._schedule(process)  # runs that an earlier process left
            await self.schedule(image, dags)
        return process

    def _schedule(self, process: Child) -> None:
        """Run what is queued, one run after the other, in the background."""
        if self._processes:
            return
        self._scheduled_again = True
        if self._scheduling is None or self._scheduling.done():
            self._scheduling = asyncio.create_task(self._run_queued(process))

    async def _run_queued(self, process: Child) -> None:
        with contextlib.suppress(EndedError):
            # Asked again while a run was on: that run's process may have looked before the new one was queued.
            while self._scheduled_again:
                self._scheduled_again = False
                while await process.order("run") == _RAN:
                    pass

    async def _database(self, image: Path, dags: Path) -> None:
        """Make sure that the environment has a database of the installed Airflow."""
        self.home.mkdir(parents=True, exist_ok=True)
        own = self.home / "airflow.db"
        if own.exists() and read_text(self.home / "version") == self._airflow_version:
            return
        if not own.exists():
            self._template.mkdir(parents=True, exist_ok=True)
            migrated = self._template / f"airflow-{self._airflow_version}.db"
            # A lock of the file system: environments that start at once, or other sandboxes, migrate one file once.
            with (self._template / "lock").open("w") as lock:
                await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
                if not migrated.exists():
                    making = migrated.with_suffix(".making")
                    await self._migrate(making, image, dags)
                    making.replace(migrated)
            # The file alone: a copied airflow.cfg would name the original's database.
            await asyncio.to_thread(shutil.copyfile, migrated, own)
        else:
            await self._migrate(own, image, dags)
        (self.home / "webserver_config.py").write_text(_WEBSERVER_CONFIG, encoding="utf-8")
        (self.home / "version").write_text(self._airflow_version, encoding="utf-8")

    async def _migrate(self, database: Path, image: Path, dags: Path) -> None:
        environment = self._environment(image, dags) | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}"}
        output: list[str] = []
        arguments = [str(image / "bin" / "airflow"), "db", "migrate"]
        code = await run_lines(arguments, environment=environment, folder=self.home, on_line=output.append)
        if code != 0:
            raise RuntimeError("Airflow's database could not be made:\n" + "\n".join(output[-20:]))

    def _environment(self, image: Path, dags: Path) -> dict[str, str]:
        """Return the process environment: ours last, so that a user's variable cannot point Airflow elsewhere."""
        plugins = dags.absolute().parent / "plugins"
        settings = {
            "CORE__DAGS_FOLDER": str(dags.absolute()),
            "CORE__PLUGINS_FOLDER": str(plugins if plugins.is_dir() else self.home / "plugins"),
            "CORE__FERNET_KEY": "",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "LOGGING__NAMESPACE_LEVELS": "airflow.api_fastapi=WARNING airflow.sdk.definitions.dag=WARNING",
            "LOGGING__COLORED_CONSOLE_LOG": "False",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
            "API_AUTH__JWT_SECRET": self._secret,
        }
        if self.api_version == "v1":
            settings["API__AUTH_BACKENDS"] = "airflow.api.auth.backend.default"
            settings["WEBSERVER__CONFIG_FILE"] = str(self.home / "webserver_config.py")
        # Composer's defaults, which an override of the environment's Airflow configuration replaces.
        defaults = {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False"}
        return (
            clean_environment(first_on_path=image.absolute() / "bin")
            | defaults
            | self._variables
            | {
                "HOME": str(self.home),
                "AIRFLOW_HOME": str(self.home),
                "PATH": clean_environment(first_on_path=image.absolute() / "bin")["PATH"],
                # The DAG folder is a bucket: no __pycache__ there.
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUNBUFFERED": "1",
            }
            | {f"AIRFLOW__{name}": value for name, value in settings.items()}
        )


def _digest(folder: Path) -> str:
    """Return a fingerprint of the files in a folder: names, sizes, times of change."""
    found = hashlib.sha256()
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            file = Path(root, name)
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                found.update(f"{file.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return found.hexdigest()
