"""Watch: what a repository's publishers have put there."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any

from airflow_gar_provider.core.repository import RegistryFile, RepositoryName
from airflow_gar_provider.core.watch import Watch
from airflow_gar_provider.errors import RepositoryMismatchError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.repository import sources_of

log = logging.getLogger(__name__)


def published_files(cloud: Cloud, repository: RepositoryName) -> list[RegistryFile]:
    """All files of the standard repositories behind `repository`: itself, or the upstreams of a virtual one.

    A version that only a public index holds does not count: nobody of ours has published it. Raises
    RepositoryMismatchError for a repository that people publish nothing to, NotFoundError, AccessDeniedError.
    """
    registry = cloud.artifact_registry
    standard = sources_of(registry, repository).standard
    if not standard:
        raise RepositoryMismatchError(
            "nothing is published to this repository: it only hands out what another index holds",
            resource=str(repository),
            remedy="name the standard repository, or a virtual one with a standard upstream that the caller may see",
        )
    return [file for name in standard for file in registry.list_files(name)]


def served(
    cloud: Cloud, repository: RepositoryName, watch: Watch, now: datetime | None = None
) -> dict[str, Any] | None:
    """The newest version that counts, as a result with the outcome `served`; None when there is none (yet).

    `now` is for ages, in UTC; the clock's own when it is None. Errors as `published_files`.
    """
    files = published_files(cloud, repository)
    moment = now or datetime.now(timezone.utc)
    choice = watch.choose(files, moment)
    if choice.version is None:
        log.info("%s has no %s: %s", repository.name, watch.requirement, choice.why_none())
        return None
    of_version = watch.versions(files, moment)[choice.version]
    return {
        "outcome": "served",
        "message": f"{repository.name} serves {watch.requirement.name} {choice.version}",
        "repository": str(repository),
        "package": watch.requirement.name,
        "version": choice.version,
        "sha256": {file.name: file.sha256 for file in of_version},
    }
