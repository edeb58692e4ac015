"""What a wheel requires, and which of it reaches pip without an exact version."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.parser import HeaderParser

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.utils import canonicalize_name

from airflow_gar_provider.core.choice import Target
from airflow_gar_provider.core.requirement import Requirement


def requires_of(metadata: str) -> tuple[str, ...]:
    """The `Requires-Dist` lines of a wheel's METADATA, as they are."""
    return tuple(str(line) for line in HeaderParser().parsestr(metadata).get_all("Requires-Dist", []))


def needed(requires: Iterable[str], extras: Iterable[str], target: Target | None) -> tuple[Requirement, ...]:
    """Those that hold for these extras on `target` (None: whatever the marker says).

    A URL or a line that cannot be read is left out: pip takes the first from where it says, and refuses the second.
    """
    found = []
    for text in requires:
        try:
            parsed = Pep508(text)
        except InvalidRequirement:
            continue
        if parsed.url is None and _holds(parsed, tuple(extras), target):
            names = tuple(sorted(canonicalize_name(extra) for extra in parsed.extras))
            found.append(Requirement(canonicalize_name(parsed.name), names, str(parsed.specifier)))
    return tuple(found)


def _holds(requirement: Pep508, extras: tuple[str, ...], target: Target | None) -> bool:
    if requirement.marker is None:
        return True
    if target is None and not re.search(r"\bextra\b", str(requirement.marker)):
        return True
    environment = target.markers if target is not None else {}
    try:
        return any(requirement.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))
    except (UndefinedComparison, UndefinedEnvironmentName):
        return True
