"""Publish: wheels and sdists into the registry, confirmed by SHA-256."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.publishable import Rules
from airflow_gar_provider.core.repository import RegistryFile, RepositoryName
from airflow_gar_provider.errors import InvalidInputError, NotConfirmedError, NotFoundError, RepositoryMismatchError
from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.check import Files, check, public_names
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.collect import collect
from airflow_gar_provider.steps.repository import sources_of
from airflow_gar_provider.steps.upload import present, upload_all

log = logging.getLogger(__name__)
_CONFIRM_WAIT = 120.0
"""Seconds that the registry gets to list a file that it has accepted."""
_PARALLEL = 4
_ANY = Rules()


def publish_from(
    cloud: Cloud,
    sources: object,
    repository: RepositoryName,
    clock: Clock,
    *,
    rules: Rules = _ANY,
    virtual: RepositoryName | None = None,
    parallel: int = _PARALLEL,
    on_checked: Callable[[Sequence[Distribution]], None] | None = None,
    begun: datetime | None = None,
) -> dict[str, Any]:
    """Collect the files (see `collect`), check them all (see `check`), and publish them (see `publish`).

    `virtual`: a virtual repository whose public upstreams must not serve the packages' names. `on_checked` is told what
    is going to be published, before a byte of it is sent. `begun`, for a later try: when the run began; files that the
    registry took since are `uploaded`, by the try that died before it could say so.
    """
    require_standard(cloud.artifact_registry, repository)
    with tempfile.TemporaryDirectory(prefix="gar-publish-") as folder:
        paths = collect(cloud.storage, sources, Path(folder))
        files = check(paths, rules, names=partial(public_names, cloud, virtual))
        if on_checked is not None:
            on_checked([item for _, item in files])
        return _bring(cloud, files, repository, clock, parallel, begun)


def publish(
    cloud: Cloud, files: Files, repository: RepositoryName, clock: Clock, *, parallel: int = _PARALLEL
) -> dict[str, Any]:
    """Bring checked files into the repository. Outcomes: uploaded, exists (all were there with the same SHA-256).

    It ends when the registry lists every file with the SHA-256 of ours. Raises ContentConflictError when a file name is
    there with other content: before anything is uploaded, if it is seen then.
    """
    require_standard(cloud.artifact_registry, repository)
    return _bring(cloud, files, repository, clock, parallel)


def require_standard(registry: ArtifactRegistry, repository: RepositoryName) -> None:
    """Raise NotFoundError or RepositoryMismatchError unless packages can be published there."""
    found = registry.get_repository(repository)
    if found is None:
        raise NotFoundError(
            "the repository does not exist",
            resource=str(repository),
            remedy="create it first (CreateRepositoryOperator), or correct its name",
        )
    found.require_python()
    if found.mode == "standard":
        return
    standard = sources_of(registry, repository).standard
    remedy = (
        f"publish to its standard upstream: {' or '.join(map(str, standard))}"
        if standard
        else "publish to a standard repository, and make it an upstream of a virtual one beside this"
    )
    raise RepositoryMismatchError(
        f"the repository is {found.mode}, not standard: nothing can be published to it",
        resource=str(repository),
        remedy=remedy,
    )


def _bring(  # noqa: PLR0917 -- private
    cloud: Cloud,
    files: Files,
    repository: RepositoryName,
    clock: Clock,
    parallel: int,
    begun: datetime | None = None,
) -> dict[str, Any]:
    if parallel < 1:
        raise InvalidInputError(f"parallel is 1 or more, not {parallel}")
    registry = cloud.artifact_registry
    distributions = [item for _, item in files]
    found = present(registry, repository, distributions)
    for name in found:
        log.info("%s is in the registry already, with the same SHA-256", name)
    missing = [(path, item) for path, item in files if item.file not in found]
    outcomes = dict.fromkeys(_taken_since(found, begun), "uploaded")
    if missing:
        outcomes |= upload_all(cloud, repository, missing, clock, parallel=parallel)
        found |= _confirmed(registry, repository, [item for _, item in missing], clock)
    return _result(repository, distributions, outcomes, found)


def _taken_since(found: Mapping[str, RegistryFile], begun: datetime | None) -> list[str]:
    """The files that the registry took since a moment."""
    if begun is None:
        return []
    return [name for name, file in found.items() if file.created is not None and file.created >= begun]


def _confirmed(
    registry: ArtifactRegistry, repository: RepositoryName, sent: Sequence[Distribution], clock: Clock
) -> dict[str, RegistryFile]:
    """What the registry says of the files that were sent, as soon as it lists them all."""
    deadline, pause = clock.monotonic() + _CONFIRM_WAIT, 0.5
    while True:
        found = present(registry, repository, sent)
        absent = [item.file for item in sent if item.file not in found]
        if not absent:
            break
        if clock.monotonic() > deadline:
            raise NotConfirmedError(
                f"accepted, but not listed by the registry within {_CONFIRM_WAIT:.0f} s: {', '.join(absent)}",
                resource=str(repository),
                remedy="run this task again: what has arrived is not sent twice",
            )
        clock.sleep(pause)
        pause = min(pause * 2, 10.0)
    for item in sent:
        log.info("confirmed: the registry serves %s with SHA-256 %s", item.file, item.sha256)
    return found


def _result(
    repository: RepositoryName,
    distributions: Sequence[Distribution],
    outcomes: Mapping[str, str],
    found: Mapping[str, RegistryFile],
) -> dict[str, Any]:
    files = []
    for item in distributions:
        created = found[item.file].created
        files.append(
            {
                "file": item.file,
                "package": item.name,
                "version": item.version,
                "sha256": item.sha256,
                "size": item.size,
                "outcome": outcomes.get(item.file, "exists"),
                "created": created.isoformat() if created else None,
                "warnings": list(item.warnings),
            }
        )
    uploaded = [str(file["file"]) for file in files if file["outcome"] == "uploaded"]
    names = ", ".join(uploaded or [item.file for item in distributions])
    return {
        "outcome": "uploaded" if uploaded else "exists",
        "message": f"published {names} to {repository.name}"
        if uploaded
        else f"{names} already in {repository.name}, same SHA-256",
        "repository": str(repository),
        "files": files,
    }
