"""Watching a package: which of its versions count, and which of them are new.

What counts is decided by `core.choice`; this is about all versions that count, and about what was seen before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from packaging.version import Version

from airflow_gar_provider.core.choice import CandidateFile, Choice, choose
from airflow_gar_provider.core.repository import RegistryFile
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import InvalidInputError


@dataclass(frozen=True)
class Watch:
    """What is waited for."""

    requirement: Requirement
    """The package, and PEP 440's specifier of its versions."""
    prereleases: bool
    """Whether pre-releases count that the specifier does not name."""
    minimum_age: timedelta
    """How long ago the first file of a version has to have been published; zero for at once."""

    @classmethod
    def of(cls, package: str, *, prereleases: bool = False, min_age: timedelta | float | str | None = None) -> Watch:
        """Read a user's words; `package` is a name with or without a specifier, `min_age` is in seconds.

        Raises InvalidRequirementError or InvalidInputError.
        """
        return cls(Requirement.parse(package), bool(prereleases), _age(min_age))

    def choose(self, files: Iterable[RegistryFile], now: datetime) -> Choice:
        """The newest version that counts, or why there is none."""
        return choose(
            self.requirement,
            [_candidate(file) for file in files],
            prereleases=self.prereleases,
            minimum_age=self.minimum_age if self.minimum_age else None,
            now=now,
        )

    def versions(self, files: Iterable[RegistryFile], now: datetime) -> dict[str, tuple[RegistryFile, ...]]:
        """Every version that counts, the oldest first, with its files."""
        counted = {}
        for version, of_version in sorted(self._by_version(files).items()):
            if self.choose(of_version, now).version is not None:
                counted[str(version)] = tuple(of_version)
        return counted

    def present(self, files: Iterable[RegistryFile]) -> list[str]:
        """Every version of the package that is there, the oldest first, whether it counts or not."""
        return [str(version) for version in sorted(self._by_version(files))]

    def _by_version(self, files: Iterable[RegistryFile]) -> dict[Version, list[RegistryFile]]:
        found: dict[Version, list[RegistryFile]] = {}
        for file in files:
            identity = _candidate(file).identity
            if identity is not None and identity[0] == self.requirement.name:
                found.setdefault(identity[1], []).append(file)
        return found


def _candidate(file: RegistryFile) -> CandidateFile:
    return CandidateFile(file.name, created=file.created)


def _age(value: timedelta | float | str | None) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        age = timedelta(seconds=float(value or 0))
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"min_age is a number of seconds, not {value!r}") from error
    if age < timedelta(0):
        raise InvalidInputError(f"min_age is not negative, as {value!r} is")
    return age


@dataclass(frozen=True)
class News:
    """What one look has brought."""

    events: tuple[dict[str, Any], ...]
    """One for each new version, the oldest first."""
    seen: tuple[str, ...]
    """Versions that need no event any more: what to remember."""


def news(
    watch: Watch, repository: str, files: Iterable[RegistryFile], seen: Collection[str] | None, now: datetime
) -> News:
    """What is new since the last look. `seen` None is the first look: nothing that is there is new.

    A version that does not count yet (too young, say) is not remembered, so that it is told when it does. One that was
    deleted is forgotten: published again, it is told again.
    """
    listed = list(files)
    present = watch.present(listed)
    if seen is None:
        return News((), tuple(present))
    counted = watch.versions(listed, now)
    fresh = {version: of_version for version, of_version in counted.items() if version not in seen}
    remembered = [version for version in present if version in seen or version in fresh]
    return News(tuple(_event(watch, repository, *item) for item in fresh.items()), tuple(remembered))


def _event(watch: Watch, repository: str, version: str, files: Iterable[RegistryFile]) -> dict[str, Any]:
    """The same wherever it is made: Airflow takes equal events of two triggerers for one."""
    sha256: Mapping[str, str] = {file.name: file.sha256 for file in sorted(files, key=lambda file: file.name)}
    return {
        "repository": repository,
        "package": watch.requirement.name,
        "version": version,
        "sha256": dict(sha256),
    }
