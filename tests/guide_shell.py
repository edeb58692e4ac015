"""A guide's scripts, run as they stand: the real gcloud, twine and pip on a sandbox that keeps its state."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ME = "me@acme.example"
"""Who walks: an owner of the projects."""


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class World:
    """A sandbox that is started anew for each command, with the state of the last one."""

    state: Path
    """Its folder; what scripts make is beside it."""
    projects: tuple[str, ...] = ("acme-packages", "acme-data")
    """What `ME` owns."""
    environments: tuple[str, ...] = ()
    """Composer environments to have from the start."""

    def run(self, *command: str, cwd: Path = ROOT, timeout: float = 500) -> subprocess.CompletedProcess[str]:
        """Run a command as somebody who owns the projects."""
        options = [f"--grant=user:{ME}=roles/owner@projects/{project}" for project in self.projects]
        options += [f"--environment={name}" for name in self.environments]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [*self._sandbox, "run", f"--data-dir={self.state}", f"--caller={ME}", *options, "--", *command],
            cwd=cwd,
            env={**os.environ, "PATH": path, "TMPDIR": str(self.state.parent)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """What is there, by the sandbox's own word: environments by their short names."""
        command = [*self._sandbox, "status", f"--data-dir={self.state}", "--json"]
        value: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        named = {item["name"].rpartition("/")[2]: item for item in value["environments"]}
        return {**value, "environments": named}

    def pip_conf(self, environment: str) -> str:
        """What lies in the bucket of an environment."""
        bucket = self.status()["environments"][environment]["bucket"]
        return self.run("gcloud", "storage", "cat", f"gs://{bucket}/config/pip/pip.conf").stdout

    @property
    def _sandbox(self) -> list[str]:
        return [sys.executable, "-m", "airflow_gar_provider.sandbox"]
