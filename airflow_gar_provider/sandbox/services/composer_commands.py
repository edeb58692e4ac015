"""Commands that run in an environment: `airflow …` for real, and the reserved `list-packages` that gcloud sends."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ApiError
from ..process_group import clean_environment, end_group, run_lines

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from .dags import DagsFolders
    from .environments import Environments
    from .reality import Reality

_GRACE_SECONDS = 5.0


@dataclass
class Execution:
    """One command: running until `exit_code` is there."""

    environment: str
    """The environment's name."""
    lines: list[str] = field(default_factory=list)
    """What it has printed."""
    exit_code: int | None = None
    """As a shell shows it: 128 and the signal's number for one that was stopped."""
    error: str = ""
    """Why it failed."""
    process: Process | None = None
    """What runs, as soon as it does."""
    task: asyncio.Task[None] | None = None
    """Who waits for it."""


class Commands:
    """Starts commands, keeps their output, stops them."""

    def __init__(
        self, environments: Environments, reality: Reality, dags: DagsFolders, bugs: Callable[[str], None]
    ) -> None:
        self._environments = environments
        self._reality = reality
        self._dags = dags
        self._bugs = bugs
        self._executions: dict[str, Execution] = {}

    def start(self, environment: str, arguments: list[str]) -> str:
        """Run a command beside the server; its id."""
        identifier, execution = str(uuid.uuid4()), Execution(environment)
        self._executions[identifier] = execution
        execution.task = asyncio.get_running_loop().create_task(self._run(execution, arguments))
        return identifier

    def get(self, environment: str, identifier: str) -> Execution:
        """A command by its id."""
        execution = self._executions.get(identifier)
        if execution is None or execution.environment != environment:
            raise ApiError("NOT_FOUND", f"Execution '{identifier}' was not found.")
        return execution

    async def stop(self, execution: Execution, *, force: bool) -> None:
        """End a command and all that it started: by SIGTERM and time to clean up, by SIGKILL at once when forced."""
        if execution.task is None or execution.task.done():
            return
        if execution.process is None:
            execution.task.cancel()  # it has not come to its program yet
        else:
            await end_group(execution.process, grace=0 if force else _GRACE_SECONDS)
        await asyncio.wait({execution.task})

    async def close(self) -> None:
        """Stop what runs."""
        tasks = [item.task for item in self._executions.values() if item.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, execution: Execution, arguments: list[str]) -> None:
        code, error = 1, ""
        try:
            code = await self._code(execution, arguments)
            code = 128 - code if code < 0 else code
            error = "" if code == 0 else f"Command exited with code {code}"
        except asyncio.CancelledError:
            code, error = 143, "Command was stopped before it began"
            raise
        except Exception as problem:
            self._bugs(f"command {arguments}: {problem!r}")
            error = f"sandbox bug: {problem!r}"
        finally:
            execution.error, execution.exit_code = error, code

    async def _code(self, execution: Execution, arguments: list[str]) -> int:
        image = self._environments.image(execution.environment)
        if arguments == ["list-packages", "pip", "list"]:
            execution.lines.extend(_table(await self._reality.installed_packages(image)).splitlines())
            return 0

        def started(process: Process) -> None:
            execution.process = process

        if arguments[:2] == ["list-packages", "pipdeptree"]:
            if importlib.util.find_spec("pipdeptree") is None:
                execution.lines.append("pipdeptree is not installed beside the sandbox")
                return 1
            return await run_lines(
                [sys.executable, "-m", "pipdeptree", "--python", str(image / "bin" / "python")],
                environment=clean_environment(first_on_path=image / "bin"),
                folder=Path(os.sep),
                on_line=execution.lines.append,
                on_start=started,
            )
        dags = await self._dags.sync(execution.environment)
        airflow = self._reality.airflow(execution.environment)
        code, _ = await airflow.command(
            arguments, image=image, dags=dags, on_line=execution.lines.append, on_start=started
        )
        return code


def _table(packages: dict[str, str]) -> str:
    """The table of `pip list`."""
    rows = sorted(packages.items(), key=lambda item: item[0].lower())
    names = max([len("Package"), *(len(name) for name, _ in rows)])
    versions = max([len("Version"), *(len(version) for _, version in rows)])
    lines = [f"{'Package':<{names}} Version", f"{'-' * names} {'-' * versions}"]
    return "\n".join([*lines, *(f"{name:<{names}} {version}" for name, version in rows)])
