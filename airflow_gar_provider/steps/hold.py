"""Hold: versions that were rolled back in an environment are not installed there again, until released.

One object for each package in the environment's bucket, `data/gar/holds/PACKAGE.json`; deleting it by hand releases.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import AccessDeniedError, ConcurrentChangeError, HeldVersionError
from airflow_gar_provider.gcp.storage import Storage

log = logging.getLogger(__name__)
PREFIX = "data/gar/holds/"
_TRIES = 5
Holds = Mapping[str, str]
"""Version -> why it is held."""


def refuse_held(
    storage: Storage, bucket: str, environment: EnvironmentName, requirements: Iterable[Requirement]
) -> None:
    """Raise HeldVersionError, naming all, when one of the requirements is an exact pin of a version that is held."""
    wanted = {requirement.name: requirement.pinned for requirement in requirements if requirement.pinned}
    try:
        held = holds(storage, bucket, wanted)
    except AccessDeniedError as error:
        log.warning("whether versions are held here cannot be read: %s", error.what)
        return
    lines = [
        f"{name} {version}: {held[name][version]}"
        for name, version in wanted.items()
        if name in held and version in held[name]
    ]
    if lines:
        raise HeldVersionError(str(environment), lines)


def holds(storage: Storage, bucket: str, packages: Iterable[str]) -> dict[str, Holds]:
    """Which versions of these packages (PEP 503 names) are held: package -> version -> why."""
    wanted = set(packages)
    # One list for all: most environments hold nothing.
    there = [item.name.removeprefix(PREFIX).removesuffix(".json") for item in storage.list(bucket, PREFIX)]
    return {name: _read(storage, bucket, name)[0] for name in there if name in wanted}


def hold(storage: Storage, bucket: str, package: str, versions: Holds) -> None:
    """Hold versions of a package, beside those that are held already."""
    _change(storage, bucket, package, lambda found: {**found, **versions})


def release(storage: Storage, bucket: str, package: str, version: str | None = None) -> list[str]:
    """Let a version of a package be installed again, or (None) every version; returns those that were held."""
    released: list[str] = []

    def without(found: Holds) -> Holds:
        released[:] = [held for held in found if version in (None, held)]
        return {held: why for held, why in found.items() if held not in released}

    _change(storage, bucket, package, without)
    return released


def _change(storage: Storage, bucket: str, package: str, change: Callable[[Holds], Holds]) -> None:
    """Read, change, write only over what was read. Raises ConcurrentChangeError when others are always quicker."""
    for attempt in range(1, _TRIES + 1):
        before, generation = _read(storage, bucket, package)
        after = change(before)
        try:
            if after and after != before:
                content = json.dumps({"package": package, "versions": after}, indent=1, sort_keys=True)
                storage.write(bucket, _name(package), content.encode(), if_generation=generation)
            elif not after and generation:
                storage.delete(bucket, _name(package), if_generation=generation)
        except ConcurrentChangeError:
            if attempt == _TRIES:
                raise
            continue
        return


def _read(storage: Storage, bucket: str, package: str) -> tuple[dict[str, str], int]:
    found = storage.read(bucket, _name(package))
    if found is None:
        return {}, 0
    try:
        versions = json.loads(found[0])["versions"]
        return {str(version): str(why) for version, why in versions.items()}, found[1]
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("gs://%s/%s is no record of held versions; it is not obeyed", bucket, _name(package))
        return {}, found[1]


def _name(package: str) -> str:
    return f"{PREFIX}{package}.json"
