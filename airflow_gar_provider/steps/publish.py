"""Publish: wheels into the registry, confirmed by SHA-256."""

from __future__ import annotations

import fnmatch
import glob
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow_gar_provider.core.repository import RegistryFile, RepositoryName
from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import (
    ContentConflictError,
    InvalidInputError,
    InvalidWheelError,
    NotConfirmedError,
    NotFoundError,
    UnavailableError,
)
from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
_TRIES = 4
_CONFIRM_WAIT = 120.0
"""Seconds that the registry gets to list a file that it has accepted."""


def split_gs(uri: str) -> tuple[str, str]:
    """`gs://BUCKET/NAME` -> bucket and name. Raises InvalidInputError."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise InvalidInputError(f"{uri!r} is not a Cloud Storage URI", remedy="write gs://BUCKET/NAME")
    return bucket, name


def collect(storage: Storage, wheels: object, folder: Path) -> list[Path]:
    """The wheels as local files: paths, globs, `gs://` objects, prefixes (ending in /) and globs.

    What comes from a bucket is downloaded into `folder`. Raises InvalidInputError when one of them names nothing.
    """
    found: list[Path] = []
    for item in split_list(wheels):
        if item.startswith("gs://"):
            files = _download(storage, item, folder)
        else:
            files = [Path(path) for path in sorted(glob.glob(item))]  # noqa: PTH207 -- an absolute pattern is allowed
        if not files:
            raise InvalidInputError(
                f"no wheel is at {item}", resource=item, remedy="build it first, or correct the path"
            )
        found += files
    if not found:
        raise InvalidInputError("no wheel was named", remedy="give a path, a glob, or a gs:// URI")
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(path.name, path)
        if other != path and other.read_bytes() != path.read_bytes():
            raise InvalidInputError(f"two files are named {path.name}: {other} and {path}")
    return list(by_name.values())


def _download(storage: Storage, uri: str, folder: Path) -> list[Path]:
    bucket, name = split_gs(uri)
    pattern = f"{name}*.whl" if name.endswith("/") or not name else name
    prefix = pattern.split("*")[0].split("?")[0].split("[")[0]
    files = []
    for stored in storage.list(bucket, prefix):
        # A * does not cross a slash, as in gcloud.
        same_depth = stored.name.count("/") == pattern.count("/")
        if same_depth and fnmatch.fnmatchcase(stored.name, pattern):
            target = folder / str(len(list(folder.iterdir()))) / Path(stored.name).name
            target.parent.mkdir(parents=True)
            storage.download(bucket, stored.name, target)
            files.append(target)
    return files


def read_wheels(paths: Iterable[Path]) -> list[tuple[Path, Wheel]]:
    """Check all wheels before a byte of one is sent. Raises InvalidWheelError with the problems of all of them."""
    wheels: list[tuple[Path, Wheel]] = []
    problems: list[str] = []
    names: list[str] = []
    for path in paths:
        try:
            with path.open("rb") as stream:
                wheels.append((path, Wheel.from_file(path.name, stream)))
        except InvalidWheelError as error:
            names.append(path.name)
            problems += error.problems
        except OSError as error:
            raise InvalidInputError(f"cannot read {path}: {error.strerror}", resource=str(path)) from error
    if problems:
        raise InvalidWheelError(", ".join(names), problems)
    return wheels


def publish(
    registry: ArtifactRegistry, wheels: Iterable[tuple[Path, Wheel]], repository: RepositoryName, clock: Clock
) -> dict[str, Any]:
    """Bring the wheels into the repository. Outcomes: uploaded, exists (all were there with the same SHA-256).

    Raises ContentConflictError when a file name is there with other content: before anything is uploaded, if it is
    seen then.
    """
    found = registry.get_repository(repository)
    if found is None:
        raise NotFoundError(
            "the repository does not exist",
            resource=str(repository),
            remedy="create it first (CreateRepositoryOperator), or correct its name",
        )
    found.require_python("standard")
    files = list(wheels)
    present = {path: _present(registry, repository, wheel) for path, wheel in files}
    results = []
    for path, wheel in files:
        outcome = "exists"
        if present[path] is None:
            outcome = _upload(registry, repository, path, wheel, clock)
            _confirm(registry, repository, wheel, clock)
        else:
            log.info("%s is in the registry already, with the same SHA-256", wheel.file)
        results.append(
            {
                "file": wheel.file,
                "package": wheel.name,
                "version": wheel.version,
                "sha256": wheel.sha256,
                "outcome": outcome,
            }
        )
    uploaded = [result["file"] for result in results if result["outcome"] == "uploaded"]
    return {
        "outcome": "uploaded" if uploaded else "exists",
        "message": f"published {', '.join(uploaded)} to {repository.name}"
        if uploaded
        else f"{', '.join(result['file'] for result in results)} already in {repository.name}, same SHA-256",
        "repository": str(repository),
        "files": results,
    }


def _present(registry: ArtifactRegistry, repository: RepositoryName, wheel: Wheel) -> RegistryFile | None:
    """The wheel's file in the registry, or None. Raises ContentConflictError for other content."""
    for file in registry.list_files(repository, wheel.name, wheel.version):
        if file.name == wheel.file:
            if file.sha256 != wheel.sha256:
                raise ContentConflictError(
                    wheel.file, repository=str(repository), ours=wheel.sha256, theirs=file.sha256
                )
            return file
    return None


def _upload(registry: ArtifactRegistry, repository: RepositoryName, path: Path, wheel: Wheel, clock: Clock) -> str:
    """Send the file; a lost answer is settled by asking the registry what it has."""
    for attempt in range(1, _TRIES + 1):
        log.info("uploading %s (%s) to %s", wheel.file, _size(wheel.size), repository)
        progress = _Progress(wheel, clock)
        try:
            with path.open("rb") as stream:
                sent = registry.upload(repository, wheel, stream, progress)
        except UnavailableError as error:
            if attempt == _TRIES:
                raise
            log.warning("the upload of %s was interrupted, asking the registry what it has: %s", wheel.file, error.what)
            clock.sleep(2.0**attempt)
            if _present(registry, repository, wheel):
                return "uploaded"
            continue
        if sent:
            return "uploaded"
        # A duplicate that the listing did not show a moment ago: another publisher, or our own lost answer.
        return "exists"
    raise AssertionError("the loop returns or raises")


def _confirm(registry: ArtifactRegistry, repository: RepositoryName, wheel: Wheel, clock: Clock) -> None:
    deadline, wait = clock.monotonic() + _CONFIRM_WAIT, 0.5
    while _present(registry, repository, wheel) is None:
        if clock.monotonic() > deadline:
            raise NotConfirmedError(
                f"{wheel.file} was accepted, but the registry did not list it within {_CONFIRM_WAIT:.0f} s",
                resource=str(repository),
                remedy="run this task again: what has arrived is not sent twice",
            )
        clock.sleep(wait)
        wait = min(wait * 2, 10.0)
    log.info("confirmed: the registry serves %s with SHA-256 %s", wheel.file, wheel.sha256)


class _Progress:
    """A line of the log for every tenth of a file that is sent, and no more than one in two seconds."""

    def __init__(self, wheel: Wheel, clock: Clock) -> None:
        self._wheel, self._clock = wheel, clock
        self._begun = self._told = clock.monotonic()
        self._tenth = 0

    def __call__(self, sent: int) -> None:
        tenth = min(10, sent * 10 // max(1, self._wheel.size))
        now = self._clock.monotonic()
        if tenth > self._tenth and now - self._told >= 2:
            rate = sent / max(1e-6, now - self._begun)
            log.info("%s: %d %% sent, %s/s", self._wheel.file, tenth * 10, _size(rate))
            self._tenth, self._told = tenth, now


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
