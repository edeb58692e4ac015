"""The key book: which keys we made for an environment, kept in its bucket. It names keys by id; it holds no secret.

IAM does not say who made a key, or why: only what stands here is provably ours, and only that is ever deleted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from airflow_gar_provider.gcp.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retirement:
    """What one run has done to old keys."""

    run: str = ""
    """Identifies it over all its tries."""
    disabled: tuple[str, ...] = ()
    """Ids of the keys that it disabled."""
    deleted: tuple[str, ...] = ()
    """Ids of the keys that it deleted."""


@dataclass(frozen=True)
class KeyBook:
    """What we know of one service account's keys for one environment."""

    email: str
    """The service account."""
    made: tuple[str, ...] = ()
    """Ids of the keys that we made and have not deleted."""
    current: str | None = None
    """The last key of ours that the environment is known to have worked with; it stays until a newer one has."""
    disabled: Mapping[str, str] = field(default_factory=dict)
    """Ids of the keys that we disabled -> the operation that had installed something with a newer one."""
    making: tuple[str, ...] | None = None
    """While a key is being made: the ids that were there before. A crash leaves it here."""
    run: str = ""
    """The run that made, or is making, the newest key: its later tries make no other."""
    newest: str | None = None
    """Id of the key that this run has made; None while it has not."""
    retired: Retirement = Retirement()
    """What was done last to old keys: a later try of a run that died before it could say so tells it."""
    generation: int = 0
    """Of the object."""

    @property
    def name(self) -> str:
        """The object's name."""
        return f"data/gar/keys/{self.email}.json"


def read_book(storage: Storage, bucket: str, email: str) -> KeyBook:
    """The book, an empty one when there is none. One that cannot be read proves nothing: it is begun anew."""
    empty = KeyBook(email)
    found = storage.read(bucket, empty.name)
    if found is None:
        return empty
    try:
        value: dict[str, Any] = json.loads(found[0])
        making, retired = value["making"], value.get("retired") or {}
        return KeyBook(
            email=email,
            made=tuple(map(str, value["made"])),
            current=value["current"],
            disabled=dict(value["disabled"]),
            making=None if making is None else tuple(making),
            run=str(value["run"]),
            newest=value.get("newest"),
            retired=Retirement(
                str(retired.get("run", "")), tuple(retired.get("disabled", ())), tuple(retired.get("deleted", ()))
            ),
            generation=found[1],
        )
    except (ValueError, KeyError, TypeError):
        log.warning("gs://%s/%s is no record of keys; it is replaced, and no older key is deleted", bucket, empty.name)
        return replace(empty, generation=found[1])


def write_book(storage: Storage, bucket: str, book: KeyBook) -> KeyBook:
    """Write the book over the one that was read. Raises ConcurrentChangeError when another run wrote it meanwhile."""
    value = {
        "service_account": book.email,
        "made": list(book.made),
        "current": book.current,
        "disabled": dict(book.disabled),
        "making": None if book.making is None else list(book.making),
        "run": book.run,
        "newest": book.newest,
        "retired": asdict(book.retired),
    }
    text = json.dumps(value, indent=1, sort_keys=True)
    return replace(book, generation=storage.write(bucket, book.name, text.encode(), if_generation=book.generation))
