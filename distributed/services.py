"""Redis and PostgreSQL from Debian's packages: own instances, on loopback, in a folder that ends with them.

The system's own services are not touched. Both want a password, made anew at each start. What is written is not kept:
no fsync, no snapshots.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from demo.airflow_settings import write_private
from demo.airflow_stack import StackError, free_port
from demo.processes import Component, kill

if TYPE_CHECKING:
    from collections.abc import Callable

POSTGRES_USER = "postgres"
"""Whom PostgreSQL runs as when we are root, which it refuses; Debian's package makes the user."""
_UNSAFE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""Quick, and nothing of it survives a crash of the machine: it is thrown away anyway."""


def missing() -> list[str]:
    """What has to be installed before `Services` can start, one sentence each."""
    found = []
    if shutil.which("redis-server") is None:
        found.append("redis-server is not installed (Debian: apt-get install redis-server)")
    if postgres_folder() is None:
        found.append("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    modules = {"airflow.providers.celery": "apache-airflow-providers-celery[redis]", "redis": "redis"}
    modules |= {"psycopg2": "psycopg2-binary", "asyncpg": "asyncpg"}
    found += [f"the Python package {package} is not installed" for name, package in modules.items() if not _has(name)]
    return found


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False


def postgres_folder() -> Path | None:
    """Where `initdb` and `postgres` are: Debian keeps them out of PATH, in a folder for each version; None: nowhere."""
    versions = Path("/usr/lib/postgresql")
    folders = sorted(versions.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    folders += [Path(found).parent for found in [shutil.which("initdb")] if found]
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@dataclass(frozen=True)
class Addresses:
    """Where the services are, with their passwords: for `airflow.cfg`, which only its owner may read."""

    database: str
    """SQLAlchemy's URL of an empty PostgreSQL database."""
    broker: str
    """The URL of Redis."""


class Services:
    """Both services. `begin` starts them, whoever has `components` ends them, `remove` deletes what they wrote.

    ``logs`` is the folder of their log files. ``begun`` is told of each component as soon as it runs. `begin` raises
    `StackError` when one does not start within ``timeout`` seconds.
    """

    def __init__(self, logs: Path, begun: Callable[[Component], None], *, timeout: float = 60) -> None:
        self._logs = logs
        self._begun = begun
        self._timeout = timeout
        # Not below `logs`: another user has to get there, and others' folders are closed to it.
        self._folder = Path(tempfile.mkdtemp(prefix="gar-distributed-"))

    def begin(self) -> Addresses:
        """Start both, and wait until they answer."""
        return Addresses(database=self._begin_postgres(), broker=self._begin_redis())

    def remove(self) -> None:
        """Delete their folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin_redis(self) -> str:
        port, password = free_port(), secrets.token_urlsafe(24)
        file = self._folder / "redis.conf"
        lines = (f"port {port}", "bind 127.0.0.1", f"requirepass {password}", 'save ""', f"dir {self._folder}")
        write_private(file, "\n".join(lines) + "\n")
        redis = self._start("redis", ["redis-server", str(file)])
        command = ["redis-cli", "-p", str(port), "ping"]
        self._wait(redis, command, {"REDISCLI_AUTH": password})
        return f"redis://:{password}@127.0.0.1:{port}/0"

    def _begin_postgres(self) -> str:
        programs = postgres_folder()
        if programs is None:
            raise StackError("PostgreSQL is not installed")
        port, password = free_port(), secrets.token_urlsafe(24)
        file, data = self._folder / "postgres-password", self._folder / "postgres"
        write_private(file, password)
        data.mkdir(mode=0o700)
        as_whom: list[str] = []
        if os.geteuid() == 0:
            as_whom = ["setpriv", f"--reuid={POSTGRES_USER}", f"--regid={POSTGRES_USER}", "--init-groups", "--"]
            self._folder.chmod(0o711)
            for path in (file, data):
                shutil.chown(path, POSTGRES_USER, POSTGRES_USER)
        options = ["--username=airflow", "--auth=scram-sha-256", f"--pwfile={file}"]
        initialise = [str(programs / "initdb"), f"--pgdata={data}", *options, "--encoding=UTF8", "--locale=C"]
        self._finish([*as_whom, *initialise, "--no-sync"])
        file.unlink()
        # No Unix socket: its folder would have to be one that both users may write.
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", *_UNSAFE)
        serve = [str(programs / "postgres"), f"--port={port}", "-D", str(data)]
        serve += [text for setting in settings for text in ("-c", setting)]
        postgres = self._start("postgres", [*as_whom, *serve])
        self._wait(postgres, [str(programs / "pg_isready"), "--host=127.0.0.1", f"--port={port}"], {})
        return f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{port}/postgres"

    def _finish(self, command: list[str]) -> None:
        """Run `initdb` to its end."""
        component = self._component("initdb", command)
        try:
            if component.wait(self._timeout) != 0:
                raise StackError(_tell(component, "failed"))
        finally:
            kill(component.session)

    def _start(self, name: str, command: list[str]) -> Component:
        component = self._component(name, command)
        self._begun(component)
        return component

    def _component(self, name: str, command: list[str]) -> Component:
        # In a folder that the other user may be in; without the variables of the sandbox, which they have no use for.
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        log_file = self._logs / f"{name}.log"
        return Component(name, command, environ=environ, log_file=log_file, folder=self._folder)

    def _wait(self, component: Component, ask: list[str], environ: dict[str, str]) -> None:
        """Until the service answers."""
        deadline = time.monotonic() + self._timeout
        environ = {"PATH": os.environ.get("PATH", os.defpath), **environ}
        while subprocess.run(ask, env=environ, capture_output=True, check=False).returncode != 0:
            if component.exit_status is not None:
                raise StackError(_tell(component, f"ended with exit status {component.exit_status}"))
            if time.monotonic() > deadline:
                raise StackError(_tell(component, f"does not answer after {self._timeout:.0f} s"))
            time.sleep(0.1)


def _tell(component: Component, what: str) -> str:
    return "\n    ".join([f"{component.name} {what}. {component.log_file}:", *component.last_lines()])
