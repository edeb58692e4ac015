"""What an environment's declared map says of requirements that somebody waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from packaging.utils import canonicalize_name

from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import InvalidRequirementError


def contradictions(packages: Mapping[str, str], wanted: Iterable[Requirement]) -> list[str]:
    """Sentences: where Composer's map says that a requirement is not met. Empty when it may be met.

    The map only declares: `>=1` may have become any version. What is not pinned there is for `pip list` to tell.
    """
    declared: dict[str, tuple[str, str]] = {canonicalize_name(key): (key, value) for key, value in packages.items()}
    found = []
    for requirement in wanted:
        entry = declared.get(requirement.name)
        if entry is None:
            found.append(f"{requirement.name} is not declared")
        elif not _may_meet(*entry, requirement):
            found.append(f"{requirement.name} is declared as {entry[1]!r}, wanted {requirement.value!r}")
    return found


def _may_meet(key: str, value: str, requirement: Requirement) -> bool:
    try:
        has = Requirement.parse(key + value)
    except InvalidRequirementError:
        return True  # written by somebody else, in a form of theirs: the installed version decides
    if not set(requirement.extras) <= set(has.extras):
        return False
    return has.pinned is None or requirement.allows(has.pinned)
