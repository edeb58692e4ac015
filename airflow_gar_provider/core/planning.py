"""Planning: facts that were read before -> what a rollout changes in each environment. Nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from packaging.utils import canonicalize_name
from packaging.version import Version

from airflow_gar_provider.core.choice import CandidateFile, Choice, Target, choose
from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.fleet import Fleet, Packages, Placement
from airflow_gar_provider.core.freeze import frozen
from airflow_gar_provider.core.plan import STRATEGIES, Change, Item, fingerprint
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import InvalidInputError, InvalidRequirementError


@dataclass(frozen=True)
class Seen:
    """What was read of one environment."""

    environment: Environment | None
    """None when it could not be read."""
    error: str | None = None
    """Why it could not be read."""
    target: Target | None = None
    """Its Python; None when that is not known, and then no file is refused for it."""
    points: bool | None = None
    """Whether its pip.conf names the repository already; None: not looked at."""
    held: Mapping[str, str] = field(default_factory=dict)
    """`name` or `name==version` (PEP 503 name) -> why the environment's bucket holds it, such as after a rollback."""


@dataclass(frozen=True)
class Registry:
    """What was read of the standard repository, once for the whole fleet."""

    files: Mapping[str, tuple[CandidateFile, ...]]
    """PEP 503 name -> all its files; a name that the repository does not hold has none."""
    hashes: Mapping[str, str]
    """File name -> SHA-256, hexadecimal."""


@dataclass(frozen=True)
class Request:
    """What a rollout is asked for."""

    packages: Packages | None
    """For every environment; None: what the fleet says of each."""
    strategy: str = "one"
    prereleases: bool = False
    minimum_age: timedelta | None = None
    """Younger versions are not chosen for a range or a bare name; an exact pin is taken at any age."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise InvalidInputError(f"strategy is one of {', '.join(STRATEGIES)}, not {self.strategy!r}")


@dataclass(frozen=True)
class Facts:
    """All that a plan is computed from."""

    fleet: Fleet
    environments: Mapping[EnvironmentName, Seen]
    registry: Registry
    now: datetime
    """With an offset: decides about freezes and ages."""


def plan_items(facts: Facts, placements: Iterable[Placement], request: Request) -> tuple[Item, ...]:
    """The items of all environments, in the order of the placements."""
    chooser = _Chooser(facts, request)
    return tuple(_plan_item(facts, placement, request, chooser) for placement in placements)


def planned_wheels(items: Iterable[Item], registry: Registry) -> dict[str, str]:
    """The registry's files of all versions that the items bring, with their SHA-256."""
    pins = {
        (canonicalize_name(change.package), Requirement.parse(f"{change.package}{change.after}").pinned)
        for item in items
        for change in item.changes
        if item.outlook in ("change", "nothing") and change.after is not None
    }
    wheels: dict[str, str] = {}
    for name, version in pins:
        for file in registry.files.get(name, ()):
            identity = file.identity
            if version is not None and identity is not None and identity[1] == Version(version):
                wheels[file.file] = registry.hashes.get(file.file, "")
    return wheels


class _Chooser:
    """Versions for requirements: one answer for each kind of environment, however many there are of it."""

    def __init__(self, facts: Facts, request: Request) -> None:
        self._registry = facts.registry
        self._request = request
        self._now = facts.now
        self._known: dict[tuple[Requirement, Target | None], Requirement | str] = {}

    def pin(self, requirement: Requirement, target: Target | None) -> Requirement | str:
        """The exact pin to install, or why there is none. A name that the repository lacks stays as it is written."""
        key = (requirement, target)
        if key not in self._known:
            self._known[key] = self._pin(requirement, target)
        return self._known[key]

    def keeps(self, requirement: Requirement, declared: str | None, target: Target | None) -> Requirement | None:
        """The declared version, when nothing but its age speaks against it: a young one is not put in, nor taken out.

        Only where each environment has the newest of its own; with `one`, all are brought to the same.
        """
        if self._request.strategy == "one" or not self._request.minimum_age or requirement.pinned or not declared:
            return None
        try:
            there = Requirement.parse(f"{requirement.name}{declared}")
        except InvalidRequirementError:
            return None
        if there.pinned is None or there.extras != requirement.extras:
            return None
        version = Version(there.pinned)
        pin = self.pin(requirement, target)
        if isinstance(pin, Requirement) and (pin.pinned is None or Version(pin.pinned) >= version):
            return None
        files = self._registry.files.get(requirement.name, ())
        same = [file for file in files if file.identity == (requirement.name, version)]
        return there if self._choose(requirement, same, target, aged=False).version else None

    def _pin(self, requirement: Requirement, target: Target | None) -> Requirement | str:
        files = self._registry.files.get(requirement.name, ())
        if not files:
            return requirement
        if self._request.strategy == "one" and requirement.pinned is None:
            newest = self._choose(requirement, files, None)
            if newest.version is None:
                return f"no version fits {requirement}: {newest.why_none()}"
            requirement = Requirement(requirement.name, requirement.extras, f"=={newest.version}")
        found = self._choose(requirement, files, target)
        if found.version is None:
            return f"{requirement}: {found.why_none(3)}"
        return Requirement(requirement.name, requirement.extras, f"=={found.version}")

    def _choose(
        self, requirement: Requirement, files: Sequence[CandidateFile], target: Target | None, *, aged: bool = True
    ) -> Choice:
        return choose(
            requirement,
            files,
            target=target,
            prereleases=self._request.prereleases or requirement.pinned is not None,
            minimum_age=self._request.minimum_age if aged and not requirement.pinned else None,
            now=self._now,
        )


def _plan_item(facts: Facts, placement: Placement, request: Request, chooser: _Chooser) -> Item:
    found = facts.environments.get(placement.name, Seen(None, "it is not in the list of its location"))
    environment = found.environment
    if environment is None:
        return _untouched(placement, "blocked", found.error)
    if environment.state not in ("RUNNING", "UPDATING") or not environment.bucket:
        bucket = "" if environment.bucket else " and has no bucket"
        return _untouched(placement, "blocked", f"it is in state {environment.state}{bucket}", environment)
    packages = placement.packages if request.packages is None else request.packages
    changes = (
        *(_change(facts.fleet, found, environment, r, chooser) for r in packages.wanted),
        *(_removal(facts.fleet, found, environment, name) for name in packages.absent),
    )
    pip_conf = found.points is False
    outlook, why = _outlook(facts, placement, changes, pip_conf=pip_conf)
    return Item(
        environment=placement.name,
        stage=placement.stage,
        outlook=outlook,
        why=why,
        changes=changes,
        pip_conf=pip_conf,
        unmanaged=_unmanaged(environment, packages),
        identity=placement.identity,
        fingerprint=fingerprint(environment),
    )


def _untouched(placement: Placement, outlook: str, why: str | None, environment: Environment | None = None) -> Item:
    mark = fingerprint(environment) if environment else ""
    return Item(placement.name, placement.stage, outlook, why, (), False, (), placement.identity, mark)


def _outlook(
    facts: Facts, placement: Placement, changes: Sequence[Change], *, pip_conf: bool
) -> tuple[str, str | None]:
    """What becomes of the environment as a whole: a unit is rolled out as one, so one blocked package blocks it."""
    actions = {change.action for change in changes}
    blocked = [change.why or "" for change in changes if change.action == "blocked"]
    if blocked:
        return "blocked", "; ".join(blocked)
    if not pip_conf and actions <= {"nothing"}:
        return "nothing", None
    if placement.hold is not None:
        return "held", placement.hold
    if not pip_conf and actions <= {"nothing", "held"}:
        return "held", "; ".join(dict.fromkeys(change.why or "" for change in changes if change.action == "held"))
    freeze = frozen(facts.fleet.freezes, facts.now, placement.stage)
    if freeze is not None:
        return "frozen", freeze.reason
    return "change", None


def _change(fleet: Fleet, found: Seen, environment: Environment, wanted: Requirement, chooser: _Chooser) -> Change:
    declared = _declared(environment, wanted.name)
    pin = chooser.keeps(wanted, declared, found.target) or chooser.pin(wanted, found.target)
    if isinstance(pin, str):
        return Change(wanted.name, "blocked", declared, None, pin)
    if len(_keys(environment, wanted.name)) == 1 and declared is not None and pin.same_as(declared):
        return Change(wanted.name, "nothing", declared, pin.value)
    held = fleet.held(environment.name, wanted.name) or _held_by_rollback(found, pin)
    if held is not None:
        return Change(wanted.name, "held", declared, None, held)
    return Change(wanted.name, _kind(wanted.name, declared, pin), declared, pin.value)


def _held_by_rollback(found: Seen, pin: Requirement) -> str | None:
    """A hold of the environment's own bucket is for one version: another one may come."""
    why = found.held.get(f"{pin.name}=={pin.pinned}")
    return why if why is not None else found.held.get(pin.name)


def _removal(fleet: Fleet, found: Seen, environment: Environment, name: str) -> Change:
    declared = _declared(environment, name)
    if declared is None:
        return Change(name, "nothing", None, None)
    held = fleet.held(environment.name, name) or found.held.get(name)
    return Change(name, "held" if held else "remove", declared, None, held)


def _kind(name: str, declared: str | None, pin: Requirement) -> str:
    """The word for a change; `change` where two versions cannot be compared (a range, other extras)."""
    if declared is None:
        return "add"
    try:
        before = Requirement.parse(f"{name}{declared}")
    except InvalidRequirementError:
        return "change"
    if before.pinned is None or pin.pinned is None or before.extras != pin.extras:
        return "change"
    old, new = Version(before.pinned), Version(pin.pinned)
    return "change" if old == new else "upgrade" if new > old else "downgrade"


def _keys(environment: Environment, name: str) -> list[str]:
    return [key for key in environment.packages if canonicalize_name(key) == name]


def _declared(environment: Environment, name: str) -> str | None:
    keys = _keys(environment, name)
    return environment.packages[keys[0]] if keys else None


def _unmanaged(environment: Environment, packages: Packages) -> tuple[str, ...]:
    managed = {requirement.name for requirement in packages.wanted} | set(packages.absent)
    return tuple(sorted(key for key in environment.packages if canonicalize_name(key) not in managed))
