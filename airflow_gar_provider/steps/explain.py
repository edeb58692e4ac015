"""Explain: what the registry says of a requirement, and why an update failed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from airflow_gar_provider.core.diagnosis import Diagnosis, RegistryView, diagnose, is_package_failure
from airflow_gar_provider.core.environment import Environment, EnvironmentName, Wish
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.repository import RepositoryName, member_of, reads_by
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import (
    AccessDeniedError,
    GarProviderError,
    GoogleApiError,
    InstallFailedError,
    NotFoundError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
_LOG_TRIES = 4
"""Build log entries lag behind the operation's end by seconds to a minute."""


def look(
    cloud: Cloud, repository: RepositoryName, requirements: Iterable[Requirement], environment: Environment
) -> list[RegistryView]:
    """What the registry and IAM say about each requirement, as far as the caller may know; the policy is read once."""
    wanted = list(requirements)
    reader = _may_read(cloud, repository, environment) if wanted else None
    return [
        RegistryView(repository, requirement.name, _versions(cloud, repository, requirement), reader)
        for requirement in wanted
    ]


def _may_read(cloud: Cloud, repository: RepositoryName, environment: Environment) -> bool | None:
    try:
        policy = cloud.artifact_registry.get_policy(repository)
    except (AccessDeniedError, NotFoundError) as error:
        log.info("the repository's policy cannot be read: %s", error.what)
        return None
    bindings = [(binding.role, list(binding.members)) for binding in policy.bindings]
    return reads_by(bindings, member_of(environment.service_account))


def _versions(cloud: Cloud, repository: RepositoryName, requirement: Requirement) -> tuple[str, ...] | None:
    try:
        return tuple(cloud.artifact_registry.list_versions(repository, requirement.name))
    except AccessDeniedError as error:
        log.info("the registry's versions cannot be read: %s", error.what)
        return None


def explain(cloud: Cloud, wish: Wish, operation: Operation, clock: Clock) -> GarProviderError:
    """Why our update failed."""
    environment = cloud.composer.get_environment(wish.environment)
    if not is_package_failure(operation.error_message):
        return GoogleApiError(
            "the update failed",
            resource=str(wish.environment),
            remedy="look at the environment's page in the console",
            status=str(operation.error_code),
            message=operation.error_message,
        )
    lines = _build_log(cloud, wish.environment, operation, clock)
    views = [] if wish.repository is None else look(cloud, wish.repository, wish.requirements, environment)
    found = diagnose(
        operation.error_message,
        lines,
        environment=wish.environment,
        service_account=environment.service_account,
        wanted=wish.requirements,
        views=views,
    )
    return _install_failed(wish, found, operation)


def _install_failed(wish: Wish, found: Diagnosis, operation: Operation) -> InstallFailedError:
    return InstallFailedError(
        f"{', '.join(wish.wanted)} could not be installed in {wish.environment.name}: {found.summary}",
        environment=str(wish.environment),
        cause=found.cause.value,
        remedy=found.remedy,
        evidence=found.evidence,
        facts=found.facts,
        operation=operation.name,
        log_link=wish.environment.build_log_url,
        retryable=found.retryable,
    )


def _build_log(cloud: Cloud, environment: EnvironmentName, operation: Operation, clock: Clock) -> list[str]:
    """The build's log, waited for a little; nothing when it may not be read (the operation's message has to do)."""
    if operation.created is None:
        return []
    for attempt in range(1, _LOG_TRIES + 1):
        try:
            lines = cloud.logs.build_log(environment, operation.created, operation.ended)
        except GoogleApiError as error:
            log.warning("the build log cannot be read, only the operation's message is known: %s", error)
            return []
        if lines:
            return lines
        log.info("the build log is not there yet")
        clock.sleep(2.0 * attempt)
    return []
