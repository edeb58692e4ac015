"""Copies of an environment's pip.conf, made on Google's side before each change: it may hold a key.

Buckets keep no earlier versions unless somebody switched that on (Cloud Storage: "Object Versioning").
"""

from __future__ import annotations

import logging
import re

from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.errors import AccessDeniedError, ConcurrentChangeError, InvalidInputError, NotFoundError
from airflow_gar_provider.gcp.storage import Storage

log = logging.getLogger(__name__)
PIP_CONF = "config/pip/pip.conf"
"""Where Composer's build reads it from, below the environment's bucket (Google: "Install Python dependencies")."""
KEPT = 5
_PREFIX = "data/gar/pip.conf."


def backup_name(generation: int) -> str:
    """The object that keeps the pip.conf of a generation."""
    return f"{_PREFIX}{generation}"


def keep(storage: Storage, bucket: str, generation: int) -> None:
    """Copy a generation of pip.conf aside; a copy that is there already stays. 0: there is nothing to keep.

    Raises ConcurrentChangeError when somebody has replaced that generation meanwhile.
    """
    if generation == 0:
        return
    try:
        storage.copy(bucket, PIP_CONF, backup_name(generation), generation=generation, if_generation=0)
    except ConcurrentChangeError:
        log.info("gs://%s/%s is there already", bucket, backup_name(generation))
    except NotFoundError as error:
        raise ConcurrentChangeError(
            "pip.conf was replaced between our read and its copy", resource=f"gs://{bucket}/{PIP_CONF}"
        ) from error


def prune(storage: Storage, bucket: str) -> None:
    """Delete all but the newest copies. Without the right to, they stay, and the log says so."""
    doomed = kept(storage, bucket)[KEPT:]
    try:
        for generation in doomed:
            storage.delete(bucket, backup_name(generation))
    except AccessDeniedError as error:
        log.warning("%d old copies of pip.conf stay in gs://%s/data/gar: %s", len(doomed), bucket, error.what)


def kept(storage: Storage, bucket: str) -> list[int]:
    """The generations of which there are copies, newest first."""
    names = [found.name.removeprefix(_PREFIX) for found in storage.list(bucket, _PREFIX)]
    return sorted((int(name) for name in names if re.fullmatch(r"[0-9]+", name)), reverse=True)


def restore(storage: Storage, bucket: str, generation: str, *, only_over: int | None = None) -> tuple[str, str, int]:
    """Give pip.conf the content of a generation that was kept (`0`: no file), keeping a copy of what it replaces.

    `only_over`: the only generation that may be replaced. Returns the texts before and after, and the generation
    before. Raises InvalidInputError, NotFoundError, which names the generations that there are, and
    ConcurrentChangeError when somebody else is writing.
    """
    if not re.fullmatch(r"[0-9]{1,20}", generation):
        raise InvalidInputError(f"restore is the number of a generation that was kept, not {generation!r}")
    found = storage.read(bucket, PIP_CONF)
    content, current = found or (b"", 0)
    if only_over is not None and current != only_over:
        raise ConcurrentChangeError("pip.conf was replaced meanwhile", resource=f"gs://{bucket}/{PIP_CONF}")
    source = backup_name(int(generation))
    wanted = storage.read(bucket, source) if int(generation) else None
    if wanted is None and int(generation):
        there = ", ".join(map(str, kept(storage, bucket))) or "none"
        raise NotFoundError(
            f"no copy of pip.conf of generation {generation} is kept",
            resource=f"gs://{bucket}/{source}",
            remedy=f"these are kept: {there}",
        )
    after = wanted[0] if wanted else b""
    if (wanted is None) == (current == 0) and after == content:
        return _shown(content), _shown(after), current
    keep(storage, bucket, current)
    if wanted is None:
        storage.delete(bucket, PIP_CONF, if_generation=current)
    else:
        storage.copy(bucket, source, PIP_CONF, generation=wanted[1], if_generation=current)
    prune(storage, bucket)
    return _shown(content), _shown(after), current


def _shown(content: bytes) -> str:
    """For the difference only: a file is restored as it is, also when pip could not read it."""
    return content.decode("utf-8", errors="replace")


def read_conf(storage: Storage, bucket: str) -> tuple[str, int]:
    """pip.conf as text, and its generation; an empty text and 0 when there is none. Raises InvalidPipConfError."""
    found = storage.read(bucket, PIP_CONF)
    return (pip_conf.decode(found[0]), found[1]) if found else ("", 0)
