"""Collect: paths, folders, globs and `gs://` URIs become local files."""

from __future__ import annotations

import fnmatch
import glob
import logging
from pathlib import Path

from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.core.sdist import is_sdist
from airflow_gar_provider.errors import InvalidInputError
from airflow_gar_provider.gcp.storage import Storage, StoredObject

log = logging.getLogger(__name__)


def split_gs(uri: str) -> tuple[str, str]:
    """`gs://BUCKET/NAME` -> bucket and name. Raises InvalidInputError."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise InvalidInputError(f"{uri!r} is not a Cloud Storage URI", remedy="write gs://BUCKET/NAME")
    return bucket, name


def collect(storage: Storage, sources: object, folder: Path) -> list[Path]:
    """The wheels and sdists as local files, each once.

    `sources`: paths, folders and globs; `gs://` objects, prefixes and globs; several at once. A folder, a prefix and a
    glob give their wheels and sdists; what else lies there is passed over. What comes from a bucket is written into
    `folder`. Raises InvalidInputError naming every source that names nothing.
    """
    found: list[Path] = []
    empty: list[str] = []
    items = split_list(sources)
    if not items:
        raise InvalidInputError("no wheel was named", remedy="give a path, a glob, or a gs:// URI")
    for item in items:
        files = _download(storage, item, folder) if item.startswith("gs://") else _local(item)
        found += files
        if not files:
            empty.append(item)
    if empty:
        raise InvalidInputError(
            f"no wheel is at {', '.join(empty)}", resource=empty[0], remedy="build it first, or correct the path"
        )
    return list({path.resolve(): path for path in found}.values())


def _local(item: str) -> list[Path]:
    path = Path(item)
    if path.is_file():
        return [path]
    pattern = str(Path(glob.escape(item)) / "*") if path.is_dir() else item
    # `glob`, because an absolute pattern is allowed.
    return [path for name in sorted(glob.glob(pattern)) if _is_wanted(name) and (path := Path(name)).is_file()]  # noqa: PTH207


def _is_wanted(name: str) -> bool:
    if name.endswith(".whl") or is_sdist(name):
        return True
    log.info("%s is neither a wheel nor an sdist: passed over", name)
    return False


def _download(storage: Storage, uri: str, folder: Path) -> list[Path]:
    bucket, name = split_gs(uri)
    files = []
    for stored in _stored(storage, bucket, name):
        target = folder / str(len(list(folder.iterdir()))) / Path(stored.name).name
        log.info("downloading %s (%d bytes)", stored.uri, stored.size)
        try:
            target.parent.mkdir(parents=True)
            storage.download(bucket, stored.name, target)
        except OSError as error:
            raise InvalidInputError(
                f"{stored.uri} cannot be kept on the worker's disk: {error.strerror or error}",
                resource=stored.uri,
                remedy="give the worker more ephemeral storage, or publish fewer files in one task",
            ) from error
        files.append(target)
    return files


def _stored(storage: Storage, bucket: str, name: str) -> list[StoredObject]:
    """The objects that a URI means: that very one, those below a prefix, those that a glob matches."""
    pattern = f"{name}*" if name.endswith("/") or not name else name
    prefix = pattern.split("*")[0].split("?")[0].split("[")[0]
    found = list(storage.list(bucket, prefix))
    exact = [stored for stored in found if stored.name == name and not name.endswith("/")]
    if exact:
        return exact
    if prefix == pattern:  # no glob, no object: a prefix written without its slash
        pattern = f"{name}/*"
    # A * does not cross a slash, as in gcloud.
    return [
        stored
        for stored in found
        if stored.name.count("/") == pattern.count("/")
        and fnmatch.fnmatchcase(stored.name, pattern)
        and _is_wanted(stored.name)
    ]
