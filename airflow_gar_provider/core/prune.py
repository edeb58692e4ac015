"""Which versions of a repository may go, and why the others stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from airflow_gar_provider.core.repository import RegistryFile
from airflow_gar_provider.core.requirement import Requirement, split_list
from airflow_gar_provider.errors import InvalidInputError, InvalidRequirementError


@dataclass(frozen=True)
class Stored:
    """A version that the registry holds."""

    package: str
    """Its PEP 503 name."""
    version: str
    """As the registry writes it: part of a resource name."""
    created: datetime | None
    """When its first file came; None when that is not known."""
    size: int
    """Bytes of all its files."""

    @property
    def order(self) -> Version:
        """Where it stands among the others; what PEP 440 cannot read is older than everything."""
        try:
            return Version(self.version)
        except InvalidVersion:
            return Version("0.dev0")


@dataclass(frozen=True)
class Decision:
    """What becomes of a version."""

    stored: Stored
    keep: tuple[str, ...]
    """Why it stays; nothing: it goes."""


@dataclass(frozen=True)
class KeepRules:
    """What is kept whatever its age. The newest version of a package is always kept."""

    last: int
    """So many of the newest versions of each package."""
    newer_than: timedelta | None
    """Versions that are younger."""
    matching: tuple[tuple[str, Callable[[Stored], bool]], ...]
    """A rule's text, and whether it is about a version."""

    @classmethod
    def of(cls, *, last: object = None, newer_than_days: object = None, matching: object = None) -> KeepRules:
        """Read a user's words. Raises InvalidInputError with every problem, also when there is no rule at all."""
        problems: list[str] = []
        texts = split_list(matching)
        if last is None and newer_than_days is None and not texts:
            problems.append("no rule says what to keep: give keep_last, keep_newer_than_days or keep_matching")
        if last is not None and not re.fullmatch(r"[1-9]\d{0,8}", str(last)):
            problems.append(f"keep_last is a whole number from 1 on, not {last!r}")
        if newer_than_days is not None and not re.fullmatch(r"\d{1,6}(\.\d{1,9})?", str(newer_than_days)):
            problems.append(f"keep_newer_than_days is a number of days, not {newer_than_days!r}")
        rules = []
        for text in texts:
            try:
                rules.append((text, _matcher(text)))
            except InvalidInputError as error:
                problems.append(error.what)
        if problems:
            raise InvalidInputError("; ".join(problems))
        days = None if newer_than_days is None else timedelta(days=float(str(newer_than_days)))
        return cls(int(str(last or 1)), days, tuple(rules))


def _matcher(text: str) -> Callable[[Stored], bool]:
    """`/regex/`, a specifier (`==1.*`), or a requirement (`acme-utils>=2`)."""
    if len(text) > 1 and text.startswith("/") and text.endswith("/"):
        try:
            pattern = re.compile(text[1:-1])
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidInputError(f"{text!r} is not a regular expression: {error}") from error
        return lambda stored: bool(pattern.search(stored.version))
    try:
        if re.match(r"[<>=!~]", text):
            specifier = SpecifierSet(text)
            return lambda stored: specifier.contains(stored.order, prereleases=True)
        requirement = Requirement.parse(text)
    except (InvalidSpecifier, InvalidRequirementError) as error:
        raise InvalidInputError(
            f"{text!r} is not a rule: write a specifier (==1.*), a requirement (acme-utils>=2), or /a regex/"
        ) from error
    return lambda stored: stored.package == requirement.name and requirement.allows(stored.version)


def stored_versions(files: Iterable[RegistryFile], packages: Iterable[str] = ()) -> list[Stored]:
    """The versions that own the files, of these packages only, if any are named; by package, the newest first."""
    names = {canonicalize_name(package) for package in packages}
    owned: dict[tuple[str, str], list[RegistryFile]] = {}
    for file in files:
        if file.package and (not names or file.package in names):
            owned.setdefault((file.package, file.version), []).append(file)
    versions = [
        Stored(package, version, min((f.created for f in of if f.created), default=None), sum(f.size for f in of))
        for (package, version), of in owned.items()
    ]
    return sorted(sorted(versions, key=lambda stored: stored.order, reverse=True), key=lambda stored: stored.package)


def decide(
    versions: Iterable[Stored], rules: KeepRules, pins: Mapping[str, Mapping[str, str]], now: datetime
) -> list[Decision]:
    """What becomes of each version. `pins`: environment -> its package map, `{"acme-utils": "==1.2.0"}`.

    An exact pin keeps its version; a range keeps the newest version that it allows: the next rebuild of the image
    takes that one.
    """
    by_package: dict[str, list[Stored]] = {}
    for stored in versions:
        by_package.setdefault(stored.package, []).append(stored)
    decisions = []
    for package, of_package in by_package.items():
        newest_first = sorted(of_package, key=lambda stored: stored.order, reverse=True)
        pinned = _pinned(package, newest_first, pins)
        for place, stored in enumerate(newest_first):
            reasons = [*pinned.get(stored.version, ()), *_reasons(stored, place, rules, now)]
            decisions.append(Decision(stored, tuple(reasons)))
    return decisions


def _reasons(stored: Stored, place: int, rules: KeepRules, now: datetime) -> Iterable[str]:
    if place < rules.last:
        yield "the newest" if rules.last == 1 else f"one of the newest {rules.last}"
    if rules.newer_than is not None:
        if stored.created is None:
            yield "its age is not known"
        elif now - stored.created < rules.newer_than:
            yield f"younger than {rules.newer_than.total_seconds() / 86400:g} days"
    for text, matches in rules.matching:
        if matches(stored):
            yield f"matches {text}"


def _pinned(package: str, newest_first: list[Stored], pins: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Version -> which environments need it."""
    found: dict[str, list[str]] = {}
    for environment, packages in pins.items():
        for key, value in packages.items():
            if canonicalize_name(key) != package:
                continue
            try:
                requirement = Requirement.parse(package + value)
            except InvalidRequirementError:
                # Composer took it, we cannot read it: then nothing of this package may go.
                for stored in newest_first:
                    found.setdefault(stored.version, []).append(f"{environment} has {key}{value}, which is not clear")
                continue
            allowed = [stored for stored in newest_first if requirement.allows(stored.version)]
            final = [stored for stored in allowed if not stored.order.is_prerelease]
            for stored in allowed if requirement.pinned else [*final[:1], *allowed[:1]]:
                reason = f"{environment} requires {requirement}"
                reasons = found.setdefault(stored.version, [])
                if reason not in reasons:
                    reasons.append(reason)
    return found
