"""Install: an environment gets the wanted packages in one update; followed, verified, and rolled back on demand.

`begin` starts, `proceed` goes on after a wait; both answer with what to wait for next, or with the result. Each looks
at the environment and at the run record anew, so a try that comes after a crash does the same as one that waited.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from airflow_gar_provider.core.environment import Environment, Patch, Wish, few, plan_patch
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    EnvironmentNotReadyError,
    GarProviderError,
    VerificationError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.drain import Draining, drain, wait_idle
from airflow_gar_provider.steps.explain import explain
from airflow_gar_provider.steps.hold import refuse_held
from airflow_gar_provider.steps.point import PIP_CONF, point, written_by
from airflow_gar_provider.steps.preflight import prepare
from airflow_gar_provider.steps.record import (
    FAILED,
    INSTALLED,
    ROLLED_BACK,
    ROLLING_BACK,
    RunRecord,
    begin_record,
    finish_record,
    read_record,
    unfinished,
    update_record,
)
from airflow_gar_provider.steps.rollback import restore_pip_conf, resume, roll_back
from airflow_gar_provider.steps.update import (
    Pending,
    accepted,
    check,
    find,
    in_flight,
    overtaken_by,
    send,
    settled,
    timed_out,
    wait,
)
from airflow_gar_provider.steps.verify import Seen, Settled, import_errors, verify

__all__ = ["Draining", "Pending", "Settled", "begin", "check", "install", "proceed", "request", "timed_out"]

log = logging.getLogger(__name__)
_LOOKS = 5
_UPDATES = 2
"""How often one run patches: a second time when another writer changed the packages between read and patch."""


def install(
    cloud: Cloud,
    wish: Wish,
    clock: Clock,
    *,
    timeout: float,
    poll_interval: float,
    on_wait: Callable[[str], None] = lambda operation: None,
) -> dict[str, Any]:
    """All of it, waiting in this process. `timeout`: seconds for each operation that is waited for.

    `on_wait` is told each operation before it is waited for.
    """
    found = begin(cloud, wish, clock)
    while not isinstance(found, dict):
        if isinstance(found, Draining):
            wait_idle(cloud, wish, clock, poll_interval=poll_interval)
        else:
            on_wait(found.operation)
            wait(cloud, found, clock, timeout=timeout, poll_interval=poll_interval)
        found = proceed(cloud, wish, clock, found)
    return found


def begin(cloud: Cloud, wish: Wish, clock: Clock) -> Pending | Draining | dict[str, Any]:
    """Begin the update, or find what an earlier try began: what to wait for, or the result when there is nothing."""
    return proceed(cloud, wish, clock, None)


def proceed(
    cloud: Cloud, wish: Wish, clock: Clock, waited: Pending | Draining | None
) -> Pending | Draining | dict[str, Any]:
    """What comes after a wait: the next one, or the result. Raises what `request` and `verify` raise, and
    RolledBackError after a rollback.
    """
    for _ in range(_LOOKS):
        found = request(cloud, wish, clock, waited)
        if isinstance(found, Settled):
            try:
                return verify(cloud, found, clock)
            except VerificationError as failure:
                if not wish.rollback:
                    raise
                found = roll_back(cloud, found, failure, clock)
        if found is not None:
            return found
        waited = None  # what was to be followed has ended meanwhile: look again
    raise EnvironmentNotReadyError(
        str(wish.environment),
        "changing each time it is looked at",
        remedy="run this task again; find out who else updates this environment",
        retryable=True,
    )


def request(  # noqa: PLR0911 -- one for each thing that may be found
    cloud: Cloud, wish: Wish, clock: Clock, waited: Pending | Draining | None = None
) -> Pending | Draining | Settled | None:
    """Begin the update that turns the environment's packages into the wanted ones, if there is one to begin.

    Answers with the operation or the tasks to wait for, or with Settled: verify. None: look again. An environment that
    is being updated is not patched: its operation is returned, to be waited for first. Raises EnvironmentNotReadyError,
    NotFoundError, PreflightError, HeldVersionError, PostponedError before anything is changed; InstallFailedError,
    with the cause, when our update failed.
    """
    environment = cloud.composer.get_environment(wish.environment)
    environment.require_updatable()
    bucket = environment.require_bucket()
    kept = read_record(cloud.storage, bucket, wish.run)
    wish = replace(wish, asked=tuple(wish.wanted))
    record = unfinished(kept, wish.asked)
    if record is None and kept is not None and wish.goes_on and kept.asked == wish.asked:
        ended = _ended_before(cloud, Seen(_pinned(wish, kept), environment, kept, find(cloud, kept.operation)), clock)
        if ended is not None:
            return ended
    if record is not None and record.sending:
        record = settled(cloud, environment, record)
    operation = find(cloud, _operation_of(record, waited))
    if operation is not None and not operation.done:
        return Pending(operation.name, ours=True)
    seen = Seen(_pinned(wish, record), environment, record, operation)
    if record is not None and record.phase == ROLLING_BACK:
        return resume(cloud, seen, record, clock)
    if operation is not None and operation.failed:
        raise _failed(cloud, seen, operation, clock)
    if record is None:
        seen = replace(seen, wish=prepare(cloud, wish, environment, clock))
    if environment.state == "UPDATING":
        return in_flight(cloud, environment, clock)
    patch = plan_patch(environment.packages, seen.wish.requirements, wish.absent)
    if not patch:
        log.info("%s declares all that is wanted: %s", wish.environment.name, few(seen.wish.wanted))
        if record is None and wish.repository is not None:
            point(cloud.storage, environment, wish.repository, if_unused=True, clock=clock)
        return Settled(seen.wish, environment, record, operation)
    if operation is not None:
        _not_overtaken(cloud, seen, operation, patch)
        if record is None or record.updates >= _UPDATES:
            return Settled(seen.wish, environment, record, operation)  # the verification says what is wrong
        log.info("the packages were changed between our look and our update: updating again")
    return _update(cloud, replace(seen, record=record or kept), patch, clock, waited=isinstance(waited, Draining))


def _ended_before(cloud: Cloud, seen: Seen, clock: Clock) -> Settled | Pending | None:
    """What an earlier try of this run came to, when it died after it had written that down; None: begin anew.

    A failure that another try may mend is begun anew.
    """
    record, operation = seen.record, seen.operation
    if record is None:
        return None
    log.info("an earlier try of this run has ended: %s", record.outcome)
    if record.outcome == ROLLED_BACK:
        return resume(cloud, seen, record, clock)
    if record.outcome == FAILED and operation is not None and operation.failed:
        error = _failed(cloud, seen, operation, clock)
        if not error.retryable:
            raise error
    wish, packages = seen.wish, seen.environment.packages
    if record.outcome == INSTALLED and not plan_patch(packages, wish.requirements, wish.absent):
        return Settled(wish, seen.environment, record, operation)
    return None


def _operation_of(record: RunRecord | None, waited: Pending | Draining | None) -> str | None:
    """Our own operation: from the record, or from the wait when no record could be kept."""
    if record is not None and (record.operation or record.generation):
        return record.operation
    return waited.operation if isinstance(waited, Pending) and waited.ours else None


def _pinned(wish: Wish, record: RunRecord | None) -> Wish:
    """The wish with the pins that an earlier try of this run has written down."""
    if record is None:
        return wish
    return replace(wish, requirements=tuple(Requirement.parse(pin) for pin in record.pins))


def _update(cloud: Cloud, seen: Seen, patch: Patch, clock: Clock, *, waited: bool) -> Pending | Draining | None:
    """From the first thing that could forbid the update to its operation. A record that is done is replaced."""
    wish, environment = seen.wish, seen.environment
    storage, bucket = cloud.storage, environment.require_bucket()
    if not wish.ignore_hold:
        changing = [requirement for requirement in wish.requirements if requirement.name in patch.set]
        refuse_held(storage, bucket, environment.name, changing)
    draining = drain(cloud, wish, waited=waited)
    if draining is not None:
        return draining
    record = unfinished(seen.record, wish.asked) or begin_record(
        storage, bucket, _before(cloud, wish, environment), seen.record
    )
    told: dict[str, Any] = {"sending": True}
    if wish.rollback and not record.generation:
        raise AccessDeniedError(
            "a rollback needs the record of what was before, and it cannot be written; nothing was changed",
            resource=f"gs://{bucket}",
            remedy="grant the caller roles/storage.objectUser on the environment's bucket, or set rollback=False",
        )
    if wish.repository is not None:
        point(storage, environment, wish.repository, if_unused=True, run=wish.run, clock=clock)
        ours = written_by(storage, bucket, wish.run)
        if ours is not None:
            # Somebody may have written it after the record was begun: a rollback gives back what we really replaced.
            told["pip_conf_ours"], told["pip_conf"] = ours
    # From here to the answer nobody but Composer knows whether it took the update.
    record = update_record(storage, bucket, record, **told)
    pending = send(cloud, environment, patch, clock)
    if pending is not None and pending.ours:
        accepted(cloud, environment, record, pending.operation)
    else:
        update_record(storage, bucket, record, sending=False)
    return pending


def _before(cloud: Cloud, wish: Wish, environment: Environment) -> RunRecord:
    """What is there before our first change."""
    bucket = environment.require_bucket()
    return RunRecord(
        run=wish.run,
        asked=wish.asked,
        pins=tuple(map(str, wish.requirements)),
        absent=wish.absent,
        before=dict(environment.packages),
        pip_conf=_pip_conf_generation(cloud.storage, bucket) if wish.repository else None,
        import_errors=import_errors(cloud.airflow_of(environment)) if wish.import_errors else None,
    )


def _pip_conf_generation(storage: Storage, bucket: str) -> int:
    """The generation of pip.conf, 0 for none; its content may hold a key, and is not read for this."""
    return next((found.generation for found in storage.list(bucket, PIP_CONF) if found.name == PIP_CONF), 0)


def _not_overtaken(cloud: Cloud, seen: Seen, operation: Operation, patch: Patch) -> None:
    """Raise ConcurrentChangeError when another update undid what ours did: a war of two rollouts ends here."""
    environment, record = seen.environment, seen.record
    other = overtaken_by(cloud, environment, operation)
    if other is None:
        return
    if record is not None:
        # A later try begins anew.
        finish_record(cloud.storage, environment.require_bucket(), record, FAILED)
    raise ConcurrentChangeError(
        f"another update changed {few(sorted({*patch.set, *patch.remove}))} after ours",
        resource=str(environment.name),
        remedy="find out who else updates this environment; running this task again updates it again",
        message=f"ours was {operation.name}, the other one {other.name}",
    )


def _failed(cloud: Cloud, seen: Seen, operation: Operation, clock: Clock) -> GarProviderError:
    """Why our update failed. The packages are as they were; with `rollback`, pip.conf is, too."""
    error = explain(cloud, seen.wish, operation, clock)
    if seen.record is not None:
        bucket = seen.environment.require_bucket()
        if seen.wish.rollback:
            restore_pip_conf(cloud.storage, bucket, seen.record)
        finish_record(cloud.storage, bucket, seen.record, FAILED)
    return error
