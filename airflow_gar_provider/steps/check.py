"""Check: everything that is wrong with the files of a release, before a byte of one is sent."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from airflow_gar_provider.core.digests import in_turn
from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.publishable import Rules, problems_of
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.sdist import Sdist, is_sdist
from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import InvalidInputError, InvalidWheelError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.repository import sources_of

log = logging.getLogger(__name__)
Files = list[tuple[Path, Distribution]]
_ANY = Rules()
_SMALL = 2 << 20
"""Bytes: below it, handing work to threads takes longer than the work."""


def check(
    paths: Iterable[Path],
    rules: Rules = _ANY,
    *,
    names: Callable[[Sequence[str]], list[str]] = lambda _: [],
) -> Files:
    """Read and check all files; each is returned once. Raises InvalidWheelError with the problems of all of them.

    `names` is asked for the problems of the packages' names. What pip and the registry accept in spite of a strict
    reader's findings is logged and kept in the distribution's `warnings`.
    """
    found: Files = []
    problems: list[str] = []
    bad: list[str] = []
    with ThreadPoolExecutor(max_workers=max(2, min(6, os.cpu_count() or 2)), thread_name_prefix="check") as pool:
        for path in paths:
            try:
                found.append((path, _read(path, pool)))
            except InvalidWheelError as error:
                bad.append(path.name)
                problems += [f"{path.name}: {problem}" for problem in error.problems]
            except OSError as error:
                raise InvalidInputError(f"cannot read {path}: {error.strerror}", resource=str(path)) from error
    distributions = [item for _, item in found]
    problems += problems_of(distributions, rules)
    problems += names(sorted({item.name for item in distributions}))
    if problems:
        raise InvalidWheelError(", ".join(bad) or "this release", problems)
    for item in distributions:
        for warning in item.warnings:
            log.warning("%s: %s", item.file, warning)
    return list({item.file: (path, item) for path, item in found}.values())


def _read(path: Path, pool: ThreadPoolExecutor) -> Distribution:
    def side_by_side(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        return [future.result() for future in [pool.submit(job) for job in jobs]]

    def opened() -> BinaryIO:
        return path.open("rb", buffering=0)

    kind: type[Wheel] | type[Sdist] = Sdist if is_sdist(path.name) else Wheel
    together = in_turn if path.stat().st_size < _SMALL else side_by_side
    return kind.from_file(path.name, opened, together)


def public_names(cloud: Cloud, virtual: RepositoryName | None, names: Sequence[str]) -> list[str]:
    """A problem for each name that a public upstream of the virtual repository serves, too; none without one.

    Priorities do not protect such a name: they decide between equal versions, and pip takes the highest version of all
    upstreams. Raises NotFoundError, AccessDeniedError when the repositories cannot be looked at.
    """
    if virtual is None:
        return []
    return [
        f"the name {name} is served by the public upstream {public.name} of {virtual.name}, too: whoever publishes a "
        "higher version there is installed instead of you. Rename the package, take that upstream out of the virtual "
        "repository, or publish without this guard (virtual_repository)"
        for public in sources_of(cloud.artifact_registry, virtual).public
        for name in names
        if cloud.package_index.files(public, name)
    ]
