"""The run record: what was there before our first change, and how far we are, kept in the environment's bucket.

Neither can be read back from Google after the act, and Airflow clears a task's XCom at every try. It holds no secrets:
of pip.conf only the generation, never the content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from airflow_gar_provider.errors import AccessDeniedError, ConcurrentChangeError
from airflow_gar_provider.gcp.storage import Storage

log = logging.getLogger(__name__)
INSTALLING, ROLLING_BACK, DONE = "installing", "rolling_back", "done"
_PHASES = (INSTALLING, ROLLING_BACK, DONE)
INSTALLED, FAILED, ROLLED_BACK = "installed", "failed", "rolled_back"
"""Outcomes of a run that is done."""


@dataclass(frozen=True)
class RunRecord:
    """One task's record for one environment."""

    run: str
    """Identifies the task's run over all its tries."""
    asked: tuple[str, ...] = ()
    """What the task was asked for; a try that is asked for something else does not use this record."""
    pins: tuple[str, ...] = ()
    """The requirements as they were resolved: later tries and the verification use these."""
    absent: tuple[str, ...] = ()
    """PEP 503 names of the packages that were to go."""
    before: Mapping[str, str] = field(default_factory=dict)
    """The package map before our first change."""
    pip_conf: int | None = None
    """The generation of pip.conf before; 0 for none; None when it is not ours to change, or nobody knows."""
    pip_conf_ours: int | None = None
    """The generation of pip.conf that we wrote; None when we wrote none."""
    import_errors: Mapping[str, str] | None = None
    """DAG file -> last line of its import error, before; None when they could not be read."""
    operation: str | None = None
    """Our update that was accepted last."""
    updates: int = 0
    """How many updates of ours were accepted."""
    sending: bool = False
    """Whether an update is on its way of which nobody knows yet if it was accepted; written just before it is sent."""
    phase: str = INSTALLING
    """installing, rolling_back or done; a run that comes after `done` starts a record of its own."""
    outcome: str = ""
    """Of a run that is done: installed, failed or rolled_back."""
    failure: str = ""
    """What the verification said, before a rollback."""
    generation: int = 0
    """Of the object; 0 when it could not be written."""

    @property
    def finished(self) -> bool:
        """Whether the run has an end; the next one then has a record of its own."""
        return self.phase == DONE

    @classmethod
    def from_json(cls, content: bytes, generation: int) -> RunRecord:
        """Read an object. Raises ValueError, KeyError or TypeError for what is no record."""
        found: dict[str, Any] = json.loads(content)
        if found["phase"] not in _PHASES:
            raise ValueError(found["phase"])
        errors = found["import_errors"]
        return cls(
            run=str(found["run"]),
            asked=tuple(found["asked"]),
            pins=tuple(found["pins"]),
            absent=tuple(found["absent"]),
            before=dict(found["before"]),
            pip_conf=found["pip_conf"],
            pip_conf_ours=found["pip_conf_ours"],
            import_errors=None if errors is None else dict(errors),
            operation=found["operation"],
            updates=int(found["updates"]),
            sending=bool(found.get("sending")),
            phase=found["phase"],
            outcome=found["outcome"],
            failure=found["failure"],
            generation=generation,
        )

    def to_json(self) -> bytes:
        """The object's content."""
        content = asdict(self)
        del content["generation"]
        return json.dumps(content, indent=1, sort_keys=True).encode()


def slug(run: str) -> str:
    """What identifies a run, as one part of an object's name: readable, and safe for every bucket tool."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", run)[:80].strip("-")
    return f"{readable}-{hashlib.sha256(run.encode()).hexdigest()[:10]}"


def record_name(run: str) -> str:
    """The object for a run in the environment's bucket."""
    return f"data/gar/runs/{slug(run)}.json"


def read_record(storage: Storage, bucket: str, run: str) -> RunRecord | None:
    """The record, or None when there is none, or none that may be read."""
    name = record_name(run)
    try:
        found = storage.read(bucket, name)
    except AccessDeniedError as error:
        log.warning("the record of an earlier try cannot be read: %s", error.what)
        return None
    if found is None:
        return None
    try:
        return RunRecord.from_json(*found)
    except (ValueError, KeyError, TypeError):
        log.warning("gs://%s/%s is not a run record; it is replaced", bucket, name)
        return RunRecord(run, phase=DONE, generation=found[1])


def unfinished(record: RunRecord | None, asked: Sequence[str]) -> RunRecord | None:
    """The record when it is of an earlier try that was asked for the same and has no end yet."""
    if record is None or record.finished:
        return None
    if record.phase == INSTALLING and record.asked != tuple(asked):
        log.info("an earlier try wanted %s: it is not followed", ", ".join(record.asked))
        return None
    return record


def begin_record(storage: Storage, bucket: str, record: RunRecord, replaces: RunRecord | None) -> RunRecord:
    """Write down what is there, before the first change. Without the right to write, the record is not kept."""
    try:
        generation = _write(storage, bucket, record, replaces.generation if replaces else 0)
    except ConcurrentChangeError:
        # Another process of the same task wrote it first: what it saw before is as true as what we saw.
        return read_record(storage, bucket, record.run) or record
    except AccessDeniedError as error:
        log.warning("the state before cannot be recorded, a later try will not know it: %s", error.what)
        return record
    return replace(record, generation=generation)


def update_record(storage: Storage, bucket: str, record: RunRecord, **changes: Any) -> RunRecord:
    """Write down how far we are; fields of RunRecord as keywords. A record that could not be kept stays with us."""
    changed = replace(record, **changes)
    if record.generation == 0:
        return changed
    try:
        return replace(changed, generation=_write(storage, bucket, changed, record.generation))
    except ConcurrentChangeError:
        # Another process of the same task (its worker was thought dead). What we know comes on top of what it wrote.
        log.info("another process of this task wrote the record meanwhile")
        theirs = read_record(storage, bucket, record.run) or record
        changed = replace(theirs, **changes)
        return replace(changed, generation=_write(storage, bucket, changed, theirs.generation))


def finish_record(storage: Storage, bucket: str, record: RunRecord, outcome: str) -> None:
    """Mark the record as done."""
    update_record(storage, bucket, record, phase=DONE, outcome=outcome)


def _write(storage: Storage, bucket: str, record: RunRecord, generation: int) -> int:
    return storage.write(bucket, record_name(record.run), record.to_json(), if_generation=generation)
