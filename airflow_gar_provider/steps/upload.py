"""Upload: files into the registry, several at once; what an interrupted one left behind is asked, not guessed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.repository import RegistryFile, RepositoryName
from airflow_gar_provider.errors import ContentConflictError, GarProviderError, InterruptedWaitError, UnavailableError
from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
_TRIES = 4
_LONGEST_WAIT = 120.0
"""Seconds; a longer Retry-After is left to the task's own retry."""
_FEW_PACKAGES = 3
"""Up to here each package is listed for itself; more are found in one listing of the repository."""


def present(
    registry: ArtifactRegistry, repository: RepositoryName, distributions: Sequence[Distribution]
) -> dict[str, RegistryFile]:
    """Those of the files that the registry has, by file name, in as few calls as it takes: one page has 1000 files.

    Raises ContentConflictError naming every file that is there with other content.
    """
    packages = sorted({item.name for item in distributions})
    if len(packages) > _FEW_PACKAGES:
        listed = registry.list_files(repository)
    else:
        listed = [file for package in packages for file in registry.list_files(repository, package)]
    by_name = {file.name: file for file in listed}
    found = {item.file: by_name[item.file] for item in distributions if item.file in by_name}
    conflicts = [
        (item.file, item.sha256, found[item.file].sha256)
        for item in distributions
        if item.file in found and found[item.file].sha256 != item.sha256
    ]
    if conflicts:
        raise ContentConflictError(conflicts, repository=str(repository))
    return found


def upload_all(
    cloud: Cloud,
    repository: RepositoryName,
    files: Sequence[tuple[Path, Distribution]],
    clock: Clock,
    *,
    parallel: int,
) -> Mapping[str, str]:
    """Send all files, `parallel` at once. Returns uploaded or exists for each file name.

    After an error no further file is begun, and it is raised when those on their way have ended. Several errors: the
    one that no retry can help is raised, the others are in the log.
    """
    over, failed = threading.Event(), threading.Event()

    def one(path: Path, item: Distribution) -> str | None:
        if failed.is_set():
            return None
        try:
            return _upload(cloud, repository, path, item, _Progress(item, clock, over))
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="upload") as pool:
        futures = {item.file: pool.submit(one, path, item) for path, item in files}
        try:
            wait(futures.values())
        except BaseException:  # a timeout of the task's, say: uploads on their way end at their next block
            failed.set()
            over.set()
            raise
    _raise_worst(futures)
    return {name: str(future.result()) for name, future in futures.items()}


def _raise_worst(futures: Mapping[str, Future[str | None]]) -> None:
    failed = {name: error for name, future in futures.items() if (error := future.exception()) is not None}
    if not failed:
        return
    ended = [name for name, future in futures.items() if name not in failed and future.result() is not None]
    if ended:
        log.error(
            "published before that: %s. Another run finds them there, and completes the release", ", ".join(ended)
        )
    raised = min(failed.values(), key=lambda error: isinstance(error, GarProviderError) and error.retryable)
    for name, error in failed.items():
        if error is not raised:
            log.error("%s was not published either: %s", name, error)
    raise raised


def _upload(
    cloud: Cloud,
    repository: RepositoryName,
    path: Path,
    item: Distribution,
    progress: _Progress,
) -> str:
    """Send one file. An interruption, and a refusal that time cures, are tried again; the registry is asked between."""
    for attempt in range(1, _TRIES + 1):
        log.info("uploading %s (%s) to %s", item.file, readable(item.size), repository)
        progress.begin()
        try:
            with path.open("rb", buffering=0) as stream:
                sent = cloud.package_index.upload(repository, item, stream, progress)
        except UnavailableError as error:
            pause = error.retry_after if error.retry_after is not None else 2.0**attempt
            if attempt == _TRIES or pause > _LONGEST_WAIT:
                raise
            log.warning(
                "the upload of %s did not end well; asking the registry in %.0f s what it has: %s",
                item.file,
                pause,
                error.what,
            )
            progress.clock.sleep(pause)
            if present(cloud.artifact_registry, repository, [item]):
                return "uploaded"
            continue
        # A duplicate that the listing did not show a moment ago: another publisher, or our own lost answer.
        return "uploaded" if sent or attempt > 1 else "exists"
    raise AssertionError("the loop returns or raises")


class _Progress:
    """A line of the log for every tenth of a file that is sent, and no more than one in two seconds."""

    def __init__(self, item: Distribution, clock: Clock, over: threading.Event) -> None:
        self._item, self.clock, self._over = item, clock, over
        self.begin()

    def begin(self) -> None:
        """Start anew, at a try's begin."""
        self._begun = self._told = self.clock.monotonic()
        self._tenth = 0

    def __call__(self, sent: int) -> None:
        self.clock.sleep(0)  # raises when the task was killed
        if self._over.is_set():
            raise InterruptedWaitError("the task ended while it was uploading")
        tenth = min(10, sent * 10 // max(1, self._item.size))
        now = self.clock.monotonic()
        if tenth > self._tenth and now - self._told >= 2:
            rate = sent / max(1e-6, now - self._begun)
            log.info("%s: %d %% sent, %s/s", self._item.file, tenth * 10, readable(rate))
            self._tenth, self._told = tenth, now


def readable(count: float) -> str:
    """Bytes for people: `52 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
