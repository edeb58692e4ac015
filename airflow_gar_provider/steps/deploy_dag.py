"""Use: copy DAG files to an environment, or delete them there."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from airflow_gar_provider.core.deployment import (
    DAGS,
    DagFile,
    compare,
    fixed_part,
    has_wildcard,
    is_taken,
    matches,
    target_of,
)
from airflow_gar_provider.core.environment import Environment, few
from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.errors import InvalidInputError
from airflow_gar_provider.gcp.storage import Storage, StoredObject

log = logging.getLogger(__name__)
THREADS = 8
"""Files that are written at once."""
NAMED = 5
"""Files that a message names."""


def deploy_dags(
    storage: Storage, environment: Environment, files: object, *, destination: str = "", delete: bool = False
) -> dict[str, Any]:
    """Copy DAG files to the environment's `dags/` prefix, or delete them there. Nothing else is touched.

    `files` are local paths, folders and patterns, or gs:// URIs of the same kinds; a list, or one string. A file
    becomes `dags/DESTINATION/NAME`; what a folder or a pattern takes keeps its path below the folder's parent (`team`),
    the folder (`team/`) or the pattern's first wildcard. A file that is there with the same MD5 is not written again.

    With `delete` these files are deleted instead: those that would be written, or, as gs:// URIs of the environment's
    own bucket, exactly those. Each write and each deletion is bound to the generation that was seen. Outcomes: written,
    deleted, unchanged. Raises InvalidInputError naming every item that is none; ConcurrentChangeError.
    """
    bucket = environment.require_bucket()
    wanted = _gather(storage, files, destination, bucket, delete=delete)
    # Letter by letter, not folder by folder: that is what a prefix of objects is.
    prefix = os.path.commonprefix([file.target for file in wanted])  # noqa: RUF071
    present = {stored.name: stored for stored in storage.list(bucket, prefix)}
    if delete:
        there = [present[file.target] for file in wanted if file.target in present]
        _all(partial(_delete, storage, stored) for stored in dict.fromkeys(there))
        return _result(environment, wanted, delete=True, deleted=[stored.name for stored in dict.fromkeys(there)])
    plan = compare(wanted, {name: stored.md5 for name, stored in present.items()})
    _all(partial(_write, storage, bucket, file, present.get(file.target)) for file in plan.write)
    return _result(environment, wanted, delete=False, written=[file.target for file in plan.write])


def _write(storage: Storage, bucket: str, file: DagFile, seen: StoredObject | None) -> None:
    generation = seen.generation if seen else 0
    if file.source.startswith("gs://"):
        source_bucket, _, name = file.source.removeprefix("gs://").partition("/")
        storage.copy(source_bucket, name, file.target, to_bucket=bucket, if_generation=generation)
    else:
        storage.upload(bucket, file.target, Path(file.source), if_generation=generation)
    log.info("%s -> gs://%s/%s", file.source, bucket, file.target)


def _delete(storage: Storage, stored: StoredObject) -> None:
    storage.delete(stored.bucket, stored.name, if_generation=stored.generation)
    log.info("deleted %s", stored.uri)


def _all(work: Iterable[Callable[[], None]]) -> None:
    """Do all of it, many at once; what failed does not keep the rest from being done."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="deploy") as threads:
        doing = [threads.submit(each) for each in work]
    errors = [error for done in doing if (error := done.exception()) is not None]
    for error in errors[1:]:
        log.error("%s", error)
    if errors:
        raise errors[0]


def _result(
    environment: Environment,
    wanted: Sequence[DagFile],
    *,
    delete: bool,
    written: Sequence[str] = (),
    deleted: Sequence[str] = (),
) -> dict[str, Any]:
    changed = [*written, *deleted]
    targets = list(dict.fromkeys(file.target for file in wanted))
    unchanged = [target for target in targets if target not in set(changed)]
    outcome = "written" if written else "deleted" if deleted else "unchanged"
    verb = {"written": "copied to", "deleted": "deleted from"}.get(outcome, "not in" if delete else "already in")
    bucket = environment.require_bucket()

    def uris(names: Iterable[str]) -> list[str]:
        return [f"gs://{bucket}/{name}" for name in names]

    named = few([target.removeprefix(DAGS) for target in changed or targets], NAMED)
    return {
        "outcome": outcome,
        "message": f"{named} {verb} {environment.name.name}",
        "environment": str(environment.name),
        "files": uris(targets),
        "written": uris(written),
        "unchanged": uris(unchanged),
        "deleted": uris(deleted),
    }


def _gather(storage: Storage, files: object, destination: str, bucket: str, *, delete: bool) -> list[DagFile]:
    """Every file that is meant. Raises InvalidInputError naming every item that means none."""
    found: list[DagFile] = []
    problems = []
    for item in split_list(files):
        try:
            if delete and item.startswith(f"gs://{bucket}/"):
                found.append(_deployed(item, bucket))
                continue
            taken = _of_bucket(storage, item) if item.startswith("gs://") else _local(item, hashed=not delete)
            if not taken and delete and not has_wildcard(item) and not item.endswith("/"):
                taken = [(item, PurePosixPath(item).name, "")]  # gone here, to be deleted there
            if not taken:
                problems.append(f"there is no such DAG file: {item}")
            found += [DagFile(source, target_of(path, destination), md5) for source, path, md5 in taken]
        except InvalidInputError as error:
            problems.append(error.what)
    if problems or not found:
        raise InvalidInputError("; ".join(problems) or "no DAG file was named", resource=f"gs://{bucket}/{DAGS}")
    return found


def _deployed(uri: str, bucket: str) -> DagFile:
    """A file of the environment's own bucket, by its URI, as the result of a deployment names it."""
    name = uri.removeprefix(f"gs://{bucket}/")
    if has_wildcard(name) or name.endswith("/") or not name.startswith(DAGS):
        raise InvalidInputError(f"{uri} does not name one file below dags/: what is deleted there is named one by one")
    return DagFile(uri, name, "")


def _local(item: str, *, hashed: bool) -> list[tuple[str, str, str]]:
    """(path, path below dags/, MD5) of each file that a path, a folder or a pattern takes."""
    path = Path(item)
    if path.is_file():
        return [(item, path.name, _md5(path) if hashed else "")]
    if path.is_dir():
        below = path.absolute()
        base = below if item.endswith("/") else below.parent
        found = [Path(folder, name) for folder, _, names in os.walk(below) for name in names]
    else:
        below = base = Path(fixed_part(item) or ".")
        names = glob.glob(item, recursive=True) if has_wildcard(item) else []  # noqa: PTH207 -- an absolute pattern
        found = [each for each in map(Path, names) if each.is_file()]
    return [
        (str(each), each.relative_to(base).as_posix(), _md5(each) if hashed else "")
        for each in sorted(found)
        if is_taken(each.relative_to(below).as_posix())
    ]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _of_bucket(storage: Storage, uri: str) -> list[tuple[str, str, str]]:
    """The same of a bucket: (URI, path below dags/, MD5; empty for a composed object, which has none)."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not bucket:
        raise InvalidInputError(f"{uri} names no bucket")
    below = fixed_part(name) if has_wildcard(name) else name
    objects = [stored for stored in storage.list(bucket, below) if not stored.name.endswith("/")]
    exact = [stored for stored in objects if stored.name == name]
    if exact:
        return [(stored.uri, PurePosixPath(name).name, stored.md5) for stored in exact]
    base = below
    if has_wildcard(name):
        objects = [stored for stored in objects if matches(stored.name, name)]
    elif name and not name.endswith("/"):
        below, base = f"{name}/", name[: name.rfind("/") + 1]
        objects = [stored for stored in objects if stored.name.startswith(below)]
    return [
        (stored.uri, stored.name[len(base) :], stored.md5) for stored in objects if is_taken(stored.name[len(below) :])
    ]
