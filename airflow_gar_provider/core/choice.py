"""Which version to install: the newest that matches and that fits, or why none does.

A pure function of facts, so that one answer serves an install, a sensor, and a plan for many environments. The facts
are files of the *standard* repository: through a virtual index a public package of the same name could win.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from airflow_gar_provider.core.requirement import Requirement

_NEWEST_GLIBC = 50
"""Minor version of glibc 2 up to which a wheel is taken; 2.42 was the newest in 2025."""


@dataclass(frozen=True)
class Target:
    """Where the package has to run: an environment's Python, on Linux with glibc."""

    python: str
    """`3.11` or `3.11.8`, as Composer's list of image versions has it."""
    machine: str = "x86_64"
    """Composer's only one."""

    @property
    def minor(self) -> tuple[int, int]:
        """Such as (3, 11)."""
        major, minor, *_ = (*self.python.split("."), "0")
        return int(major), int(minor)

    @property
    def markers(self) -> dict[str, str]:
        """What a marker of a wheel's requirement is evaluated with (PEP 508)."""
        short = ".".join(map(str, self.minor))
        return {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": self.python if self.python.count(".") > 1 else f"{short}.0",
            "python_version": short,
            "sys_platform": "linux",
        }

    def takes(self, tag: Tag) -> bool:
        """Whether a wheel of this tag installs. Any glibc is taken: Composer does not say which one an image has."""
        return tag in _tags(self.minor, self.machine)

    def takes_python(self, requires_python: str | None) -> bool:
        """Whether a file's `Requires-Python` lets it in. What cannot be read forbids nothing, as in pip."""
        if not requires_python:
            return True
        try:
            return SpecifierSet(requires_python).contains(self.python, prereleases=True)
        except InvalidSpecifier:
            return True


@lru_cache(maxsize=8)
def _tags(minor: tuple[int, int], machine: str) -> frozenset[Tag]:
    """What pip on CPython of this version, on Linux with glibc, takes."""
    interpreter = f"cp{minor[0]}{minor[1]}"
    platforms = [
        *(f"manylinux_2_{glibc}_{machine}" for glibc in range(5, _NEWEST_GLIBC + 1)),
        *(f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")),
        f"linux_{machine}",
    ]
    return frozenset(
        [
            *cpython_tags(minor, abis=[interpreter], platforms=platforms),
            *compatible_tags(minor, interpreter=interpreter, platforms=platforms),
        ]
    )


@dataclass(frozen=True)
class CandidateFile:
    """One file that the registry or its index lists."""

    file: str
    """Its name, without a folder."""
    requires_python: str | None = None
    """PEP 440 specifier, or None (not said, or not known)."""
    created: datetime | None = None
    """When it was published; None when that is not known."""
    yanked: bool = False
    """Withdrawn (PEP 592): taken for an exact pin only."""

    @property
    def is_wheel(self) -> bool:
        """Whether it installs without being built."""
        return self.file.endswith(".whl")

    @property
    def identity(self) -> tuple[str, Version] | None:
        """PEP 503 name and version; None for a file that is neither a wheel nor an sdist."""
        try:
            if self.is_wheel:
                name, version, _, _ = parse_wheel_filename(self.file)
            else:
                name, version = parse_sdist_filename(self.file)
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
            return None
        return canonicalize_name(name), version

    @property
    def tags(self) -> frozenset[Tag]:
        """What a wheel runs on; nothing for other files."""
        return parse_wheel_filename(self.file)[3] if self.is_wheel else frozenset()


@dataclass(frozen=True)
class Rejection:
    """A version that was not chosen."""

    version: str
    reason: str
    """Such as `a pre-release`; reads on behind the version."""
    matches: bool
    """Whether the requirement allows it: then it is the file, not the version, that does not fit."""


@dataclass(frozen=True)
class Choice:
    """The newest version that fits, or None with the reasons."""

    version: str | None
    """As PEP 440 normalises it."""
    files: tuple[CandidateFile, ...] = ()
    """Its files that fit, wheels first, the most specific of them before the pure ones."""
    rejected: tuple[Rejection, ...] = ()
    """Newest first. All others that are newer; all, when there is no version."""

    @property
    def is_sdist(self) -> bool:
        """Whether only a source distribution fits: it is built in the environment's build, if that can build it."""
        return self.version is not None and not self.files[0].is_wheel

    def why_none(self, limit: int = 6) -> str:
        """The reasons, newest first, as a clause: `1.1: a pre-release; 1.0: ...`."""
        if not self.rejected:
            return "it has no version there"
        told = [f"{entry.version}: {entry.reason}" for entry in self.rejected[:limit]]
        more = len(self.rejected) - limit
        return "; ".join(told) + (f"; and {more} more" if more > 0 else "")


def choose(
    requirement: Requirement,
    files: Iterable[CandidateFile],
    *,
    target: Target | None = None,
    prereleases: bool = False,
    minimum_age: timedelta | None = None,
    now: datetime | None = None,
) -> Choice:
    """The newest version of `files` that `requirement` allows and that fits `target` (None: not asked).

    A pre-release is taken when the requirement names one or `prereleases` says so. `minimum_age`, measured up to `now`,
    keeps what is younger out: a version is as old as its first file, and an unknown age is too young.
    """
    if minimum_age is not None and now is None:
        raise ValueError("minimum_age is measured up to `now`")
    versions: dict[Version, list[CandidateFile]] = {}
    for file in files:
        identity = file.identity
        if identity is not None and identity[0] == requirement.name:
            versions.setdefault(identity[1], []).append(file)
    rejected: list[Rejection] = []
    for version in sorted(versions, reverse=True):
        refusal = _refuse_version(requirement, version, prereleases)
        fitting = tuple(file for file in versions[version] if _refuse_file(requirement, file, target) is None)
        if refusal is None and not fitting:
            reasons = [f"{file.file} {_refuse_file(requirement, file, target)}" for file in versions[version]]
            refusal = ", ".join(reasons)
        if refusal is None and minimum_age is not None and now is not None:
            refusal = _too_young(versions[version], minimum_age, now)
        if refusal is None:
            return Choice(str(version), tuple(sorted(fitting, key=_preference)), tuple(rejected))
        rejected.append(Rejection(str(version), refusal, requirement.allows(str(version))))
    return Choice(None, (), tuple(rejected))


def _preference(file: CandidateFile) -> tuple[bool, bool, str]:
    return (not file.is_wheel, any(tag.platform == "any" for tag in file.tags), file.file)


def _refuse_version(requirement: Requirement, version: Version, prereleases: bool) -> str | None:
    if not requirement.allows(str(version)):
        return f"not {requirement.specifier}"
    if version.is_prerelease and not prereleases and not SpecifierSet(requirement.specifier).prereleases:
        return "a pre-release, and the requirement names none"
    return None


def _refuse_file(requirement: Requirement, file: CandidateFile, target: Target | None) -> str | None:
    if file.yanked and requirement.pinned is None:
        return "was withdrawn (yanked)"
    if target is None:
        return None
    if file.is_wheel and not any(target.takes(tag) for tag in file.tags):
        return f"does not run on Python {'.'.join(map(str, target.minor))} on Linux {target.machine}"
    if not target.takes_python(file.requires_python):
        return f"needs Python {file.requires_python}, not {target.python}"
    return None


def _too_young(files: Iterable[CandidateFile], minimum_age: timedelta, now: datetime) -> str | None:
    moments = [file.created for file in files if file.created is not None]
    if not moments:
        return "its age is not known"
    age = now - min(moments)
    return None if age >= minimum_age else f"published {_span(age)} ago, younger than {_span(minimum_age)}"


def _span(value: timedelta) -> str:
    seconds = max(0, int(value.total_seconds()))
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
