"""Preflight: exact pins for what is wanted, and everything that can be known before a build is spent on it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from airflow_gar_provider.core.choice import Choice, Target, choose
from airflow_gar_provider.core.environment import Environment, EnvironmentName, Wish, plan_patch
from airflow_gar_provider.core.indexes import PUBLIC, Indexes
from airflow_gar_provider.core.pip_conf import decode, read_as_pip, with_repository
from airflow_gar_provider.core.preflight import RESOLVE, python_of, requirement_findings, state_findings
from airflow_gar_provider.core.repository import RepositoryName, Sources
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import (
    AccessDeniedError,
    Finding,
    GoogleApiError,
    InvalidPipConfError,
    NotFoundError,
    PreflightError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.access import access_of
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.confusion import confusion_findings
from airflow_gar_provider.steps.point import PIP_CONF
from airflow_gar_provider.steps.repository import sources_of
from airflow_gar_provider.steps.resolve import resolve
from airflow_gar_provider.steps.supply import Supply, candidates

log = logging.getLogger(__name__)
_REGISTRY_CHECKS = frozenset({"index", "wheel", "access", "confusion", RESOLVE})


def prepare(cloud: Cloud, wish: Wish, environment: Environment, clock: Clock) -> Wish:
    """The wish with exact pins where they can be; what `wish.checks` names is looked at. Nothing is changed.

    A range or a bare name becomes the newest version that matches and fits, among those that the *standard*
    repositories hold; a name that they do not hold (a public package) stays as it is written. Where all is declared
    already, only the checks that cost nothing are made. Raises PreflightError with all findings at once.
    """
    findings = state_findings(environment) if "state" in wish.checks else []
    if "requirement" in wish.checks:
        findings += requirement_findings(environment, wish.requirements)
    supply: Supply | None = None
    problems: list[Finding] = []
    if _changes(wish, environment) and (wish.checks & _REGISTRY_CHECKS or not _is_pinned(wish)):
        supply, problems = supply_of(cloud, environment, wish.repository)
        answers = _answers(wish.requirements, supply)
        wish = replace(wish, requirements=tuple(answer.pinned for answer in answers))
        if _changes(wish, environment):
            findings += [finding for finding in problems if finding.check in wish.checks]
            findings += _registry_findings(cloud, wish, environment, supply, answers)
    if findings:
        raise PreflightError(str(wish.environment), findings)
    if RESOLVE in wish.checks and supply is not None and _changes(wish, environment):
        wish = resolve(cloud, wish, environment, supply, clock)
    return wish


def _changes(wish: Wish, environment: Environment) -> bool:
    """Whether a build would be spent: an environment that declares all of it needs no look at the registry."""
    return bool(plan_patch(environment.packages, wish.requirements, wish.absent).set)


def _is_pinned(wish: Wish) -> bool:
    return all(requirement.pinned for requirement in wish.requirements)


def supply_of(
    cloud: Cloud, environment: Environment, repository: RepositoryName | None
) -> tuple[Supply, list[Finding]]:
    """What the environment's pip can choose from (with `repository`: after pip.conf names it), and what is wrong."""
    findings: list[Finding] = []
    indexes = _indexes(cloud, environment, repository, findings)
    if indexes.hidden:
        findings.append(
            Finding(
                "index",
                "the environment's pip.conf has `no-index`: pip looks at no index at all",
                "take that line out of config/pip/pip.conf in the environment's bucket",
            )
        )
    sources: dict[RepositoryName, Sources] = {}
    for name in indexes.repositories:
        try:
            sources[name] = sources_of(cloud.artifact_registry, name)
        except NotFoundError as error:
            remedy = error.remedy or "create it, or correct its name"
            findings.append(Finding("index", f"pip.conf names {name}, which does not exist", remedy))
        except AccessDeniedError as error:
            log.warning("what is behind %s is not known to this task: %s", name, error.what)
    return Supply(cloud, indexes, sources, target_of(cloud, environment.name, environment.image_version)), findings


def _indexes(
    cloud: Cloud, environment: Environment, repository: RepositoryName | None, findings: list[Finding]
) -> Indexes:
    """What pip.conf names, or will name."""
    text = ""
    try:
        stored = cloud.storage.read(environment.bucket, PIP_CONF) if environment.bucket else None
        text = decode(stored[0]) if stored is not None else ""
        return Indexes.from_settings(read_as_pip(with_repository(text, repository) if repository else text))
    except InvalidPipConfError as error:
        findings.append(Finding("index", error.what, error.remedy or "repair it"))
    except GoogleApiError as error:
        log.warning("the environment's pip.conf cannot be read: %s", error.what)
    # An index that nobody looks at: nothing is claimed to be missing from a file that could not be read.
    return Indexes((repository.index_url,) if repository else (PUBLIC,))


def target_of(
    cloud: Cloud, name: EnvironmentName, image_version: str, known: Mapping[str, tuple[str, ...]] | None = None
) -> Target | None:
    """The Python that an environment has; None when it is not known. `known`: the location's images, if at hand."""
    try:
        images = cloud.composer.image_versions(name.parent) if known is None else known
    except GoogleApiError as error:
        log.warning("the Python of %s is not known, wheels are not held against it: %s", name.name, error.what)
        return None
    target = python_of(images, image_version)
    if target is None:
        log.warning(
            "Composer does not say which Python %s has: wheels are not held against the environment", image_version
        )
    return target


@dataclass(frozen=True)
class Answer:
    """What the registry says to one requirement."""

    asked: Requirement
    """As it was written."""
    pinned: Requirement
    """With the exact version, where the standard repositories have the package; else as it was written."""
    is_private: bool | None
    """Whether the standard repositories hold the package; None when they may not be looked at."""
    choice: Choice | None
    """What fits the environment, of the standard repositories, else of the indexes; None: it may not be looked at."""
    anywhere: Choice | None
    """What fits some environment: to tell a version that is not there from a file that does not fit."""


def _answers(requirements: Iterable[Requirement], supply: Supply) -> list[Answer]:
    names = [requirement.name for requirement in requirements]
    supply.prefetch(supply.standard, names)
    public = [name for name in names if supply.private(name) == ()]
    supply.prefetch(supply.indexes.repositories, public)
    return [_answer(requirement, supply) for requirement in requirements]


def _answer(requirement: Requirement, supply: Supply) -> Answer:
    held = supply.private(requirement.name) if supply.standard else ()
    if held is None:
        return Answer(requirement, requirement, None, None, None)
    if not held:
        if supply.standard and not requirement.pinned:
            log.info("%s is not in the standard repository: it stays as it is written", requirement)
        files = candidates(supply.offered(requirement.name) or ())
        found = choose(requirement, files, target=supply.target) if files or supply.is_whole else None
        return Answer(requirement, requirement, False, found, choose(requirement, files) if found else None)
    choice = choose(requirement, candidates(held), target=supply.target)
    anywhere = choice if choice.version else choose(requirement, candidates(held))
    pinned = requirement
    if not requirement.pinned and choice.version:
        pinned = Requirement(requirement.name, requirement.extras, f"=={choice.version}")
        log.info("%s is %s: the newest that matches and fits", requirement, pinned)
    return Answer(requirement, pinned, True, choice, anywhere)


def _registry_findings(
    cloud: Cloud, wish: Wish, environment: Environment, supply: Supply, answers: list[Answer]
) -> list[Finding]:
    findings = []
    for answer in answers:
        findings += [finding for finding in _package_findings(answer, supply) if finding.check in wish.checks]
    if "access" in wish.checks:
        findings += _access_findings(cloud, environment, supply)
    if "confusion" in wish.checks:
        declared = {Requirement.parse(key + value) for key, value in environment.packages.items()}
        fixed = {r.name for r in (*declared, *wish.requirements) if r.pinned} - set(wish.absent)
        chosen = [(answer.pinned, answer.choice) for answer in answers if answer.is_private and answer.choice]
        findings += confusion_findings(supply, chosen, fixed)
    return findings


def _package_findings(answer: Answer, supply: Supply) -> list[Finding]:
    """Whether the version is in the index that pip will look at, with a file that fits."""
    asked, choice = answer.asked, answer.choice
    places = ", ".join(map(str, supply.standard if answer.is_private else supply.indexes.repositories))
    if choice is None:
        log.warning("whether the index has %s is not known", asked)
        return []
    if choice.version is None and answer.anywhere is not None and answer.anywhere.version is not None:
        return [
            Finding(
                "wheel",
                f"no file of {asked} in {places} fits the environment: {_mismatch(choice)}",
                "publish a wheel for the environment's Python on manylinux x86_64 (or a pure one), or require a "
                "version that has one",
            )
        ]
    if choice.version is None:
        held = choice.why_none() if choice.rejected else "it holds no version of it"
        return [
            Finding(
                "index",
                f"{asked} is not in {places or 'any index that pip.conf names'}: {held}",
                "publish it first (PublishWheelOperator), or require a version that is there",
            )
        ]
    if choice.is_sdist:
        log.warning("of %s there is only a source distribution: the environment's build has to build it", answer.pinned)
    return _unserved(answer, supply) if answer.is_private else []


def _mismatch(choice: Choice) -> str:
    return "; ".join(entry.reason for entry in choice.rejected if entry.matches)


def _unserved(answer: Answer, supply: Supply) -> list[Finding]:
    """A virtual repository reads its upstreams with an account of its own: what they hold it may not be able to see."""
    offered = supply.offered(answer.asked.name)
    if offered is None or choose(answer.pinned, candidates(offered)).version is not None or not supply.indexes.urls:
        return []
    indexes = ", ".join(map(str, supply.indexes.repositories))
    return [
        Finding(
            "index",
            f"{answer.pinned} is in {', '.join(map(str, supply.standard))}, but {indexes} does not serve it",
            "an upstream in another project must be readable for the virtual repository's service agent "
            "(service-PROJECT_NUMBER@gcp-sa-artifactregistry.iam.gserviceaccount.com: roles/artifactregistry.reader)",
        )
    ]


def _access_findings(cloud: Cloud, environment: Environment, supply: Supply) -> list[Finding]:
    findings = []
    for repository in supply.indexes.repositories:
        if supply.indexes.signs_in(repository):
            log.info("pip.conf carries a key for %s: whether that may read it, only the build tells", repository)
            continue
        access = access_of(cloud, repository, environment.service_account)
        if access.state == "missing":
            text = f"{environment.service_account} may not read {repository} ({access.how})"
            findings.append(Finding("access", text, f"grant it: {access.grant}"))
        elif access.state == "unknown":
            log.warning(
                "whether %s may read %s is not known (%s); if the build finds nothing, grant it: %s",
                environment.service_account,
                repository,
                access.how,
                access.grant,
            )
    return findings
