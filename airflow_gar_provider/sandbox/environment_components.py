"""An environment's own scheduler and triggerer, as processes: tasks are really scheduled, deferred, killed.

Off unless an environment asks for it (`processes` of the set-up): they need some seconds to start and some hundred
megabytes. Tasks of Airflow 3 talk to an API server, which listens on loopback, on a free port.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from airflow_gar_provider.sandbox.process_group import end_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# What a killed scheduler leaves is found by missing heartbeats and by a look every now and then. Airflow takes 300
# seconds for both, which nobody wants to wait for here.
_HEARTBEAT = {
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
}
_HEARTBEAT_2 = {
    "SCHEDULER__LOCAL_TASK_JOB_HEARTBEAT_SEC": "2",
    "SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "15",
    "SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "3",
}
"""What Airflow 2 calls the first three of them."""


class Components:
    """The running processes of one environment."""

    def __init__(self, image: Path, dags: Path, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self.image = image
        self.dags = dags
        self._processes = processes

    @classmethod
    async def start(
        cls, image: Path, dags: Path, *, home: Path, environment: Mapping[str, str], airflow_version: str
    ) -> Components:
        """Start every process; none of them is waited for. What they print goes to files in `home`."""
        settings = {**_HEARTBEAT, "CORE__PARALLELISM": "4", "SCHEDULER__ENABLE_HEALTH_CHECK": "False"}
        # Without --skip-serve-logs each of them serves logs on every interface of the machine.
        commands = [["scheduler", "--skip-serve-logs"], ["triggerer", "--skip-serve-logs"]]
        if airflow_version.startswith("2."):
            settings |= _HEARTBEAT_2
            settings["CORE__EXECUTOR"] = "SequentialExecutor"  # the only one that Airflow 2 allows with SQLite
        else:
            port = _free_port()
            settings["CORE__EXECUTOR"] = "LocalExecutor"
            settings["CORE__EXECUTION_API_SERVER_URL"] = f"http://127.0.0.1:{port}/execution/"
            server = ["api-server", "--apps", "execution", "--host", "127.0.0.1", "--port", str(port)]
            commands.append([*server, "--workers", "1"])
        variables = {**environment, **{f"AIRFLOW__{name}": value for name, value in settings.items()}}
        processes = [await _start(image, command, home, variables) for command in commands]
        return cls(image, dags, processes)

    async def close(self) -> None:
        """End them, and the tasks that run in them."""
        await asyncio.gather(*(end_group(process) for process in self._processes))


async def _start(
    image: Path, command: Sequence[str], home: Path, environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    with (home / f"{command[0]}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            str(image / "bin" / "airflow"),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=dict(environment),
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
