"""Which DAG files go where in an environment's bucket, and which of them differ from what is there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from airflow_gar_provider.errors import InvalidInputError

DAGS = "dags/"
_MAGIC = re.compile(r"[*?\[]")
_SKIPPED = ("__pycache__",)


@dataclass(frozen=True)
class DagFile:
    """One file on its way."""

    source: str
    """A local path, or a gs:// URI."""
    target: str
    """The object's name in the environment's bucket: `dags/team/x.py`."""
    md5: str
    """Of its content, hexadecimal; empty when it is not known."""


@dataclass(frozen=True)
class Deployment:
    """What is to be done."""

    write: tuple[DagFile, ...]
    """Files that are not there, or with other content."""
    unchanged: tuple[DagFile, ...]
    """Files that are there with the same content: written again, Airflow would parse them for nothing."""


def compare(files: Iterable[DagFile], present: Mapping[str, str]) -> Deployment:
    """What has to be written; `present` is object name -> MD5. Raises InvalidInputError for clashing targets."""
    targets: dict[str, DagFile] = {}
    problems = []
    for file in files:
        other = targets.setdefault(file.target, file)
        if other.source != file.source:
            problems.append(f"{other.source} and {file.source} would both become {file.target}")
    if problems:
        raise InvalidInputError(
            "; ".join(problems),
            remedy="name the folder that holds them: sub-folders keep their names below dags/",
        )
    same = {target for target, file in targets.items() if file.md5 and present.get(target) == file.md5}
    return Deployment(
        tuple(file for target, file in targets.items() if target not in same),
        tuple(file for target, file in targets.items() if target in same),
    )


def fixed_part(pattern: str) -> str:
    """The folder above the first wildcard: `src/dags/` of `src/dags/**/*.py`. What lies below keeps its path."""
    before = _MAGIC.split(pattern, maxsplit=1)[0]
    return before[: before.rfind("/") + 1]


def has_wildcard(pattern: str) -> bool:
    """Whether it is a pattern rather than a name."""
    return bool(_MAGIC.search(pattern))


def is_taken(path: str) -> bool:
    """Whether a folder or a pattern takes a file with this path below it.

    Hidden files are not taken (so `.airflowignore` stays as the environment has it), nor what Python compiled. Each
    can be named.
    """
    parts = path.split("/")
    return not any(part.startswith(".") or part in _SKIPPED for part in parts) and not path.endswith((".pyc", ".pyo"))


def target_of(path: str, destination: str) -> str:
    """The object for a path below `dags/`. Raises InvalidInputError for one that would lie elsewhere."""
    name = posixpath.normpath(posixpath.join(destination.strip("/"), path))
    if name.startswith(("../", "/")) or name in ("..", "."):
        raise InvalidInputError(f"{path!r} below {destination!r} is not below dags/")
    return DAGS + name


def matches(name: str, pattern: str) -> bool:
    """Whether an object's name matches a pattern, as Python's `glob` reads it: `*` within a folder, `**` across."""
    return _match(name.split("/"), pattern.split("/"))


def _match(parts: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return _match(parts, patterns[1:]) or (bool(parts) and _match(parts[1:], patterns))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _match(parts[1:], patterns[1:])
