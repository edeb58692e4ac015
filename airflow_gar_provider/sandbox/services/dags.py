"""The `dags/` prefix of an environment's bucket, as a folder that its Airflow can read."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .environments import Environments
    from .storage_objects import Buckets

_PREFIX = "dags/"


class DagsFolders:
    """Copies what changed in the bucket before each look of Airflow (Composer does it every few seconds)."""

    def __init__(self, environments: Environments, buckets: Buckets) -> None:
        self._environments = environments
        self._buckets = buckets
        self._seen: dict[str, dict[str, str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def sync(self, environment: str) -> Path:
        """Bring the folder up to date; its path."""
        async with self._locks.setdefault(environment, asyncio.Lock()):
            return self._sync(environment)

    def _sync(self, environment: str) -> Path:
        folder = self._environments.folder(environment) / "dags"
        folder.mkdir(exist_ok=True)
        bucket = self._environments.get(environment).storage_config.bucket
        before, seen = self._seen.get(environment), {}
        if before is None:
            # A new process does not know what is in the folder.
            shutil.rmtree(folder)
            folder.mkdir()
            before = {}
        for record in self._buckets.objects(bucket, _PREFIX):
            relative = record["name"].removeprefix(_PREFIX)
            if not _is_safe(relative):
                continue
            seen[relative] = record["generation"]
            if before.get(relative) != record["generation"]:
                # A disk cannot hold what a bucket can: a file and a folder of one name, a name of 300 letters.
                with contextlib.suppress(OSError):
                    target = folder / relative
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(self._buckets.path(record), target)
        for relative in set(before) - set(seen):
            with contextlib.suppress(OSError):
                (folder / relative).unlink(missing_ok=True)
        self._seen[environment] = seen
        return folder


def _is_safe(relative: str) -> bool:
    """False for folder marks and for names that would leave the folder."""
    path = PurePosixPath(relative)
    return bool(relative) and not relative.endswith("/") and not path.is_absolute() and ".." not in path.parts
