"""Request, check, verify: an environment gets the wanted packages in one update."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_gar_provider.core.diagnosis import Cause
from airflow_gar_provider.core.environment import Environment, EnvironmentName, Patch, Wish, plan_patch
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.core.verification import parse_pip_list, undeclared, uninstalled
from airflow_gar_provider.errors import (
    GoogleApiError,
    InstallFailedError,
    NotFoundError,
    OperationTimeoutError,
    VerificationError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.explain import explain, look
from airflow_gar_provider.steps.point import point
from airflow_gar_provider.steps.record import begin_record, finish_record, read_record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pending:
    """An operation to wait for."""

    operation: str
    """Its name."""
    ours: bool
    """Whether this task began it; somebody else's is waited for, then everything is looked at again."""


def request(cloud: Cloud, wish: Wish, clock: Clock) -> Pending | None:
    """Begin the update that turns the environment's packages into the wanted ones; None when there is none to begin.

    An environment that is being updated is not patched: its operation is returned, to be waited for first. Raises
    EnvironmentNotReadyError, NotFoundError, InstallFailedError (preflight) before anything is changed.
    """
    environment = cloud.composer.get_environment(wish.environment)
    environment.require_updatable()
    if wish.preflight:
        _preflight(cloud, wish, environment)
    if wish.repository is not None:
        point(cloud.storage, environment, wish.repository, clock=clock)
    if environment.state == "UPDATING":
        return _in_flight(cloud, environment)
    patch = plan_patch(environment.packages, wish.requirements, wish.absent)
    if not patch:
        log.info("%s declares all that is wanted: %s", wish.environment.name, ", ".join(wish.wanted))
        return None
    bucket = environment.require_bucket()
    begin_record(cloud.storage, bucket, wish.run, environment.packages, wish.wanted)
    return _patch(cloud, environment, patch)


def _patch(cloud: Cloud, environment: Environment, patch: Patch) -> Pending | None:
    changes = [f"{name}{value}" for name, value in patch.set.items()] + [f"no {name}" for name in patch.remove]
    log.info("updating %s: %s", environment.name, ", ".join(changes))
    try:
        operation = cloud.composer.update_packages(environment.name, patch)
    except GoogleApiError as error:
        if error.status == "FAILED_PRECONDITION" and "state" in (error.message or ""):
            log.info("the environment was taken by another update a moment ago: %s", error.message)
            return _in_flight(cloud, cloud.composer.get_environment(environment.name))
        if error.status == "INVALID_ARGUMENT" and _says_no_change(error.message or ""):
            log.info("Composer sees no change in this update: %s", error.message)
            return None
        raise
    log.info("Composer took the update as %s; it builds a new image, which takes minutes", operation.name)
    return Pending(operation.name, ours=True)


def _says_no_change(message: str) -> bool:
    """Composer refuses an update that changes nothing; the two wordings that are known."""
    return "No change in configuration" in message or "does not result in any change" in message


def _in_flight(cloud: Cloud, environment: Environment) -> Pending:
    for operation in cloud.composer.list_operations(environment.name):
        if not operation.done:
            log.info("%s is being updated by %s: following that", environment.name, operation.name)
            return Pending(operation.name, ours=False)
    raise GoogleApiError(
        f"the environment is {environment.state}, but no operation of it can be seen",
        resource=str(environment.name),
        remedy="run this task again in a minute; the caller needs composer.operations.list",
    )


def _preflight(cloud: Cloud, wish: Wish, environment: Environment) -> None:
    """What can be known before a build of many minutes is spent on it."""
    if wish.repository is None:
        return
    views = look(cloud, wish.repository, wish.requirements, environment)
    for requirement, view in zip(wish.requirements, views, strict=True):
        if view.versions is None:
            continue
        if not any(requirement.allows(version) for version in view.versions):
            held = f"it holds {', '.join(view.versions)}" if view.versions else "it holds no version of it"
            raise InstallFailedError(
                f"preflight: {requirement} is not in the repository: {held}",
                environment=str(wish.environment),
                cause=(Cause.WRONG_VERSION if view.versions else Cause.NOT_PUBLISHED).value,
                remedy="publish it first (PublishWheelOperator), or require a version that is there",
                facts=[("repository", str(wish.repository))],
            )
        if view.reader is not True:
            log.warning(
                "the repository's own policy does not let %s read it; unless a project, folder or group binding does, "
                "the build will not find %s",
                environment.service_account,
                requirement.name,
            )


def check(cloud: Cloud, operation: str) -> Operation:
    """The operation as it is now."""
    return cloud.composer.get_operation(operation)


def wait(cloud: Cloud, pending: Pending, clock: Clock, *, timeout: float, poll_interval: float) -> None:
    """Wait in this process until the operation has ended. Raises OperationTimeoutError after `timeout` seconds."""
    begun = clock.monotonic()
    while True:
        operation = check(cloud, pending.operation)
        elapsed = clock.monotonic() - begun
        if operation.done:
            log.info("operation ended after %.0f s", elapsed)
            return
        if elapsed > timeout:
            raise timed_out(pending.operation, timeout)
        log.info("operation %s is %s after %.0f s", pending.operation.rsplit("/", 1)[1], operation.state, elapsed)
        clock.sleep(poll_interval)


def timed_out(operation: str, timeout: float) -> OperationTimeoutError:
    """The error for an operation that did not end in time."""
    return OperationTimeoutError(
        f"the update did not end within {timeout:.0f} s",
        resource=operation,
        remedy="Composer cannot cancel it: look at the environment's page; running this task again follows it",
    )


def settle(cloud: Cloud, wish: Wish, pending: Pending, clock: Clock) -> Pending | None:
    """What to do after an operation's end: wait for the next one, or, when None, verify.

    After somebody else's update everything is looked at again. Raises InstallFailedError, with the cause, when our own
    operation failed.
    """
    operation = check(cloud, pending.operation)
    if pending.ours:
        if operation.failed:
            raise explain(cloud, wish, operation, clock)
        return None
    if operation.failed:
        log.info("the other update failed: %s", operation.error_message)
    return request(cloud, wish, clock)


def verify(cloud: Cloud, wish: Wish, *, operation: str | None = None) -> dict[str, Any]:
    """Confirm that the environment has what is wanted, and say what changed. Outcomes: installed, unchanged.

    Raises VerificationError when the declared map, or what `pip list` says in the environment, is not as wanted.
    """
    environment = cloud.composer.get_environment(wish.environment)
    bucket = environment.require_bucket()
    problems = undeclared(environment.packages, wish.requirements, wish.absent)
    installed = _installed(cloud, wish.environment)
    if installed is not None:
        problems += uninstalled(installed, wish.requirements)
    if problems:
        raise VerificationError(
            "the environment does not have what was wanted: " + "; ".join(problems),
            resource=str(wish.environment),
            remedy="run this task again; when it stays, look at the environment's page and its build log",
        )
    record = read_record(cloud.storage, bucket, wish.run)
    changed = operation is not None or (record is not None and not record.finished)
    before = record.before if changed and record is not None else environment.packages
    if record is not None:
        finish_record(cloud.storage, bucket, wish.run, record, wish.wanted)
    seconds = _seconds(cloud, operation) if operation else 0.0
    return _result(wish, before, installed or {}, environment, changed=changed, operation=operation, seconds=seconds)


def _installed(cloud: Cloud, environment: EnvironmentName) -> dict[str, str] | None:
    """What is really installed, or None when it may not be asked."""
    try:
        return parse_pip_list(cloud.composer.pip_list(environment))
    except GoogleApiError as error:
        log.warning("what is installed cannot be listed, only what is declared was compared: %s", error)
        return None


def _seconds(cloud: Cloud, operation: str) -> float:
    try:
        found = check(cloud, operation)
    except NotFoundError:
        return 0.0
    if found.created is None or found.ended is None:
        return 0.0
    return round((found.ended - found.created).total_seconds(), 1)


def _result(
    wish: Wish,
    before: Mapping[str, str],
    installed: Mapping[str, str],
    environment: Environment,
    *,
    changed: bool,
    operation: str | None,
    seconds: float,
) -> dict[str, Any]:
    old = {requirement.name: _declared(before, requirement.name) for requirement in wish.requirements}
    packages = [
        {
            "package": requirement.name,
            "before": old[requirement.name],
            "after": installed.get(requirement.name) or environment.version_of(requirement.name),
        }
        for requirement in wish.requirements
    ]
    packages += [{"package": name, "before": _declared(before, name), "after": None} for name in wish.absent]
    told = ", ".join(f"{entry['package']} {entry['after'] or 'removed'}" for entry in packages)
    return {
        "outcome": "installed" if changed else "unchanged",
        "message": f"{wish.environment.name} {'now has' if changed else 'already had'} {told}",
        "environment": str(wish.environment),
        "packages": packages,
        "operation": operation,
        "seconds": seconds,
    }


def _declared(packages: Mapping[str, str], name: str) -> str | None:
    """What a map declares for a package, for people: `1.0.0` for a pin, else the specifier; None when absent."""
    for key, value in packages.items():
        if Requirement.parse(key).name == name:
            return Requirement.parse(key + value).pinned or value or "any"
    return None
