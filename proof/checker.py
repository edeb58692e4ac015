"""The soak's checker: whether anything was lost, doubled or wrong. It knows nothing of the product.

It reads what was asked (DAG runs as data), what the tasks said they came to, the sandbox's record of calls, Composer's
operations, what others did, and the state before and after; from these it works out who changed what, when. Its rules
are in `checker_rules`. `python -m proof.checker FILE` checks the history that a soak has written.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

OTHERS = "others"
_UPDATE = "Environments.UpdateEnvironment"
Packages = Mapping[str, str]


@dataclass(frozen=True)
class Update:
    """One update of an environment that Composer took."""

    name: str
    environment: str
    by: str
    """`RUN/TASK`, `others`, or empty when nobody sent it."""
    created: str
    ended: str
    begun: int
    """The step in which it was sent."""
    over: int
    """The step in which it ended."""
    succeeded: bool
    error: str
    before: Packages
    after: Packages
    """Of an update that failed: `before`."""
    variables: Packages

    @property
    def run(self) -> str:
        """The DAG run, or `others`."""
        return self.by.partition("/")[0]

    @property
    def changes(self) -> dict[str, str | None]:
        """Name -> its new value, None for one that went."""
        names = {*self.before, *self.after}
        return {name: self.after.get(name) for name in names if self.before.get(name) != self.after.get(name)}


@dataclass
class History:
    """What happened, put together."""

    raw: Mapping[str, Any]
    updates: list[Update] = field(default_factory=list)
    """Of all environments, in the order of their beginnings."""
    unsent: list[str] = field(default_factory=list)
    """What does not fit: an operation that no accepted call began, or the other way round."""

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> History:
        """Work out who began which operation, and what it changed."""
        history = cls(raw)
        known = {operation["name"] for operation in raw["start"]["operations"]}
        theirs = {
            step["act"]["operation"]: number
            for number, step in enumerate(raw["steps"])
            if step.get("act", {}).get("operation")
        }
        sent = history._accepted()
        maps = {name: dict(found["packages"]) for name, found in raw["start"]["environments"].items()}
        for operation in raw["operations"]:
            if operation["name"] in known or operation["kind"] != "UPDATE":
                continue
            environment = operation["environment"]
            if operation["name"] in theirs:
                by, begun = OTHERS, theirs[operation["name"]]
            elif sent.get(environment):
                begun, by = sent[environment].pop(0)
            else:
                by, begun = "", 0
                history.unsent.append(f"{operation['name']} of {environment} was begun by no call")
            before, succeeded = maps[environment], operation["state"] in ("SUCCEEDED", "SUCCESSFUL")
            after = dict(operation["packages"]) if succeeded else before
            maps[environment] = after
            over = history._step_of(operation["ended"])
            history.updates.append(
                Update(
                    name=operation["name"],
                    environment=environment,
                    by=by,
                    created=operation["created"],
                    ended=operation["ended"] or "",
                    begun=begun,
                    over=over,
                    succeeded=succeeded,
                    error=operation["error"],
                    before=before,
                    after=after,
                    variables=operation["variables"],
                )
            )
        for environment, left in sent.items():
            history.unsent += [
                f"an update of {environment} by {by} was accepted and has no operation" for _, by in left
            ]
        return history

    def _accepted(self) -> dict[str, list[tuple[int, str]]]:
        """Environment -> (step, actor) of the updates that were accepted from the product, in their order."""
        first, calls = self.raw["first_call"], self.raw["calls"]
        steps = self.raw["steps"]
        worked = {step["released"]: number for number, step in enumerate(steps) if step.get("released") is not None}
        found: list[tuple[int, int, str, str]] = []
        for number, step in enumerate(steps):
            for call in range(*step.get("calls", (0, 0))):
                entry = calls[call - first]
                if entry["method"].endswith(_UPDATE) and entry.get("status") == 200:
                    environment = entry["resource"].rpartition("/")[2]
                    found.append((worked.get(call, number), call, environment, step["actor"]))
        sent: dict[str, list[tuple[int, str]]] = {}
        for step_number, _, environment, actor in sorted(found):
            sent.setdefault(environment, []).append((step_number, actor))
        return sent

    def _step_of(self, moment: str | None) -> int:
        """The step in which an operation ended; past the last one when it never did."""
        steps = self.raw["steps"]
        when = None if moment is None else _time(moment)
        return next((n for n, step in enumerate(steps) if when and _time(step["now"]) >= when), len(steps))

    # Questions of the rules

    def maps(self, environment: str, first: int, last: int, until: Update | None = None) -> list[Packages]:
        """What an environment declared in these steps, one after the other; `until`: before this update."""
        found: list[Packages] = [self.raw["start"]["environments"][environment]["packages"]]
        for update in self.updates:
            if update is until:
                break
            if update.environment == environment and update.succeeded:
                if update.over < first:
                    found = [update.after]
                elif update.over <= last:
                    found.append(update.after)
        return found

    def of(self, environment: str) -> list[Update]:
        """An environment's updates."""
        return [update for update in self.updates if update.environment == environment]

    def window(self, run: str, task: str) -> tuple[int, int]:
        """The steps from a task's first try to the end of its last one."""
        tries = [one for one in self.raw["tries"] if one["run"] == run and one["task"] == task]
        ends = [len(self.raw["steps"]) if one["to"] is None else one["to"] for one in tries]
        return (min(one["from"] for one in tries), max(ends)) if tries else (0, -1)

    def acts(self, *kinds: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """What others did and was accepted: the step, and the act."""
        for number, step in enumerate(self.raw["steps"]):
            act = step.get("act")
            if act and act["kind"] in kinds and act["accepted"]:
                yield number, act

    def json_objects(self, place: str, part: str) -> Iterator[tuple[str, Any]]:
        """Name and value of the JSON objects of a bucket whose name has this part."""
        for name, text in self.raw["state"]["objects"].get(place, {}).items():
            if part in name and name.endswith(".json"):
                yield name, json.loads(text)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def check(raw: Mapping[str, Any]) -> list[str]:
    """Every violation, a line each."""
    from proof.checker_rules import RULES  # noqa: PLC0415 -- they read a History

    history = History.read(raw)
    return [f"{name}: {line}" for name, rule in RULES.items() for line in rule(history)]


if __name__ == "__main__":
    violations = check(json.loads(Path(sys.argv[1]).read_text()))
    print("\n".join([*violations, f"{len(violations)} violations"]))
    sys.exit(1 if violations else 0)
