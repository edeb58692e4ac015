"""Key: a service account's key for pip.conf, as it was done in 2022; found, made, and changed for a new one.

A change takes two calls. `key_for` makes the new key, which `point` writes into pip.conf; the old one still works.
`finish` comes after an install that ran with the new key, and disables the old one; a later call deletes it. Whatever
dies in between, the next call finds it in the key book, in pip.conf and in IAM, and goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.errors import GarProviderError, InvalidInputError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.iam import KeyInfo
from airflow_gar_provider.gcp.session import CALL_TIMEOUT
from airflow_gar_provider.steps.key_book import KeyBook, Retirement, read_book, write_book
from airflow_gar_provider.steps.pip_backup import PIP_CONF, read_conf

log = logging.getLogger(__name__)
Mask = Callable[[str], None]
"""Told each form of a secret as soon as it is known: what shows logs hides it from then on."""


@dataclass(frozen=True)
class KeySource:
    """Where the key comes from: exactly one of the three."""

    secret: str | None = None
    """`projects/P/secrets/S[/versions/V]` in Secret Manager."""
    given: str | None = field(default=None, repr=False)
    """The key file itself, as a connection held it."""
    service_account: str | None = None
    """The e-mail address of an account for which keys are made through IAM."""

    def __post_init__(self) -> None:
        """Raise InvalidInputError unless exactly one is given."""
        if sum(source is not None for source in (self.secret, self.given, self.service_account)) != 1:
            raise InvalidInputError(
                "a key comes from exactly one source",
                remedy="give one of key_secret, key_conn_id and key_service_account",
            )


@dataclass(frozen=True)
class Chosen:
    """The key that pip.conf is to hold."""

    key: ServiceAccountKey
    warnings: tuple[str, ...] = ()
    """What people should do about other keys."""


def key_for(cloud: Cloud, bucket: str, source: KeySource, *, rotate: bool, run: str, mask: Mask) -> Chosen:
    """The key for an environment's pip.conf. With `rotate` a new one, unless this very run has made it already.

    A key that IAM makes is made only when pip.conf holds none that works. Raises InvalidKeyError, AccessDeniedError,
    ConcurrentChangeError (two runs at once).
    """
    if source.service_account is not None:
        return _made(cloud, bucket, source.service_account, rotate=rotate, run=run, mask=mask)
    if rotate:
        raise InvalidInputError(
            "rotate makes keys through IAM, which needs key_service_account",
            remedy="a key from Secret Manager or a connection is changed there; the next run writes it",
        )
    text = cloud.secret_manager.read(source.secret) if source.secret is not None else source.given or ""
    key = ServiceAccountKey.parse(text)
    _hide(key, mask)
    return Chosen(key)


def _hide(key: ServiceAccountKey, mask: Mask) -> None:
    for secret in key.secrets:
        mask(secret)


def _made(cloud: Cloud, bucket: str, email: str, *, rotate: bool, run: str, mask: Mask) -> Chosen:
    held = [key for key in pip_conf.keys_in(read_conf(cloud.storage, bucket)[0]) if key.email == email]
    for key in held:
        _hide(key, mask)
    book = read_book(cloud.storage, bucket, email)
    live = {key.id: key for key in cloud.iam.list_keys(email)}
    orphan = _orphan(cloud, bucket, book, live)
    if orphan is not None:
        # Disabled, not deleted: should it be another's after all, one command gives it back.
        log.warning(
            "disabling the key %s: a try that died made it, as far as its time tells, and its private half is lost; %s",
            *(orphan, f"it can go: {_delete(orphan, email)}"),
        )
        cloud.iam.disable_key(email, orphan)
    warnings = _suspects(book, {key_id: key for key_id, key in live.items() if key_id != orphan})
    book = _tidy(cloud, bucket, book, [key.id for key in held])
    usable = next((key for key in held if _works(key, live, book, run)), None)
    ours = usable is not None and _is_of(book, run, usable.id)
    if usable is not None and (ours or not rotate):
        log.info("pip.conf holds the key %s of %s, which works: it stays", usable.id, email)
        return Chosen(usable, warnings)
    if usable is not None and usable.id not in book.made:
        warnings += (
            f"the key {usable.id} was not made here, and stays valid; if nobody needs it: {_delete(usable.id, email)}",
        )
    current = book.current if book.current in live else None
    if current is None and usable is not None and usable.id in book.made:
        current = usable.id
    book = replace(book, making=tuple(live), current=current, run=run, newest=None)
    return Chosen(_create(cloud, bucket, write_book(cloud.storage, bucket, book), mask), warnings)


def _works(key: ServiceAccountKey, live: dict[str, KeyInfo], book: KeyBook, run: str) -> bool:
    """Whether a key in pip.conf is one that IAM takes.

    A key that this run made counts although IAM does not list it: a new one may take a minute to be seen everywhere
    (IAM: "Access change propagation").
    """
    if key.id in live:
        return not live[key.id].disabled
    return _is_of(book, run, key.id)


def _is_of(book: KeyBook, run: str, key_id: str) -> bool:
    """Whether this very run has made the key: an older one of ours does not do for a rotation."""
    return bool(run) and book.run == run and key_id == book.newest


def _create(cloud: Cloud, bucket: str, book: KeyBook, mask: Mask) -> ServiceAccountKey:
    key = cloud.iam.create_key(book.email)
    _hide(key, mask)
    try:
        write_book(cloud.storage, bucket, replace(book, made=(*book.made, key.id), making=None, newest=key.id))
    except GarProviderError:
        # Nobody has it yet: without an entry in the book nobody could say later whose it is.
        cloud.iam.delete_key(book.email, key.id)
        raise
    log.info("made the key %s of %s", key.id, book.email)
    return key


def _unknown(book: KeyBook, live: Mapping[str, KeyInfo]) -> list[str]:
    """Keys that appeared while an earlier try was making one and died."""
    return [] if book.making is None else [key for key in live if key not in (*book.making, *book.made)]


def _orphan(cloud: Cloud, bucket: str, book: KeyBook, live: Mapping[str, KeyInfo]) -> str | None:
    """The key that a try made which did not live to see it; None when there is none, or when it may be another's.

    It is the only new one, and was made within the time of a call from the moment at which the book said that one is
    about to be made: both moments are Google's (IAM's has whole seconds).
    """
    unknown = _unknown(book, live)
    if len(unknown) != 1:
        return None
    begun, made = cloud.storage.written(bucket, book.name), live[unknown[0]].created
    if begun is None or not begun.replace(microsecond=0) <= made <= begun + timedelta(seconds=CALL_TIMEOUT):
        return None
    return unknown[0]


def _suspects(book: KeyBook, live: Mapping[str, KeyInfo]) -> tuple[str, ...]:
    """Keys that a try which died may have made: perhaps ours, perhaps not, so they are named and left."""
    return tuple(
        f"the key {key_id} appeared while an earlier try was making one and died; when nobody else made it, its "
        f"private half is lost: {_delete(key_id, book.email)}"
        for key_id in _unknown(book, live)
    )


def _delete(key_id: str, email: str) -> str:
    return f"gcloud iam service-accounts keys delete {key_id} --iam-account={email}"


def _tidy(cloud: Cloud, bucket: str, book: KeyBook, held: Sequence[str]) -> KeyBook:
    """Delete what is provably ours and of no use: keys that pip.conf never got or has lost, and disabled ones.

    The current one stays, whether pip.conf holds it or not: a build that runs may have read it.
    """
    doomed = [key_id for key_id in book.made if key_id not in held and key_id != book.current]
    if not doomed:
        return book
    for key_id in doomed:
        log.info("deleting the key %s of %s: we made it, and nothing uses it", key_id, book.email)
        cloud.iam.delete_key(book.email, key_id)
    disabled = {key_id: operation for key_id, operation in book.disabled.items() if key_id not in doomed}
    made = tuple(key_id for key_id in book.made if key_id not in doomed)
    return write_book(cloud.storage, bucket, replace(book, made=made, disabled=disabled))


def finish(
    cloud: Cloud, name: EnvironmentName, email: str, operation: str, *, run: str = "", goes_on: bool = False
) -> dict[str, Any]:
    """Disable the keys that pip.conf held before, now that an update has installed with the one that it holds.

    `operation` names that update; empty when there was none. Keys that an earlier call disabled are deleted. Only keys
    of the key book are touched. `run` identifies the task's run over all its tries; with `goes_on`, what an earlier try
    of it has retired is told again. Outcomes: retired, unchanged. Raises NotFoundError when the operation is unknown.
    """
    environment = cloud.composer.get_environment(name)
    bucket = environment.require_bucket()
    held = {key.id for key in pip_conf.keys_in(read_conf(cloud.storage, bucket)[0]) if key.email == email}
    book = read_book(cloud.storage, bucket, email)
    old = [key_id for key_id in book.made if key_id not in held and key_id not in book.disabled]
    doomed = [key_id for key_id, by in book.disabled.items() if key_id not in held and by != operation]
    if not (old or doomed) and goes_on and run and book.retired.run == run:
        log.info("an earlier try of this run has retired what there was")
        return _retired(name, email, book.retired)
    if not (old or doomed):
        return _result("unchanged", name, email, f"no old key of {email} is left to retire")
    unproven = _unproven(cloud, name, bucket, operation)
    if unproven:
        return _result("unchanged", name, email, f"{', '.join([*old, *doomed])} of {email} stay: {unproven}")
    for key_id in old:
        log.info("disabling the key %s of %s; a later run deletes it", key_id, email)
        cloud.iam.disable_key(email, key_id)
    for key_id in doomed:
        log.info("deleting the key %s of %s, which was disabled before", key_id, email)
        cloud.iam.delete_key(email, key_id)
    disabled = {**book.disabled, **dict.fromkeys(old, operation)}
    retired = Retirement(run, tuple(old), tuple(doomed))
    book = replace(
        book,
        retired=retired,
        made=tuple(key_id for key_id in book.made if key_id not in doomed),
        current=next((key_id for key_id in book.made if key_id in held), None),
        disabled={key_id: by for key_id, by in disabled.items() if key_id not in doomed},
    )
    write_book(cloud.storage, bucket, book)
    return _retired(name, email, retired)


def _retired(name: EnvironmentName, email: str, done: Retirement) -> dict[str, Any]:
    told = [f"{verb} {', '.join(ids)}" for verb, ids in (("disabled", done.disabled), ("deleted", done.deleted)) if ids]
    result = _result("retired", name, email, f"{' and '.join(told)} of {email}")
    return {**result, "disabled": list(done.disabled), "deleted": list(done.deleted)}


def _unproven(cloud: Cloud, name: EnvironmentName, bucket: str, operation: str) -> str:
    """Why an operation does not prove that the environment installs with what pip.conf says now; empty: it does."""
    if not operation:
        return "nothing was installed since pip.conf got its new key"
    found: Operation = cloud.composer.get_operation(operation)
    written = cloud.storage.written(bucket, PIP_CONF)
    if found.resource != str(name) or found.kind != "UPDATE":
        return f"{operation} is no update of this environment"
    if not found.done or found.failed:
        return f"{operation} has not succeeded"
    if found.created is None or (written is not None and found.created < written):
        return f"{operation} began before pip.conf was written the last time"
    return ""


def _result(outcome: str, name: EnvironmentName, email: str, message: str) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "message": message,
        "environment": str(name),
        "account": email,
        "disabled": [],
        "deleted": [],
    }
