"""Prune: versions that nobody needs leave the registry."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.prune import Decision, KeepRules, decide, stored_versions
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import GoogleApiError, NotFoundError, PinsUnknownError
from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.repository import wait_for

log = logging.getLogger(__name__)
_AT_ONCE = 10
"""Deletions under way at a time: a deletion is an operation of some seconds."""


def prune(
    cloud: Cloud,
    repository: RepositoryName,
    rules: KeepRules,
    *,
    environments: Iterable[EnvironmentName] = (),
    packages: Sequence[str] = (),
    dry_run: bool = True,
    ignore_unreadable: bool = False,
    clock: Clock,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Delete the versions that no rule and no environment keeps. Outcomes: planned (dry run), deleted, unchanged.

    `environments` are read first: what one of them requires stays. One that cannot be read is PinsUnknownError, or
    with `ignore_unreadable` a warning. `packages`: only these; all of the repository when it is empty. `now` is for
    ages, in UTC; the clock's own when it is None. A second run finds nothing to delete.
    """
    found = cloud.artifact_registry.get_repository(repository)
    if found is None:
        raise NotFoundError("the repository does not exist", resource=str(repository), remedy="correct its name")
    found.require_python("standard")
    pins = _pins(cloud, environments, ignore_unreadable=ignore_unreadable)
    versions = stored_versions(cloud.artifact_registry.list_files(repository), packages)
    decisions = decide(versions, rules, pins, now or datetime.now(timezone.utc))
    for decision in decisions:
        log.info("%s", _line(decision))
    going = [decision for decision in decisions if not decision.keep]
    if going and not dry_run:
        _delete(cloud.artifact_registry, repository, going, clock)
    return _result(repository, decisions, going, dry_run=dry_run)


def _pins(
    cloud: Cloud, environments: Iterable[EnvironmentName], *, ignore_unreadable: bool
) -> dict[str, Mapping[str, str]]:
    """Environment -> its package map."""
    pins: dict[str, Mapping[str, str]] = {}
    unreadable: dict[str, GoogleApiError] = {}
    for environment in environments:
        try:
            pins[environment.name] = cloud.composer.get_environment(environment).packages
        except GoogleApiError as error:
            unreadable[str(environment)] = error
    if unreadable and not ignore_unreadable:
        raise PinsUnknownError(unreadable)
    for name, cause in unreadable.items():
        log.warning("%s could not be read: what it requires is not kept (%s)", name, cause.what)
    return pins


def _delete(registry: ArtifactRegistry, repository: RepositoryName, going: Sequence[Decision], clock: Clock) -> None:
    for first in range(0, len(going), _AT_ONCE):
        begun = []
        for decision in going[first : first + _AT_ONCE]:
            stored = decision.stored
            operation = registry.delete_version(repository, stored.package, stored.version)
            if operation is None:
                log.info("%s %s was gone already", stored.package, stored.version)
            else:
                begun.append((f"the deletion of {stored.package} {stored.version}", operation))
        for what, operation in begun:
            wait_for(operation, what, str(repository), clock)
            log.info("%s is done", what)


def _line(decision: Decision) -> str:
    name = f"{decision.stored.package} {decision.stored.version}"
    return f"{name} stays: {'; '.join(decision.keep)}" if decision.keep else f"{name} goes: nothing keeps it"


def _result(
    repository: RepositoryName, decisions: Sequence[Decision], going: Sequence[Decision], *, dry_run: bool
) -> dict[str, Any]:
    kept: dict[str, dict[str, str]] = {}
    for decision in decisions:
        if decision.keep:
            kept.setdefault(decision.stored.package, {})[decision.stored.version] = "; ".join(decision.keep)
    outcome = "unchanged" if not going else ("planned" if dry_run else "deleted")
    size = sum(decision.stored.size for decision in going)
    verb = {"planned": "would delete", "deleted": "deleted", "unchanged": "nothing to delete in"}[outcome]
    names = ", ".join(f"{decision.stored.package} {decision.stored.version}" for decision in going)
    message = f"{verb} {names} ({size / 1e6:.1f} MB)" if going else f"{verb} {repository.name}"
    return {
        "outcome": outcome,
        "message": message,
        "repository": str(repository),
        "dry_run": dry_run,
        "deleted" if outcome == "deleted" else "would_delete": [
            {
                "package": decision.stored.package,
                "version": decision.stored.version,
                "created": decision.stored.created.isoformat() if decision.stored.created else None,
                "size": decision.stored.size,
                "why": "no rule and no environment keeps it",
            }
            for decision in going
        ],
        "kept": kept,
    }
