"""A fleet: environments in ordered stages, what they shall have, and how carefully they get it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.errors import InvalidInputError

if TYPE_CHECKING:  # a DAG file pays for what is imported here: `packaging` only when a fleet is read
    from airflow_gar_provider.core.environment import EnvironmentName
    from airflow_gar_provider.core.requirement import Requirement


@dataclass(frozen=True)
class Identity:
    """As whom Google is spoken to. An inner one (environment) replaces an outer one (stage, fleet) field by field."""

    gcp_conn_id: str | None = None
    """The Airflow connection; None: as the level above says."""
    impersonation_chain: tuple[str, ...] | None = None
    """Service accounts, the last of which is acted as; None: as the level above says."""

    def within(self, outer: Identity) -> Identity:
        """This identity, with what it leaves open taken from `outer`."""
        return Identity(
            self.gcp_conn_id or outer.gcp_conn_id,
            outer.impersonation_chain if self.impersonation_chain is None else self.impersonation_chain,
        )


@dataclass(frozen=True)
class Packages:
    """What one level (fleet, stage, environment) says of packages."""

    wanted: tuple[Requirement, ...] = ()
    absent: tuple[str, ...] = ()
    """PEP 503 names."""

    def over(self, outer: Packages) -> Packages:
        """This level's word for a name replaces the level above's; other names stay."""
        named = {requirement.name for requirement in self.wanted} | set(self.absent)
        return Packages(
            tuple(r for r in outer.wanted if r.name not in named) + self.wanted,
            tuple(name for name in outer.absent if name not in named) + self.absent,
        )


@dataclass(frozen=True)
class Member:
    """An environment that a stage names."""

    name: EnvironmentName
    identity: Identity = Identity()
    packages: Packages = Packages()
    hold: str | None = None
    """Why the environment is left alone; None when it is not."""


@dataclass(frozen=True)
class Find:
    """Environments that are looked for when the rollout is planned."""

    projects: tuple[str, ...]
    locations: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """An environment has to carry all of them."""

    def matches(self, name: EnvironmentName, labels: Mapping[str, str]) -> bool:
        """Whether an environment is meant."""
        return (
            name.project in self.projects
            and name.location in self.locations
            and all(labels.get(key) == value for key, value in self.labels.items())
        )

    @property
    def parents(self) -> tuple[str, ...]:
        """The locations to list, `projects/P/locations/L`."""
        return tuple(f"projects/{project}/locations/{place}" for project in self.projects for place in self.locations)


@dataclass(frozen=True)
class Stage:
    """Environments that are rolled out before those of the next stage."""

    name: str
    """Lower case, digits and underscores: it is also the id of a task group."""
    members: tuple[Member, ...] = ()
    find: tuple[Find, ...] = ()
    max_parallel: int = 1
    """How many environments may be between their first change and their verdict at a time."""
    max_failures: int = 0
    """How many may fail before the rest of the stage, and all later stages, are not started."""
    soak: float = 0
    """Seconds for which the stage's environments are watched before the next stage."""
    max_dag_failure_rate: float | None = None
    """While soaking: the share of DAG runs that may fail; None: they are not looked at."""
    identity: Identity = Identity()
    packages: Packages = Packages()


@dataclass(frozen=True)
class Hold:
    """Packages of one environment that stay as they are."""

    environment: EnvironmentName
    reason: str
    packages: tuple[str, ...] = ()
    """PEP 503 names; empty for all."""

    def holds(self, environment: EnvironmentName, package: str) -> bool:
        """Whether a package of an environment is held."""
        return self.environment == environment and (not self.packages or package in self.packages)


@dataclass(frozen=True)
class Placement:
    """One environment of the fleet, with everything that its stage and the fleet say of it."""

    name: EnvironmentName
    stage: str
    identity: Identity
    packages: Packages
    hold: str | None = None
    """Why the whole environment is left alone."""


@dataclass(frozen=True)
class Fleet:
    """Ordered stages of environments, and where the state of their rollouts is kept."""

    state: str
    """`gs://BUCKET/PREFIX`, without a final slash: plans, verdicts, the ledger, and the object STOP."""
    stages: tuple[Stage, ...]
    identity: Identity = Identity()
    packages: Packages = Packages()
    freezes: tuple[Freeze, ...] = ()
    holds: tuple[Hold, ...] = ()

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise InvalidInputError(
                "this fleet cannot be rolled out:\n" + "\n".join(f"  - {problem}" for problem in problems),
                remedy="correct the fleet's definition",
            )

    @property
    def stop_switch(self) -> str:
        """The object that stops every rollout before its next environment, while it exists."""
        return f"{self.state}/STOP"

    def stage(self, name: str) -> Stage:
        """A stage by its name. Raises InvalidInputError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise InvalidInputError(
            f"the fleet has no stage {name!r}", remedy=f"its stages are {', '.join(s.name for s in self.stages)}"
        )

    def lists(self) -> dict[Identity, tuple[str, ...]]:
        """The locations to list to see every environment, grouped by the identity that lists them.

        A named environment is listed by its own identity with its whole location: one page of a list costs less than
        a call per environment.
        """
        found: dict[Identity, dict[str, None]] = {}
        for stage in self.stages:
            outer = stage.identity.within(self.identity)
            for find in stage.find:
                found.setdefault(outer, {}).update(dict.fromkeys(find.parents))
            for member in stage.members:
                found.setdefault(member.identity.within(outer), {})[member.name.parent] = None
        return {identity: tuple(parents) for identity, parents in found.items()}

    def placements(
        self, seen: Mapping[Identity, Iterable[tuple[EnvironmentName, Mapping[str, str]]]]
    ) -> list[Placement]:
        """All environments, in the order of the stages; `seen`: what each identity listed, with labels.

        An environment belongs to the first stage that names it, or else to the first one that finds it.
        """
        named = {member.name for stage in self.stages for member in stage.members}
        taken: set[EnvironmentName] = set()
        placements: list[Placement] = []
        for stage in self.stages:
            outer = stage.identity.within(self.identity)
            packages = stage.packages.over(self.packages)
            for member in stage.members:
                taken.add(member.name)
                placements.append(
                    Placement(
                        member.name,
                        stage.name,
                        member.identity.within(outer),
                        member.packages.over(packages),
                        member.hold,
                    )
                )
            for name, labels in seen.get(outer, ()):
                if name not in taken | named and any(find.matches(name, labels) for find in stage.find):
                    taken.add(name)
                    placements.append(Placement(name, stage.name, outer, packages))
        return placements

    def held(self, environment: EnvironmentName, package: str) -> str | None:
        """Why a package of an environment stays as it is, or None."""
        return next((hold.reason for hold in self.holds if hold.holds(environment, package)), None)


def _problems(fleet: Fleet) -> Iterable[str]:
    if not fleet.stages:
        yield "it has no stage"
    names = [stage.name for stage in fleet.stages]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"two stages are named {name}"
    where: dict[EnvironmentName, str] = {}
    for stage in fleet.stages:
        if stage.max_parallel < 1:
            yield f"stage {stage.name}: max_parallel is at least 1"
        if stage.max_failures < 0 or stage.soak < 0:
            yield f"stage {stage.name}: max_failures and soak are not negative"
        if not stage.members and not stage.find:
            yield f"stage {stage.name} names no environment and looks for none"
        for member in stage.members:
            other = where.setdefault(member.name, stage.name)
            if other != stage.name or [m.name for m in stage.members].count(member.name) > 1:
                yield f"{member.name} is in stage {other} and again in {stage.name}"
    for freeze in fleet.freezes:
        for name in freeze.stages:
            if name not in names:
                yield f"the freeze {freeze.reason!r} is for a stage {name!r}, which the fleet does not have"
