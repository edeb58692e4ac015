"""Confusion: private names that reach pip without an exact version, and that the public index serves too.

pip sees the union of all indexes, of a virtual repository's upstreams too, and takes the highest version: priorities
decide between equal versions only. An exact pin protects a package; what its wheel requires is as open as it says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from airflow_gar_provider.core.choice import Choice, choose
from airflow_gar_provider.core.dependencies import needed, requires_of
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import Finding
from airflow_gar_provider.gcp.package_index import IndexFile
from airflow_gar_provider.steps.supply import Supply, candidates

log = logging.getLogger(__name__)
_MOST = 200
"""Wheels whose requirements are read at most: private packages that require private packages."""


def confusion_findings(
    supply: Supply, chosen: Iterable[tuple[Requirement, Choice]], fixed: Iterable[str]
) -> list[Finding]:
    """Names that a private wheel requires without `==`, that are private, and that anybody can publish publicly.

    `chosen`: the private packages that will be installed; `fixed`: names that the environment's list pins exactly.
    """
    if not supply.public and not supply.indexes.foreign:
        return []
    findings: list[Finding] = []
    safe = set(fixed)
    queue = list(chosen)
    seen = {requirement.name for requirement, _ in queue}
    while queue and len(seen) <= _MOST:
        requirement, choice = queue.pop(0)
        for needs in _requires(supply, requirement, choice):
            held = supply.private(needs.name)
            if not held:
                continue
            if not needs.pinned and needs.name not in safe:
                findings += _served_publicly(supply, requirement, choice, needs)
            if needs.name not in seen:
                seen.add(needs.name)
                queue.append((needs, choose(needs, candidates(held))))
    return findings


def _requires(supply: Supply, requirement: Requirement, choice: Choice) -> tuple[Requirement, ...]:
    wheels = [file.file for file in choice.files if file.is_wheel]
    file = _link(supply.private(requirement.name) or (), wheels)
    metadata = supply.metadata(file) if file is not None else None
    return needed(requires_of(metadata), requirement.extras, supply.target) if metadata is not None else ()


def _link(files: Iterable[IndexFile], names: list[str]) -> IndexFile | None:
    by_name = {file.file: file for file in files}
    return next((by_name[name] for name in names if name in by_name), None)


def _served_publicly(supply: Supply, requirement: Requirement, choice: Choice, needs: Requirement) -> list[Finding]:
    what = f"{requirement.name} {choice.version} requires {needs}, a private name"
    own = choose(needs, candidates(supply.private(needs.name) or ()))
    remedy = (
        f"require {needs.name}=={own.version or 'VERSION'} beside it, in the same list: an exact pin is safe; "
        f"or pin it in {requirement.name} itself"
    )
    for repository in supply.public:
        theirs = _newest(supply, repository, needs)
        if theirs is not None:
            text = f"{what}, and the public index behind {repository} serves {needs.name} {theirs} too: pip takes the "
            return [Finding("confusion", f"{text}highest version of both", remedy)]
    for host in supply.indexes.foreign:
        # Asking it would tell a stranger the name.
        log.warning("%s, and pip.conf also names %s, which may serve it too; %s", what, host, remedy)
    return []


def _newest(supply: Supply, repository: RepositoryName, needs: Requirement) -> str | None:
    """The newest public version of the name, whether it matches or not: tomorrow's may. None: there is none."""
    page = supply.page(repository, needs.name)
    if not page:
        return None
    return choose(Requirement(needs.name, (), ""), candidates(page), prereleases=True).version or "something"
