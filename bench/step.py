"""One publish step in a process of its own, against the sink: `python -m bench.step PORT WHEEL…` prints its cost.

The step is the product's, whole: checks, presence, upload, confirmation. Two things are the benchmark's: the
repository's upload URL is the sink's, and Artifact Registry's API is answered from memory (twine and uv do not ask it).
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from google.oauth2.credentials import Credentials

from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.repository import RegistryFile, Repository, RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.package_index import PackageIndex
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.publish import publish


@dataclass(frozen=True)
class SinkRepository(RepositoryName):
    """A repository whose uploads go to the sink."""

    port: int = 0

    @property
    def upload_url(self) -> str:
        """The sink."""
        return f"http://127.0.0.1:{self.port}/{self.project}/{self.name}/"


class Registry:
    """A registry that is empty when it is first asked, and has everything after that."""

    def __init__(self) -> None:
        self.files: list[Distribution] = []
        self.asked = 0

    def get_repository(self, name: RepositoryName) -> Repository:
        """It is there."""
        return Repository(name, "PYTHON", "standard")

    def list_files(self, repository: RepositoryName, package: str | None = None) -> list[RegistryFile]:
        """Nothing, then all."""
        self.asked += 1
        return [RegistryFile(item.file, item.sha256, item.size) for item in self.files] if self.asked > 1 else []


class SinkCloud:
    """What of the cloud the step uses."""

    def __init__(self) -> None:
        self.artifact_registry = Registry()
        self.package_index = PackageIndex(Session(Credentials(token="none")))


def memory(field: str) -> int:
    """Kilobytes that the kernel counts for this process: `VmRSS` now, `VmHWM` at its highest."""
    return int(re.findall(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[0])


def step(cloud: SinkCloud, port: int, paths: list[Path]) -> tuple[float, float]:
    """Seconds of the checks and of the rest."""
    repository = SinkRepository("acme-packages", "europe-west1", "python", port)
    begun = time.perf_counter()
    files = check(paths)
    checked = time.perf_counter()
    cloud.artifact_registry.files = [item for _, item in files]
    cloud.artifact_registry.asked = 0
    result: dict[str, Any] = publish(cast("Cloud", cloud), files, repository, Clock())
    ended = time.perf_counter()
    assert all(file["outcome"] == "uploaded" for file in result["files"])
    return checked - begun, ended - checked


def main() -> None:
    """Warm up with the first path, so that memory counts the step and not its imports; then the others."""
    port, first, *paths = sys.argv[1:]
    cloud = SinkCloud()
    step(cloud, int(port), [Path(first)])
    cloud.package_index.close()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = memory("VmRSS")
    checks, sends = step(cloud, int(port), [Path(path) for path in paths])
    grown = memory("VmHWM") - before
    cloud.package_index.close()
    print(json.dumps({"seconds": checks + sends, "checks": checks, "sends": sends, "grown_kb": grown}))


if __name__ == "__main__":
    main()
