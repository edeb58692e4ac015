"""Update: one change of an environment's package map, from the PATCH to the end of its operation."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_gar_provider.core.environment import Environment, EnvironmentName, Patch, few
from airflow_gar_provider.core.operation import POLL_FLOOR, Operation
from airflow_gar_provider.errors import (
    EnvironmentNotReadyError,
    GoogleApiError,
    NotFoundError,
    OperationTimeoutError,
    UnavailableError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import CALL_TIMEOUT
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.record import ROLLING_BACK, RunRecord, record_name, update_record

log = logging.getLogger(__name__)
_LOOKS = 6
"""An environment that is UPDATING without an operation: one of the two answers is some seconds old."""
_LOOK_SECONDS = 10.0


@dataclass(frozen=True)
class Pending:
    """An operation to wait for."""

    operation: str
    """Its name."""
    ours: bool
    """Whether this task began it; somebody else's is waited for, then everything is looked at again."""


def send(cloud: Cloud, environment: Environment, patch: Patch, clock: Clock) -> Pending | None:
    """Send the update. None when Composer sees no change in it; somebody else's operation when that was quicker."""
    changes = [f"{name}{value}" for name, value in patch.set.items()] + [f"no {name}" for name in patch.remove]
    log.info("updating %s: %s", environment.name, few(changes))
    try:
        operation = cloud.composer.update_packages(environment.name, patch)
    except GoogleApiError as error:
        if error.status == "FAILED_PRECONDITION" and "state" in (error.message or ""):
            log.info("the environment was taken by another update a moment ago: %s", error.message)
            return in_flight(cloud, environment, clock)
        if error.status == "INVALID_ARGUMENT" and _says_no_change(error.message or ""):
            log.info("Composer sees no change in this update: %s", error.message)
            return None
        raise
    log.info("Composer took the update as %s; it builds a new image, which takes minutes", operation.name)
    return Pending(operation.name, ours=True)


def _says_no_change(message: str) -> bool:
    """Composer refuses an update that changes nothing; the two wordings that are known."""
    return "No change in configuration" in message or "does not result in any change" in message


def accepted(cloud: Cloud, environment: Environment, record: RunRecord, operation: str) -> RunRecord:
    """The record with an update that Composer took; one that rolls back is not counted."""
    updates = record.updates + (record.phase != ROLLING_BACK)
    bucket = environment.require_bucket()
    return update_record(cloud.storage, bucket, record, operation=operation, updates=updates, sending=False)


def settled(cloud: Cloud, environment: Environment, record: RunRecord) -> RunRecord:
    """The record with the update that an earlier try has sent, if Composer took it; that try did not see the answer."""
    sent = cloud.storage.written(environment.require_bucket(), record_name(record.run))
    found = _accepted_unseen(cloud, environment.name, sent) if sent is not None else None
    return record if found is None else accepted(cloud, environment, record, found.name)


def _accepted_unseen(cloud: Cloud, environment: EnvironmentName, sent: datetime) -> Operation | None:
    """Our update whose answer nobody saw: the first one that Composer accepted within the time of a call.

    `sent`: when the record said that it is about to be sent, by Google's clock. An environment takes one update at a
    time, so it is another's only when that one came in between and ours was refused: then what it changed is not what
    we want, and ours is sent again.
    """
    until, found = sent + timedelta(seconds=CALL_TIMEOUT), None
    for operation in cloud.composer.list_operations(environment):
        if operation.created is None or operation.created < sent:
            break
        if operation.kind == "UPDATE" and operation.created <= until:
            found = operation
    if found is not None:
        log.info("%s is the update that an earlier try has sent: following it as ours", found.name)
    return found


def in_flight(cloud: Cloud, environment: Environment, clock: Clock) -> Pending | None:
    """The operation that an environment is busy with; None when it has just ended.

    Raises EnvironmentNotReadyError (retryable) for an environment that stays UPDATING by nothing that can be seen.
    """
    for _ in range(_LOOKS):
        for operation in cloud.composer.list_operations(environment.name):
            if not operation.done:
                log.info("%s is being updated by %s: following that", environment.name, operation.name)
                return Pending(operation.name, ours=False)
        environment = cloud.composer.get_environment(environment.name)
        if environment.state != "UPDATING":
            return None
        clock.sleep(_LOOK_SECONDS)
    raise EnvironmentNotReadyError(
        str(environment.name),
        f"{environment.state}, but no operation of it can be seen",
        remedy="run this task again in a minute; the caller needs composer.operations.list",
        retryable=True,
    )


def find(cloud: Cloud, operation: str | None) -> Operation | None:
    """The operation as it is now; None without one, and for one that Composer has forgotten."""
    if operation is None:
        return None
    try:
        return check(cloud, operation)
    except NotFoundError:
        log.warning("Composer does not know %s any more: looking at the environment instead", operation)
        return None


def overtaken_by(cloud: Cloud, environment: Environment, operation: Operation) -> Operation | None:
    """An operation on the environment that was begun after this one, and did not fail; None when there is none."""
    newest = next((found for found in cloud.composer.list_operations(environment.name) if not found.failed), None)
    return None if newest is None or newest.name == operation.name else newest


def check(cloud: Cloud, operation: str) -> Operation:
    """The operation as it is now. Raises NotFoundError for one that Composer has forgotten."""
    return cloud.composer.get_operation(operation)


def wait(cloud: Cloud, pending: Pending, clock: Clock, *, timeout: float, poll_interval: float) -> None:
    """Wait in this process until the operation has ended, or is gone. Raises OperationTimeoutError after `timeout`.

    An outage is waited through. The second look comes after ten seconds
    at the latest, as in the triggerer: an operation may have been nearly done.
    """
    pause = min(poll_interval, POLL_FLOOR)
    begun, name = clock.monotonic(), pending.operation.rsplit("/", 1)[1]
    while True:
        elapsed = clock.monotonic() - begun
        try:
            operation = find(cloud, pending.operation)
        except UnavailableError as error:
            log.warning("looking at operation %s again in %.0f s: %s", name, pause, error)
        else:
            if operation is None or operation.done:
                log.info("operation ended after %.0f s", elapsed)
                return
            log.info("operation %s is %s after %.0f s", name, operation.state, elapsed)
        if elapsed > timeout:
            raise timed_out(pending.operation, timeout)
        clock.sleep(pause)
        pause = poll_interval


def timed_out(operation: str, timeout: float) -> OperationTimeoutError:
    """The error for an operation that did not end in time."""
    return OperationTimeoutError(
        f"the update did not end within {timeout:.0f} s",
        resource=operation,
        remedy="Composer cannot cancel it: look at the environment's page; running this task again follows it",
    )
