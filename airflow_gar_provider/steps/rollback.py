"""Rollback: the packages that a failed verification found wrong get their earlier versions back.

How far it is, is written into the run record before each change, so that the next try of the task completes a rollback
whose worker died. Only the packages of this run are restored: what others changed meanwhile stays.
"""

from __future__ import annotations

import logging

from airflow_gar_provider.core.environment import Environment, few, plan_restore
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import (
    ConcurrentChangeError,
    RollbackFailedError,
    RolledBackError,
    VerificationError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.hold import hold
from airflow_gar_provider.steps.pip_backup import PIP_CONF, backup_name, restore
from airflow_gar_provider.steps.record import ROLLED_BACK, ROLLING_BACK, RunRecord, finish_record, update_record
from airflow_gar_provider.steps.update import Pending, accepted, in_flight, send
from airflow_gar_provider.steps.verify import Seen, Settled

log = logging.getLogger(__name__)
_RESTORED = "pip.conf as it was before"


def roll_back(cloud: Cloud, settled: Settled, failure: VerificationError, clock: Clock) -> Pending | None:
    """Begin to restore what was there before this run; None: look at the environment again.

    Raises RolledBackError when that is all, and the failure itself when this run changed nothing.
    """
    environment, record = settled.environment, settled.record
    if record is None or record.generation == 0:
        log.warning("there is nothing to roll back: this run changed no package")
        raise failure
    log.error("%s\nrolling back %s", failure.what, environment.name)
    record = update_record(
        cloud.storage, environment.require_bucket(), record, phase=ROLLING_BACK, failure=failure.what, operation=None
    )
    return resume(cloud, Seen(settled.wish, environment, record, None), record, clock)


def resume(cloud: Cloud, seen: Seen, record: RunRecord, clock: Clock) -> Pending | None:
    """Go on with a rollback from wherever it is; the operation that was seen is its update, when that has ended.

    Raises RolledBackError at its end, RollbackFailedError (retryable) when its update failed.
    """
    environment, operation = seen.environment, seen.operation
    bucket = environment.require_bucket()
    if operation is not None and operation.failed:
        update_record(cloud.storage, bucket, record, operation=None)
        raise RollbackFailedError(
            str(environment.name), failure=record.failure, reason=operation.error_message, operation=operation.name
        )
    if environment.state == "UPDATING":
        return in_flight(cloud, environment, clock)
    pip_conf = restore_pip_conf(cloud.storage, bucket, record)
    requirements = [Requirement.parse(pin) for pin in record.pins]
    names = {requirement.name for requirement in requirements} | set(record.absent)
    patch = plan_restore(environment.packages, record.before, names)
    if patch and operation is None:
        record = update_record(cloud.storage, bucket, record, sending=True)
        pending = send(cloud, environment, patch, clock)
        if pending is not None and pending.ours:
            accepted(cloud, environment, record, pending.operation)
        else:
            update_record(cloud.storage, bucket, record, sending=False)
        return pending
    restored = [_restored(environment, name) for name in sorted(names)] + ([pip_conf] if pip_conf else [])
    if patch:
        restored.append(f"another update changed {few(sorted({*patch.set, *patch.remove}))} since, which was left")
    held = _hold(cloud.storage, bucket, record, requirements)
    finish_record(cloud.storage, bucket, record, ROLLED_BACK)
    raise RolledBackError(str(environment.name), failure=record.failure, restored=restored, held=held)


def _restored(environment: Environment, name: str) -> str:
    version = environment.version_of(name)
    return f"{name} is not declared any more" if version is None else f"{name}{version} is declared again"


def _hold(storage: Storage, bucket: str, record: RunRecord, requirements: list[Requirement]) -> list[str]:
    """Hold what was new in this run; a version that was there before is not at fault."""
    held = []
    for requirement in requirements:
        before = [value for key, value in record.before.items() if Requirement.parse(key).name == requirement.name]
        if requirement.pinned and not any(requirement.same_as(value) for value in before):
            why = f"rolled back by {record.run}: {record.failure}"
            hold(storage, bucket, requirement.name, {requirement.pinned: why})
            held.append(f"{requirement.name} {requirement.pinned}")
    return held


def restore_pip_conf(storage: Storage, bucket: str, record: RunRecord) -> str:
    """Give pip.conf the content that it had before this run; what was done, empty for nothing.

    A file that somebody else has written since is left alone.
    """
    if record.pip_conf is None or record.pip_conf_ours is None:
        return ""
    found = storage.read(bucket, PIP_CONF)
    backup = storage.read(bucket, backup_name(record.pip_conf)) if record.pip_conf else None
    if record.pip_conf and backup is None:
        log.warning("gs://%s/%s is gone: pip.conf stays as it is", bucket, backup_name(record.pip_conf))
        return "pip.conf could not be restored: its backup is gone"
    content, generation = found or (None, 0)
    if content == (backup[0] if backup else None):
        return _RESTORED
    if generation != record.pip_conf_ours:
        log.warning("somebody else changed pip.conf since: it stays as it is")
        return "pip.conf was left: somebody else changed it since"
    try:
        restore(storage, bucket, str(record.pip_conf), only_over=record.pip_conf_ours)
    except ConcurrentChangeError:
        log.warning("somebody else is changing pip.conf: it stays as they write it")
        return "pip.conf was left: somebody else changed it since"
    log.info("pip.conf has the content again that it had before")
    return _RESTORED
