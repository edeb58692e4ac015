"""The run record: what was there before our first change, kept in the environment's bucket.

It can't be read back from Google after the act, and Airflow clears a task's XCom at every try. It holds no secrets.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_gar_provider.errors import AccessDeniedError, ConcurrentChangeError
from airflow_gar_provider.gcp.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """One task's record for one environment."""

    before: Mapping[str, str]
    """The package map before our first change."""
    finished: bool
    """Whether the change was verified; a later run then starts a record of its own."""
    generation: int
    """Of the object; 0 when it could not be written."""


def record_name(run: str) -> str:
    """The object for a run, named by anything that identifies it: readable, and safe for every bucket tool."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", run)[:80].strip("-")
    return f"data/gar/runs/{readable}-{hashlib.sha256(run.encode()).hexdigest()[:10]}.json"


def read_record(storage: Storage, bucket: str, run: str) -> RunRecord | None:
    """The record, or None when there is none that can be read."""
    found = storage.read(bucket, record_name(run))
    if found is None:
        return None
    try:
        content = json.loads(found[0])
        return RunRecord(dict(content["before"]), bool(content["finished"]), found[1])
    except (ValueError, KeyError, TypeError):
        log.warning("gs://%s/%s is not a run record; it is replaced", bucket, record_name(run))
        return RunRecord({}, True, found[1])


def begin_record(storage: Storage, bucket: str, run: str, before: Mapping[str, str], wanted: list[str]) -> RunRecord:
    """Write down what is there before the first change; an unfinished record of an earlier try is kept instead."""
    earlier = read_record(storage, bucket, run)
    if earlier is not None and not earlier.finished:
        return earlier
    content = {"run": run, "before": dict(before), "wanted": wanted, "finished": False}
    try:
        generation = _write(storage, bucket, run, content, earlier.generation if earlier else 0)
    except ConcurrentChangeError:
        # Another process of the same task wrote it first: what it saw before is as true as what we saw.
        return read_record(storage, bucket, run) or RunRecord(before, finished=False, generation=0)
    except AccessDeniedError as error:
        log.warning("the state before cannot be recorded, a later try will not know it: %s", error.what)
        generation = 0
    return RunRecord(dict(before), finished=False, generation=generation)


def finish_record(storage: Storage, bucket: str, run: str, record: RunRecord, wanted: list[str]) -> None:
    """Mark the record as done."""
    if record.generation == 0 or record.finished:
        return
    content = {"run": run, "before": dict(record.before), "wanted": wanted, "finished": True}
    try:
        _write(storage, bucket, run, content, record.generation)
    except ConcurrentChangeError:
        log.info("another process of this task finished its record first")


def _write(storage: Storage, bucket: str, run: str, content: Mapping[str, Any], generation: int) -> int:
    text = json.dumps(content, indent=1, sort_keys=True)
    return storage.write(bucket, record_name(run), text.encode(), if_generation=generation)
