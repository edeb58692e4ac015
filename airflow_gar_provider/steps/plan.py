"""Plan: read the fleet and the registry once, and say for each environment what a rollout would change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from airflow_gar_provider.core.choice import CandidateFile, Target
from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.fleet import Fleet, Identity, Packages, Placement
from airflow_gar_provider.core.fleet_file import read_fleet
from airflow_gar_provider.core.plan import Item, Plan
from airflow_gar_provider.core.planning import Facts, Registry, Request, Seen, plan_items, planned_wheels
from airflow_gar_provider.core.preflight import python_of
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.errors import (
    GoogleApiError,
    InvalidFleetError,
    InvalidInputError,
    NotFoundError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.storage import CONNECTIONS, Storage
from airflow_gar_provider.steps.collect import split_gs
from airflow_gar_provider.steps.glances import Glance, look
from airflow_gar_provider.steps.repository import sources_of

log = logging.getLogger(__name__)
CloudOf = Callable[[Identity], Cloud]
"""Google as an identity of the fleet sees it."""


def make_plan(
    cloud_of: CloudOf,
    fleet: Fleet,
    repository: RepositoryName,
    request: Request,
    *,
    run: str,
    now: datetime,
    check_pip_conf: bool = True,
    holds: Mapping[EnvironmentName, Mapping[str, str]] | None = None,
    only: object = None,
    glances: dict[EnvironmentName, Glance] | None = None,
) -> Plan:
    """What a rollout of `request` would change; nothing is changed.

    `holds`: what was rolled back where; `only`: names of environments, or their last parts, to which it is limited;
    `glances`: what was seen of pip.conf files before, and afterwards also what is seen now.
    Costs the list pages of environments, one page of image versions for each location, the registry's pages for the
    wanted packages, and with `check_pip_conf` one read for each environment, conditional where there is a glance.
    What cannot be read of one environment blocks that environment; a registry that cannot be read is an error. Raises
    GoogleApiError.
    """
    listed, problems = _list(cloud_of, fleet)
    labels = {identity: [(e.name, e.labels) for e in found] for identity, found in listed.items()}
    placements = _limited(fleet.placements(labels), only)
    log.info("%d environments in %d stages", len(placements), len(fleet.stages))
    # An environment counts as what its own identity sees of it: another one may see more, and will not roll it out.
    found = {(who, environment.name): environment for who, group in listed.items() for environment in group}
    visible = {p.name: found[p.identity, p.name] for p in placements if (p.identity, p.name) in found}
    names = {r.name for p in placements for r in (request.packages or p.packages).wanted}
    registry = read_registry(cloud_of(fleet.identity), repository, names)
    targets = _targets(cloud_of, placements, visible)
    points = _points(cloud_of, placements, visible, repository, glances) if check_pip_conf else {}
    seen = {
        placement.name: Seen(
            environment=visible.get(placement.name),
            error=problems.get((placement.identity, placement.name.parent), "it is not in the list of its location"),
            target=targets.get(placement.name),
            points=points.get(placement.name),
            held=(holds or {}).get(placement.name, {}),
        )
        for placement in placements
    }
    items = plan_items(Facts(fleet, seen, registry, now), placements, request)
    return Plan(
        run=run,
        made=now.isoformat(timespec="seconds"),
        repository=str(repository),
        strategy=request.strategy,
        stages=tuple(
            replace(stage, members=(), find=(), identity=Identity(), packages=Packages()) for stage in fleet.stages
        ),
        items=items,
        wheels=planned_wheels(items, registry),
        freezes=fleet.freezes,
    )


def read_fleet_object(storage: Storage, uri: str, *, stages: Sequence[str] = (), state: str = "") -> Fleet:
    """A fleet from its YAML file in a bucket. Raises InvalidFleetError, NotFoundError.

    `stages`, `state`: what the file has to say, because a DAG was made for them.
    """
    bucket, name = split_gs(uri)
    found = storage.read(bucket, name)
    if found is None:
        raise NotFoundError("there is no fleet file", resource=uri, remedy="upload it, or correct its name")
    try:
        fleet = read_fleet(found[0].decode(), uri)
    except UnicodeDecodeError as error:
        raise InvalidFleetError(uri, [f"it is not UTF-8 text: {error.reason} at byte {error.start}"]) from error
    problems = []
    if stages and [stage.name for stage in fleet.stages] != list(stages):
        names = ", ".join(stage.name for stage in fleet.stages)
        problems.append(f"its stages are {names}; the DAG was made for {', '.join(stages)}: they change together")
    if state and fleet.state != state.rstrip("/"):
        problems.append(f"its state is {fleet.state}; the DAG was made for {state}")
    if problems:
        raise InvalidFleetError(uri, problems)
    return fleet


def _limited(placements: list[Placement], only: object) -> list[Placement]:
    """The placements that `only` names. Raises InvalidInputError for a name that the fleet does not have."""
    wanted = split_list(only)
    if not wanted:
        return placements
    known = {text for placement in placements for text in (str(placement.name), placement.name.name)}
    unknown = [text for text in wanted if text not in known]
    if unknown:
        raise InvalidInputError(
            f"the fleet has no environment {', '.join(unknown)}",
            remedy=f"it has {', '.join(sorted(placement.name.name for placement in placements)[:20])}",
        )
    return [p for p in placements if str(p.name) in wanted or p.name.name in wanted]


def own_last(items: Iterable[Item], own: EnvironmentName | None) -> list[Item]:
    """The items in their order, the environment that runs the rollout itself last: its update may end this task."""
    return sorted(items, key=lambda item: item.environment == own)


def _list(cloud_of: CloudOf, fleet: Fleet) -> tuple[dict[Identity, list[Environment]], dict[tuple[Identity, str], str]]:
    """All environments of the locations, by the identity that lists them; and why a location cannot be listed."""
    found: dict[Identity, list[Environment]] = {}
    problems: dict[tuple[Identity, str], str] = {}
    for identity, parents in fleet.lists().items():
        cloud = cloud_of(identity)
        for parent in parents:
            try:
                found.setdefault(identity, []).extend(cloud.composer.list_environments(parent))
            except GoogleApiError as error:
                log.warning("the environments of %s cannot be listed: %s", parent, error)
                problems[identity, parent] = (
                    f"its location cannot be listed: {error.what} ({error.message or error.status})"
                )
    return found, problems


def read_registry(cloud: Cloud, repository: RepositoryName, names: Iterable[str]) -> Registry:
    """The files of the packages in the standard repository (or those behind a virtual one), with their hashes."""
    files: dict[str, tuple[CandidateFile, ...]] = {}
    hashes: dict[str, str] = {}
    standard = sources_of(cloud.artifact_registry, repository).standard
    for name in sorted(names):
        candidates: dict[str, CandidateFile] = {}
        for source in standard:
            stored = {file.name: file for file in cloud.artifact_registry.list_files(source, package=name)}
            for offered in (cloud.package_index.files(source, name) or ()) if stored else ():
                held = stored.get(offered.file)
                if held is None or offered.file in candidates:
                    continue
                candidates[offered.file] = CandidateFile(
                    offered.file, offered.requires_python, held.created, offered.yanked is not None
                )
                hashes[offered.file] = held.sha256
        files[name] = tuple(candidates.values())
        log.info("%s: %d files in the registry", name, len(candidates))
    return Registry(files, hashes)


def _targets(
    cloud_of: CloudOf, placements: Iterable[Placement], found: Mapping[EnvironmentName, Environment]
) -> dict[EnvironmentName, Target]:
    """The environments' Pythons, from one list of image versions for each location."""
    images: dict[str, Mapping[str, tuple[str, ...]]] = {}
    targets: dict[EnvironmentName, Target] = {}
    for placement in placements:
        environment = found.get(placement.name)
        if environment is None:
            continue
        parent = placement.name.parent
        if parent not in images:
            try:
                images[parent] = cloud_of(placement.identity).composer.image_versions(parent)
            except GoogleApiError as error:
                log.warning("the Pythons of the environments in %s are not known: %s", parent, error.what)
                images[parent] = {}
        target = python_of(images[parent], environment.image_version)
        if target is not None:
            targets[placement.name] = target
    return targets


def _points(
    cloud_of: CloudOf,
    placements: Iterable[Placement],
    found: Mapping[EnvironmentName, Environment],
    repository: RepositoryName,
    glances: dict[EnvironmentName, Glance] | None,
) -> dict[EnvironmentName, bool]:
    """Whether each environment's pip.conf names the repository; several are read at once, as there may be thousands."""
    clouds: dict[Identity, Cloud] = {}
    wanted = []
    for placement in placements:
        environment = found.get(placement.name)
        if environment is not None and environment.bucket:
            cloud = clouds.setdefault(placement.identity, cloud_of(placement.identity))
            wanted.append((cloud, environment))
    known = {} if glances is None else glances
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        looked = pool.map(lambda pair: look(pair[0].storage, pair[1], repository, known.get(pair[1].name)), wanted)
        seen = {environment.name: glance for (_, environment), glance in zip(wanted, looked, strict=True) if glance}
    known.update(seen)
    return {name: glance.points for name, glance in seen.items()}
