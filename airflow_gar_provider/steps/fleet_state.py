"""The state of a rollout, in the fleet's bucket: what every task of it reads, on whatever worker it runs.

Below `gs://BUCKET/PREFIX` of the fleet::

    STOP                                        while it exists, no environment is begun
    RUN/plan.json                               the plan, written once
    RUN/verdicts/STAGE/OUTCOME/P.L.E.json       how an environment ended; a listing says it without a read
    RUN/stages/STAGE.json                       how a stage ended as a whole
    RUN/approvals/STAGE.json                    what was answered before a stage
    RUN/soak/STAGE.json                         what the soak of a stage saw first
    RUN/turns/STAGE/N.json                      whose turn it is: one object for each of max_parallel
    holds/P.L.E/PACKAGE/VERSION                 what was rolled back where, for the plans to come
    pip_conf.json                               what the last plan saw of pip.conf files, for the plans to come
    reviewed/DIGEST.json                        a plan that was shown to be approved, by its content's SHA-256
    ledger/RUN.json                             what a finished rollout came to; outlives Airflow's database
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from airflow_gar_provider.core.approval import Approval
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.plan import Plan
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.rollout import StageVerdict, Verdict
from airflow_gar_provider.errors import ConcurrentChangeError, InvalidInputError
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.collect import split_gs
from airflow_gar_provider.steps.glances import Glance, dumps, loads
from airflow_gar_provider.steps.record import slug

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Place:
    """One of a stage's places that somebody has."""

    number: int
    holder: str
    """The environment's name."""
    since: float
    """Seconds since the epoch."""
    generation: int
    """Of its object."""


class FleetState:
    """One rollout's objects. `uri`: the fleet's `state`; `run`: what identifies the rollout."""

    def __init__(self, storage: Storage, uri: str, run: str) -> None:
        self._storage = storage
        self._bucket, prefix = split_gs(uri)
        self._prefix = f"{prefix.rstrip('/')}/".lstrip("/")
        self._run = f"{self._prefix}{slug(run)}/"

    @property
    def plan_uri(self) -> str:
        """Where the plan is."""
        return f"gs://{self._bucket}/{self._run}plan.json"

    @property
    def stopped(self) -> bool:
        """Whether the fleet's switch is on."""
        return self._storage.read(self._bucket, f"{self._prefix}STOP") is not None

    def write_plan(self, plan: Plan) -> Plan:
        """Keep the plan; when an earlier try has kept one, that one is returned: it is what was reviewed."""
        try:
            self._write("plan.json", plan.dumps(), if_generation=0)
        except ConcurrentChangeError:
            log.info("this rollout has a plan already: %s", self.plan_uri)
            return self.read_plan()
        return plan

    def read_plan(self) -> Plan:
        """The plan of this rollout. Raises InvalidInputError when there is none."""
        plan = self.find_plan()
        if plan is None:
            raise InvalidInputError("this rollout has no plan", resource=self.plan_uri, remedy="plan it first")
        return plan

    def find_plan(self) -> Plan | None:
        """The plan of this rollout; None when it has none, because planning it failed."""
        found = self._storage.read(self._bucket, f"{self._run}plan.json")
        return Plan.loads(found[0].decode()) if found else None

    def outcomes(self) -> list[Verdict]:
        """Environment, stage and outcome of all verdicts so far, from one listing; the rest is left empty."""
        found = []
        for item in self._storage.list(self._bucket, f"{self._run}verdicts/"):
            stage, outcome, name = item.name.removeprefix(f"{self._run}verdicts/").split("/")
            found.append(Verdict(str(_environment(name)), stage, outcome))
        return found

    def verdicts(self) -> list[Verdict]:
        """All verdicts, whole."""
        names = [item.name for item in self._storage.list(self._bucket, f"{self._run}verdicts/")]
        return [Verdict.from_json(value) for value in self._read_all(names)]

    def verdict(self, environment: EnvironmentName) -> Verdict | None:
        """The verdict of one environment; None while it has none."""
        names = [item.name for item in self._storage.list(self._bucket, f"{self._run}verdicts/")]
        own = [name for name in names if name.endswith(f"/{_file(environment)}.json")]
        # Of two, which a crash can leave, `rolled_back` is the later one, and the last by name.
        return next((Verdict.from_json(value) for value in self._read_all(own[-1:])), None)

    def put_verdict(self, verdict: Verdict) -> None:
        """Keep how an environment ended."""
        self._write(_verdict_name(verdict), json.dumps(verdict.to_json()))

    def drop_verdict(self, verdict: Verdict) -> None:
        """Forget a verdict that another one has replaced."""
        self._storage.delete(self._bucket, f"{self._run}{_verdict_name(verdict)}")

    def judged(self) -> list[StageVerdict]:
        """The stages that ended as a whole."""
        names = [item.name for item in self._storage.list(self._bucket, f"{self._run}stages/")]
        return [StageVerdict(**value) for value in self._read_all(names)]

    def judge(self, verdict: StageVerdict) -> None:
        """Keep how a stage ended as a whole."""
        value = {"stage": verdict.stage, "passed": verdict.passed, "why": verdict.why}
        self._write(f"stages/{verdict.stage}.json", json.dumps(value))

    def keep_approval(self, approval: Approval) -> None:
        """Keep what was answered before a stage; a later answer, of a task that was cleared, replaces it."""
        self._write(f"approvals/{approval.stage}.json", json.dumps(approval.to_json()))

    def approval(self, stage: str) -> Approval | None:
        """What was answered before a stage; None when nobody was asked, or has answered yet."""
        found = self._storage.read(self._bucket, f"{self._run}approvals/{stage}.json")
        return Approval.from_json(json.loads(found[0])) if found else None

    def approvals(self) -> list[Approval]:
        """All answers of this rollout."""
        names = [item.name for item in self._storage.list(self._bucket, f"{self._run}approvals/")]
        return [Approval.from_json(value) for value in self._read_all(names)]

    def keep_reviewed(self, plan: Plan) -> None:
        """Keep a plan that is shown to be approved, so that a later one can be compared with it."""
        with contextlib.suppress(ConcurrentChangeError):  # the same content is there already
            name = f"{self._prefix}reviewed/{plan.content_digest}.json"
            self._storage.write(self._bucket, name, plan.dumps().encode(), if_generation=0)

    def reviewed(self, digest: str) -> Plan | None:
        """A plan that was shown to be approved; None when this fleet has none with that digest."""
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            return None
        found = self._storage.read(self._bucket, f"{self._prefix}reviewed/{digest}.json")
        return Plan.loads(found[0].decode()) if found else None

    def soak_baseline(self, stage: str, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What the first look of a stage's soak saw; `look` is made when there was none, and kept."""
        found = self._storage.read(self._bucket, f"{self._run}soak/{stage}.json")
        if found is None:
            first = look()
            try:
                self._write(f"soak/{stage}.json", json.dumps(first, sort_keys=True), if_generation=0)
            except ConcurrentChangeError:
                return self.soak_baseline(stage, look)
            return first
        return dict(json.loads(found[0]))

    def take_turn(self, stage: str, environment: EnvironmentName, places: int, *, now: float, lease: float) -> bool:
        """Take one of a stage's `places`, or find that the environment has one. False when all are taken.

        `now`: seconds since the epoch; a place that was taken more than `lease` seconds ago is free again: its task
        has died at its last try.
        """
        taken = {place.number: place for place in self._taken(stage, places)}
        if any(place.holder == str(environment) for place in taken.values()):
            return True
        content = json.dumps({"environment": str(environment), "since": now})
        for number in range(places):
            place = taken.get(number)
            if place is not None and now - place.since < lease:
                continue
            if place is not None:
                log.warning("%s has not ended for %.0f s: its place is taken over", place.holder, now - place.since)
            generation = place.generation if place is not None else 0
            try:
                self._storage.write(
                    self._bucket, self._place(stage, number), content.encode(), if_generation=generation
                )
            except ConcurrentChangeError:
                continue
            return True
        return False

    def turn_since(self, stage: str, environment: EnvironmentName, places: int) -> float | None:
        """When the environment took its place, in seconds since the epoch; None when it has none."""
        own = self._own_place(stage, environment, places)
        return own.since if own else None

    def give_back(self, stage: str, environment: EnvironmentName, places: int) -> None:
        """Free the environment's place, if it has one."""
        own = self._own_place(stage, environment, places)
        if own is not None:
            self._storage.delete(self._bucket, self._place(stage, own.number), if_generation=own.generation)

    def _own_place(self, stage: str, environment: EnvironmentName, places: int) -> _Place | None:
        return next((place for place in self._taken(stage, places) if place.holder == str(environment)), None)

    def _taken(self, stage: str, places: int) -> Iterator[_Place]:
        """The places of a stage that somebody has."""
        for number in range(places):
            found = self._storage.read(self._bucket, self._place(stage, number))
            if found is not None:
                value = json.loads(found[0])
                yield _Place(number, value["environment"], float(value["since"]), found[1])

    def hold(self, environment: EnvironmentName, package: str, version: str, why: str) -> None:
        """Note that a version was rolled back in an environment."""
        name = f"{self._prefix}holds/{_file(environment)}/{package}/{quote(version, safe='')}"
        self._storage.write(self._bucket, name, why.encode())

    def holds(self) -> dict[EnvironmentName, dict[str, str]]:
        """Environment -> `package==version` -> why, of the whole fleet, from one listing."""
        found: dict[EnvironmentName, dict[str, str]] = {}
        prefix = f"{self._prefix}holds/"
        for item in self._storage.list(self._bucket, prefix):
            environment, package, version = item.name.removeprefix(prefix).split("/")
            why = f"{package} {unquote(version)} was rolled back here; delete {item.uri} to release it"
            found.setdefault(_environment(environment), {})[f"{package}=={unquote(version)}"] = why
        return found

    @contextmanager
    def glances(self, repository: RepositoryName) -> Iterator[dict[EnvironmentName, Glance]]:
        """What earlier plans for a repository saw of pip.conf files; what is different at the end is kept.

        Of two plans at a time the later one's are kept: each glance is true as long as its generation is there.
        """
        name = f"{self._prefix}pip_conf.json"
        found = self._storage.read(self._bucket, name)
        known = loads(found[0], repository) if found else {}
        seen = dict(known)
        yield seen
        if seen != known:
            self._storage.write(self._bucket, name, dumps(seen, repository).encode())

    def write_ledger(self, entry: Mapping[str, Any]) -> str:
        """Keep what the rollout came to; returns the object's URI."""
        name = f"{self._prefix}ledger/{self._run.rstrip('/').rsplit('/', 1)[-1]}.json"
        self._storage.write(self._bucket, name, json.dumps(entry, indent=1, sort_keys=True).encode())
        return f"gs://{self._bucket}/{name}"

    def _place(self, stage: str, number: int) -> str:
        return f"{self._run}turns/{stage}/{number}.json"

    def _write(self, name: str, text: str, *, if_generation: int | None = None) -> None:
        self._storage.write(self._bucket, f"{self._run}{name}", text.encode(), if_generation=if_generation)

    def _read_all(self, names: Iterable[str]) -> list[Any]:
        contents = (self._storage.read(self._bucket, name) for name in names)
        return [json.loads(content[0]) for content in contents if content is not None]


def _verdict_name(verdict: Verdict) -> str:
    name = _file(EnvironmentName.parse(verdict.environment))
    return f"verdicts/{verdict.stage}/{verdict.outcome}/{name}.json"


def _file(environment: EnvironmentName) -> str:
    """An environment as one part of an object's name; none of its three parts may contain a slash or a blank."""
    return f"{environment.project.replace(':', '%3A')},{environment.location},{environment.name}"


def _environment(file: str) -> EnvironmentName:
    project, location, name = unquote(file.removesuffix(".json")).split(",")
    return EnvironmentName(project, location, name)
