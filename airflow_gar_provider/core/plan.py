"""A plan: what a rollout would change in each environment, computed from facts that were read before."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.fleet import Identity, Stage
from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.core.markdown import code, table
from airflow_gar_provider.errors import InvalidInputError

STRATEGIES = ("one", "newest_each")
"""One version for all environments, or for each the newest that fits it."""
ACTIONS = ("nothing", "add", "upgrade", "downgrade", "change", "remove", "held", "blocked")
OUTLOOKS = ("change", "nothing", "held", "frozen", "blocked")
FORMAT = 1
"""Of the plan's JSON; a plan of another format is not applied."""
_POLICY = ("name", "max_parallel", "max_failures", "soak", "max_dag_failure_rate")
_SCALARS = ("repository", "strategy")
_ROWS = 100
"""Environments that the Markdown table shows: Airflow's UI renders it in the browser."""


@dataclass(frozen=True)
class Change:
    """What happens to one package of one environment."""

    package: str
    action: str
    """Of `ACTIONS`."""
    before: str | None
    """What is declared now: extras and specifier; None when the package is not declared."""
    after: str | None
    """What will be declared; None when the package is removed or left alone."""
    why: str | None = None
    """For held and blocked ones."""


def _told(change: Change) -> str:
    if change.action in ("held", "blocked"):
        return f"{code(change.package)} {change.action}: {code(change.why or '')}"
    return f"{code(change.package)} {code(change.before or 'absent')} → {code(change.after or 'absent')}"


def _told_all(item: Item) -> str:
    """All that happens in an environment; Airflow's UI drops HTML, so there is no line break in a cell."""
    told = [_told(change) for change in item.changes if change.action != "nothing"]
    return "; ".join([*told, *(["pip.conf"] if item.pip_conf and item.outlook == "change" else [])])


@dataclass(frozen=True)
class Item:
    """What the plan has for one environment."""

    environment: EnvironmentName
    stage: str
    outlook: str
    """Of `OUTLOOKS`."""
    why: str | None
    """For everything but `change` and `nothing`."""
    changes: tuple[Change, ...]
    pip_conf: bool
    """Whether its pip.conf will be written."""
    unmanaged: tuple[str, ...]
    """Names that it declares and that no list of ours has: they stay."""
    identity: Identity
    fingerprint: str
    """Of what this was computed from: an environment that has another one now has changed since."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """What is to be installed, as requirements; what is there already is named too, so that it is verified."""
        return tuple(
            f"{change.package}{change.after}"
            for change in self.changes
            if change.after is not None and change.action not in ("held", "blocked")
        )

    @property
    def absent(self) -> tuple[str, ...]:
        """Names that must not be declared afterwards."""
        return tuple(
            change.package for change in self.changes if change.after is None and change.action in ("remove", "nothing")
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "environment": str(self.environment),
            "stage": self.stage,
            "outlook": self.outlook,
            "why": self.why,
            "changes": [
                {"package": c.package, "action": c.action, "before": c.before, "after": c.after, "why": c.why}
                for c in self.changes
            ],
            "pip_conf": self.pip_conf,
            "unmanaged": list(self.unmanaged),
            "gcp_conn_id": self.identity.gcp_conn_id,
            "impersonation_chain": self.identity.impersonation_chain and list(self.identity.impersonation_chain),
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Item:
        """Read what `to_json` made. Raises KeyError, TypeError or InvalidInputError for anything else."""
        chain = value["impersonation_chain"]
        return cls(
            environment=EnvironmentName.parse(value["environment"]),
            stage=value["stage"],
            outlook=value["outlook"],
            why=value["why"],
            changes=tuple(Change(**change) for change in value["changes"]),
            pip_conf=value["pip_conf"],
            unmanaged=tuple(value["unmanaged"]),
            identity=Identity(value["gcp_conn_id"], tuple(chain) if chain is not None else None),
            fingerprint=value["fingerprint"],
        )


@dataclass(frozen=True)
class Plan:
    """A whole rollout, before it."""

    run: str
    """What identifies the rollout."""
    made: str
    """When it was made, ISO 8601 in UTC."""
    repository: str
    """`projects/P/locations/L/repositories/R`."""
    strategy: str
    """Of `STRATEGIES`."""
    stages: tuple[Stage, ...]
    """In their order, without their environments: how carefully each is rolled out."""
    items: tuple[Item, ...]
    """In the order of the stages."""
    wheels: Mapping[str, str]
    """File name -> SHA-256, hexadecimal, of every file that the planned versions have in the registry."""
    freezes: tuple[Freeze, ...] = ()
    """Looked at again before each environment is begun."""

    def stage(self, name: str) -> Stage:
        """A stage by its name. Raises InvalidInputError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise InvalidInputError(f"the plan has no stage {name!r}")

    def before(self, stage: str) -> tuple[Stage, ...]:
        """The stages before one."""
        return tuple(itertools.takewhile(lambda other: other.name != stage, self.stages))

    def of_stage(self, stage: str) -> tuple[Item, ...]:
        """The items of one stage that change something."""
        return tuple(item for item in self.items if item.stage == stage and item.outlook == "change")

    def item(self, environment: EnvironmentName) -> Item:
        """The item of one environment. Raises InvalidInputError when the plan has none."""
        for item in self.items:
            if item.environment == environment:
                return item
        raise InvalidInputError("the plan has nothing for this environment", resource=str(environment))

    def counts(self) -> dict[str, int]:
        """Outlook -> number of environments, in the order of `OUTLOOKS`, without zeros."""
        counted = Counter(item.outlook for item in self.items)
        return {outlook: counted[outlook] for outlook in OUTLOOKS if counted[outlook]}

    def markdown(self, stages: Iterable[str] | None = None) -> str:
        """A table of environments and what changes in them, for people; the changes come first.

        `stages`: only those of these stages; not given: all.
        """
        wanted = None if stages is None else set(stages)
        items = [item for item in self.items if wanted is None or item.stage in wanted]
        rows = sorted(items, key=lambda item: item.outlook == "nothing")
        told = [
            [
                code(item.environment.name),
                code(item.stage),
                item.outlook,
                _told_all(item),
                code(item.why or ""),
            ]
            for item in rows[:_ROWS]
        ]
        shown = table(["environment", "stage", "plan", "changes", "why"], told)
        more = len(rows) - _ROWS
        return f"{shown}\n\nand {more} more environments" if more > 0 else shown

    def dumps(self) -> str:
        """The plan as JSON text; the same plan is the same text."""
        value = {"format": FORMAT, "run": self.run, "made": self.made, **self._content()}
        return json.dumps(value, indent=1, sort_keys=True)

    def _content(self) -> dict[str, Any]:
        """All but whose plan it is, and when it was made."""
        return {
            "repository": self.repository,
            "strategy": self.strategy,
            "stages": [{key: getattr(stage, key) for key in _POLICY} for stage in self.stages],
            "freezes": [freeze.to_json() for freeze in self.freezes],
            "wheels": dict(sorted(self.wheels.items())),
            "items": [item.to_json() for item in self.items],
        }

    @property
    def digest(self) -> str:
        """SHA-256 of `dumps`: what is applied is what was reviewed."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()

    @property
    def content_digest(self) -> str:
        """SHA-256 of what the plan would do, to what, and how carefully: two runs that would do the same have the same.

        A dry run shows it, and a later run that is given it applies that plan or none.
        """
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def differences(self, reviewed: Plan) -> list[str]:
        """What is not as in a plan that was reviewed before, a sentence for each."""
        before, now = reviewed._content(), self._content()
        lines = [f"{key} is {now[key]!r}, it was {before[key]!r}" for key in _SCALARS if now[key] != before[key]]
        lines += [f"the fleet's {key} have changed" for key in ("stages", "freezes") if now[key] != before[key]]
        lines += [
            f"{file}: SHA-256 {self.wheels.get(file, 'not there')}, it was {reviewed.wheels.get(file, 'not there')}"
            for file in sorted({*self.wheels, *reviewed.wheels})
            if self.wheels.get(file) != reviewed.wheels.get(file)
        ]
        were = {item.environment: item for item in reviewed.items}
        are = {item.environment: item for item in self.items}
        lines += [f"{name.name} is not in the reviewed plan" for name in are if name not in were]
        lines += [f"{name.name} is not in this plan" for name in were if name not in are]
        lines += [
            f"{name.name}: {_compared(were[name], are[name])}" for name in are if _differs(were.get(name), are[name])
        ]
        return lines

    @classmethod
    def loads(cls, text: str) -> Plan:
        """Read what `dumps` made. Raises InvalidInputError for anything else."""
        try:
            value = json.loads(text)
            if value["format"] != FORMAT:
                raise InvalidInputError(f"the plan has format {value['format']}, this version reads {FORMAT}")
            return cls(
                run=value["run"],
                made=value["made"],
                repository=value["repository"],
                strategy=value["strategy"],
                stages=tuple(Stage(**stage) for stage in value["stages"]),
                freezes=tuple(Freeze.from_json(freeze) for freeze in value["freezes"]),
                items=tuple(Item.from_json(item) for item in value["items"]),
                wheels=dict(value["wheels"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInputError(f"this is not a rollout's plan: {error!r}") from error


def _differs(was: Item | None, now: Item) -> bool:
    return was is not None and was != now


def _compared(was: Item, now: Item) -> str:
    """How one environment's part of two plans differs, in one line."""
    if (told := _plainly(now)) != (before := _plainly(was)):
        return f"{told}, it was: {before}"
    if was.fingerprint != now.fingerprint:
        return "its packages or its image have changed since"
    return "its stage or its identity has changed"


def _plainly(item: Item) -> str:
    changes = [f"{c.package} {c.before or 'absent'} -> {c.after or 'absent'} ({c.action})" for c in item.changes]
    return "; ".join([item.outlook, *changes, *(["pip.conf"] if item.pip_conf else [])])


def fingerprint(environment: Environment) -> str:
    """What a plan for the environment depends on, as 16 hexadecimal digits: its packages and its image."""
    facts = json.dumps([sorted(environment.packages.items()), environment.image_version])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]
