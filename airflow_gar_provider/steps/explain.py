"""Explain: why an update failed, from the operation, the build's log, and what registry and IAM say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from airflow_gar_provider.core.cause import Cause, Diagnosis
from airflow_gar_provider.core.choice import choose
from airflow_gar_provider.core.diagnosis import RegistryView, build_of, diagnose, is_package_failure, missing_in
from airflow_gar_provider.core.environment import Environment, Wish, few
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import GarProviderError, GoogleApiError, InstallFailedError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.access import access_of
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.preflight import supply_of
from airflow_gar_provider.steps.supply import Supply, candidates

log = logging.getLogger(__name__)
_LOG_WAITS = (2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds. Entries lag behind the operation's end by seconds to a minute, and the verdict is among the last."""
_ALLOWED = {"granted": True, "missing": False, "unknown": None}


def explain(cloud: Cloud, wish: Wish, operation: Operation, clock: Clock) -> GarProviderError:
    """Why our update failed."""
    environment = cloud.composer.get_environment(wish.environment)
    if not is_package_failure(operation.error_message):
        return GoogleApiError(
            "the update failed",
            resource=str(wish.environment),
            remedy="look at the environment's page in the console",
            status=str(operation.error_code),
            message=redact(operation.error_message),
        )
    return _install_failed(wish, _diagnose(cloud, wish, environment, operation, clock), operation)


def _diagnose(cloud: Cloud, wish: Wish, environment: Environment, operation: Operation, clock: Clock) -> Diagnosis:
    """Read the log until it names a cause; late lines get a minute."""
    message = operation.error_message
    for seconds in (*_LOG_WAITS, None):
        lines = _build_log(cloud, environment, operation)
        missing = missing_in(message, lines or ())
        views = _views(cloud, wish, environment, [missing] if missing else [])
        found = diagnose(
            message,
            lines or (),
            environment=wish.environment,
            service_account=environment.service_account,
            wanted=wish.requirements,
            views=views,
        )
        if lines is None or seconds is None or (lines and found.cause is not Cause.UNKNOWN):
            return found
        log.info("the build log names no cause yet, looking again in %.0f s", seconds)
        clock.sleep(seconds)
    raise AssertionError("the loop returns")


def _views(cloud: Cloud, wish: Wish, environment: Environment, missing: Iterable[Requirement]) -> list[RegistryView]:
    """What registry and IAM say of what pip did not find; nothing where pip.conf names no repository of Google's."""
    wanted = list(missing)
    if not wanted:
        return []
    supply, _ = supply_of(cloud, environment, wish.repository)
    repositories = supply.indexes.repositories
    if not repositories:
        return []
    signs_in = supply.indexes.signs_in(repositories[0])
    # pip reads with the key of pip.conf where there is one: what the environment's own account may is not asked then.
    access = None if signs_in else access_of(cloud, repositories[0], environment.service_account)
    views = []
    for requirement in wanted:
        versions, misfit = _held(supply, requirement)
        views.append(
            RegistryView(
                repositories[0],
                requirement.name,
                versions,
                _ALLOWED[access.state] if access else None,
                misfit=misfit,
                needs_python=bool(misfit and "needs Python" in misfit),
                how=access.how if access else "",
                signs_in=signs_in,
            )
        )
    return views


def _held(supply: Supply, requirement: Requirement) -> tuple[tuple[str, ...] | None, str | None]:
    """The versions that the registry has, and why the wanted one does not fit, when none of its files does."""
    held = supply.private(requirement.name) if supply.standard else ()
    files = candidates(held or supply.offered(requirement.name) or ())
    if not files and (held is None or not supply.is_whole):
        return None, None
    versions = tuple(dict.fromkeys(str(file.identity[1]) for file in files if file.identity))
    fits = choose(requirement, files, target=supply.target)
    if fits.version or not choose(requirement, files).version:
        return versions, None
    return versions, "; ".join(entry.reason for entry in fits.rejected if entry.matches)


def _build_log(cloud: Cloud, environment: Environment, operation: Operation) -> list[str] | None:
    """The build's log; None when it may not be read at all (the operation's message has to do)."""
    if operation.created is None:
        return None
    name, created, ended = environment.name, operation.created, operation.ended
    build = build_of(operation.error_message)
    readers: list[Callable[[], list[str]]] = [lambda: cloud.logs.build_log(name, created, ended)]
    if build is not None:
        project, region, number = build
        readers = [
            lambda: cloud.logs.cloud_build_log(name.project, number, created),
            lambda: cloud.logs.cloud_build(project, region, number),
        ]
    lines: list[str] = []
    refused = []
    for read in readers:
        try:
            lines += read()
        except GoogleApiError as error:
            log.warning("%s; what else is known has to do", error)
            refused.append(error)
    return None if len(refused) == len(readers) else lines


def _install_failed(wish: Wish, found: Diagnosis, operation: Operation) -> InstallFailedError:
    return InstallFailedError(
        f"{few(wish.wanted)} could not be installed in {wish.environment.name}: {found.summary}",
        environment=str(wish.environment),
        cause=found.cause.value,
        remedy=found.remedy,
        evidence=found.evidence,
        facts=found.facts,
        operation=operation.name,
        log_link=_log_page(wish, operation),
        retryable=found.retryable,
    )


def _log_page(wish: Wish, operation: Operation) -> str:
    """Where people read the whole log: the build's own page, when the message names one."""
    build = build_of(operation.error_message)
    if build is None:
        return wish.environment.build_log_url
    project, region, number = build
    place = f";region={region}" if region else ""
    return f"https://console.cloud.google.com/cloud-build/builds{place}/{number}?project={project}"
