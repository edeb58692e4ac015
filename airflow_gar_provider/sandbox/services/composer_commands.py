"""Commands that run in an environment: `airflow …` for real, and the reserved `list-packages` that gcloud sends."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .dags import DagsFolders
    from .environments import Environments
    from .reality import Reality


@dataclass
class Execution:
    """One command: running until `exit_code` is there."""

    environment: str
    lines: list[str] = field(default_factory=list)
    exit_code: int | None = None
    error: str = ""


class Commands:
    """Starts commands and keeps their output."""

    def __init__(
        self, environments: Environments, reality: Reality, dags: DagsFolders, bugs: Callable[[str], None]
    ) -> None:
        self._environments = environments
        self._reality = reality
        self._dags = dags
        self._bugs = bugs
        self._executions: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, environment: str, arguments: list[str]) -> str:
        """Run a command beside the server; its id."""
        identifier, execution = str(uuid.uuid4()), Execution(environment)
        self._executions[identifier] = execution
        task = asyncio.get_running_loop().create_task(self._run(execution, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return identifier

    def get(self, environment: str, identifier: str) -> Execution:
        """A command by its id."""
        execution = self._executions.get(identifier)
        if execution is None or execution.environment != environment:
            raise ApiError("NOT_FOUND", f"Execution '{identifier}' was not found.")
        return execution

    async def close(self) -> None:
        """Stop what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, execution: Execution, arguments: list[str]) -> None:
        try:
            code, output = await self._output(execution.environment, arguments)
        except Exception as error:
            self._bugs(f"command {arguments}: {error!r}")
            code, output = 1, f"sandbox bug: {error!r}"
        execution.lines = output.splitlines()
        execution.error = "" if code == 0 else f"Command exited with code {code}"
        execution.exit_code = code

    async def _output(self, environment: str, arguments: list[str]) -> tuple[int, str]:
        image = self._environments.image(environment)
        if arguments == ["list-packages", "pip", "list"]:
            return 0, _table(await self._reality.installed_packages(image))
        if arguments[:2] == ["list-packages", "pipdeptree"]:
            return await _pipdeptree(image)
        dags = await self._dags.sync(environment)
        return await self._reality.airflow(environment).command(arguments, image=image, dags=dags)


def _table(packages: dict[str, str]) -> str:
    """The table of `pip list`."""
    rows = sorted(packages.items(), key=lambda item: item[0].lower())
    names = max([len("Package"), *(len(name) for name, _ in rows)])
    versions = max([len("Version"), *(len(version) for _, version in rows)])
    lines = [f"{'Package':<{names}} Version", f"{'-' * names} {'-' * versions}"]
    return "\n".join([*lines, *(f"{name:<{names}} {version}" for name, version in rows)])


async def _pipdeptree(image: Path) -> tuple[int, str]:
    if importlib.util.find_spec("pipdeptree") is None:
        return 1, "pipdeptree is not installed beside the sandbox"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipdeptree", "--python", str(image / "bin" / "python")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")
