"""A process with everything imported and a sandbox of its own, in which one run after the other is made."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import pkgutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from google.auth.crypt import RSASigner

from proof.google import Google, start

_NOT_NEEDED = ("airflow_gar_provider.sandbox", "airflow_gar_provider.example_dags", "airflow_gar_provider.retry")
_LAZY = (
    "google.cloud.artifactregistry_v1",
    "google.cloud.logging_v2",
    "google.cloud.orchestration.airflow.service_v1",
    "google.cloud.secretmanager_v1",
    "google.cloud.storage",
    "google.cloud.storage._media.requests",
    "google.longrunning.operations_pb2",
    "google.oauth2.service_account",
    "cryptography.hazmat.primitives.asymmetric.rsa",
)
"""What a try would import at its first call."""


def warm(home: Path) -> None:
    """Import all that a try needs, once, before anything is forked. `home`: for Airflow's own files."""
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform"}',
        "GRPC_VERBOSITY": "ERROR",
    }
    os.environ.update(settings)
    import airflow_gar_provider  # noqa: PLC0415 -- Airflow reads its settings when it is imported

    for module in pkgutil.walk_packages(airflow_gar_provider.__path__, "airflow_gar_provider."):
        if not module.name.startswith(_NOT_NEEDED):
            importlib.import_module(module.name)
    for name in _LAZY:
        importlib.import_module(name)


class Worker:
    """The sandbox of this process, and names for its worlds."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gar-proof-")
        self.home = Path(self._folder.name)
        self.google: Google = start(self.home)
        self._numbers = itertools.count(1)
        for name in self.google.unset:
            os.environ.pop(name, None)
        key = self.home / "credentials.json"
        key.write_text(self.google.key_file)
        key.chmod(0o600)
        os.environ.update({**self.google.env, "GOOGLE_APPLICATION_CREDENTIALS": str(key)})
        _read_once(json.loads(self.google.key_file)["private_key"])

    def prefix(self) -> str:
        """A name that no other world of this sandbox has."""
        return f"w{next(self._numbers):05d}"

    def healthy(self) -> None:
        """Raise when the sandbox itself had a defect."""
        bugs = self.google.bugs()
        if bugs:
            raise RuntimeError(f"the sandbox has a bug: {bugs}")


def _read_once(private_key: str) -> None:
    """Read the tasks' key here. Each client of a try reads it again: 30 ms each time, a fifth of what a try costs."""
    serialization.load_pem_private_key = cache(serialization.load_pem_private_key)  # type: ignore[assignment]
    RSASigner.from_string(private_key)


_worker: list[Worker] = []


def worker() -> Worker:
    """The worker of this process, made at its first use."""
    if not _worker:
        _worker.append(Worker())
    return _worker[0]


def each(
    pool: Any, task: Callable[..., Mapping[str, Any]], arguments: list[tuple[Any, ...]], told: Callable[[Any], None]
) -> list[Any]:
    """Call a function in the pool's processes, once with each of the arguments; `told` hears every result at once."""
    from concurrent.futures import as_completed  # noqa: PLC0415 -- beside its only use

    futures = {pool.submit(task, *values): number for number, values in enumerate(arguments)}
    results: dict[int, Any] = {}
    for future in as_completed(futures):
        results[futures[future]] = future.result()
        told(future.result())
    return [results[number] for number in range(len(arguments))]
