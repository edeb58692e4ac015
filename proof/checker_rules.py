"""What must hold in every soak, whatever happened in it: a rule is a function from the history to violations."""

from __future__ import annotations

import base64
import configparser
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proof.checker import OTHERS, History, Update

_INDEX = ("index-url", "extra-index-url")
_KEY = re.compile(r"_json_key_base64:([A-Za-z0-9+/=%]+)@")
_PERMANENT = "Could not find a version"
"""In the error of a build that no second try can mend."""
PIP_CONF = "config/pip/pip.conf"


def _wish(data: Mapping[str, Any]) -> dict[str, str | None]:
    """Name -> the value that a run wants declared; None: not declared."""
    wanted: dict[str, str | None] = {name: f"=={version}" for name, version in data.get("pins", {}).items()}
    return {**wanted, **dict.fromkeys(data.get("absent", ()))}


def _owner(history: History, run: str) -> str:
    """The run whose packages a run changes: its own, or those of the rollout that it takes back."""
    data = history.raw["runs"].get(run, {})
    return str(data.get("rollout", run))


def installed(history: History) -> Iterator[str]:
    """A task that says installed (or unchanged) had in its time exactly what was wished for the names it owns."""
    for run, data in history.raw["runs"].items():
        wanted = _wish(data)
        for task, ended in data["tasks"].items():
            result = ended["result"] if ended["state"] == "success" else None
            if not isinstance(result, dict) or result.get("outcome") not in ("installed", "unchanged") or not wanted:
                continue
            if "packages" not in result or data["kind"] == "roll_back":
                continue
            environment = result["environment"].rpartition("/")[2]
            maps = history.maps(environment, *history.window(run, task))
            if not any(all(found.get(name) == value for name, value in wanted.items()) for found in maps):
                yield f"{run}/{task} says {result['outcome']} in {environment}, which never declared {wanted}: {maps}"
            own = [u for u in history.of(environment) if u.name == result.get("operation") and not u.succeeded]
            if own:
                yield f"{run}/{task} names {own[0].name}, which failed"


def owned(history: History) -> Iterator[str]:
    """An update of ours changes names that its run owns, to what was wished or what was there before; no others."""
    yield from history.unsent
    for update in history.updates:
        if update.by in ("", OTHERS):
            continue
        owner = _owner(history, update.run)
        data = history.raw["runs"][owner]
        wanted = _wish(data)
        earlier = history.maps(update.environment, data["begun"], update.begun, update)
        for name, value in update.changes.items():
            if name not in wanted:
                yield f"{update.by} changed {name} of {update.environment}, which it was not asked for"
            elif value != wanted[name] and value not in [found.get(name) for found in earlier]:
                yield f"{update.by} gave {update.environment} {name}{value}, which nobody wished and which never was"


def kept(history: History) -> Iterator[str]:
    """What others declared and set is there at the end, unless they changed it again; so is what was installed."""
    steps = dict(history.acts("packages", "variables"))
    for update in history.updates:
        act = steps.get(update.begun) if update.by == OTHERS else None
        if act and act["kind"] == "packages" and update.succeeded:
            lost = {name for name, value in act["wanted"].items() if update.after.get(name) != value}
            lost |= set(update.changes) - set(act["wanted"])
            if lost:
                yield f"the update of others in step {update.begun} came out otherwise in {sorted(lost)}"
    for name, found in history.raw["state"]["environments"].items():
        updates = [update for update in history.of(name) if update.succeeded]
        last = updates[-1].after if updates else history.raw["start"]["environments"][name]["packages"]
        if found["packages"] != last:
            yield f"{name} declares {found['packages']}, and the last update left {last}"
        if found["state"] != "RUNNING":
            yield f"{name} is {found['state']}"
        set_last = history.raw["start"]["variables"].get(name, {})
        done = {update.begun for update in updates if update.by == OTHERS}
        for step, act in history.acts("variables"):
            if act["environment"] == name and step in done:
                set_last = act["wanted"]
        if history.raw["state"]["variables"].get(name, {}) != set_last:
            yield f"the variables of {name} are {history.raw['state']['variables'].get(name)}, set was {set_last}"


def options(text: str) -> set[tuple[str, str, str]]:
    """The options of a pip.conf that are other people's, and its comments."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.read_string(text)
    found = {(s, o, str(v)) for s in parser.sections() for o, v in parser.items(s) if o not in _INDEX}
    return found | {("", "", line) for line in text.splitlines() if line.startswith("#")}


def pip_conf(history: History) -> Iterator[str]:
    """No write of ours changes an option that is not ours; the file at the end is the one that was written last."""
    theirs = {(act["environment"], act["generation"]) for _, act in history.acts("pip.conf")}
    for name, seen in history.raw["pip_confs"].items():
        for before, after in itertools.pairwise(seen):
            if (name, after["generation"]) in theirs:
                continue
            if options(before["content"]) != options(after["content"]):
                lost = sorted(options(before["content"]) ^ options(after["content"]))
                yield f"step {after['step']}: our write of {name}'s pip.conf changed {lost}"
        if history.raw["state"]["objects"][name].get(PIP_CONF, "") != seen[-1]["content"]:
            yield f"{name}'s pip.conf at the end is not the one that was written last"
        for _, act in history.acts("pip.conf"):
            found = [item for item in seen if item["generation"] == act["generation"]]
            if act["environment"] == name and (not found or found[0]["content"] != act["content"]):
                yield f"{name}'s pip.conf of generation {act['generation']} is not what was written"


def pointed(history: History) -> Iterator[str]:
    """A task that pointed pip.conf had it so at some moment of its time."""
    for run, data in history.raw["runs"].items():
        ended = data["tasks"].get("point")
        if data["kind"] != "pip_conf" or ended is None or ended["state"] != "success":
            continue
        name, (first, last) = data["environments"][0], history.window(run, "point")
        seen = history.raw["pip_confs"][name]
        at_first = [item for item in seen if item["step"] < first][-1:]
        texts = [item["content"] for item in (*at_first, *(i for i in seen if first <= i["step"] <= last))]
        option = {"index": "index-url", "extra_index": "extra-index-url"}.get(data["form"])
        host = f"-python.pkg.dev/{history.raw['prefix']}-packages/python"
        lines = [[line for line in text.splitlines() if host in line] for text in texts]
        good = [not found if option is None else any(line.startswith(option) for line in found) for found in lines]
        if not any(good):
            yield f"{run} says that {name}'s pip.conf is as wished ({data['form']}), and it never was"


def doubled(history: History) -> Iterator[str]:
    """No update of ours is without effect, and none is repeated that cannot be mended or has been done."""
    for name in history.raw["state"]["environments"]:
        last: Update | None = None
        refused: set[tuple[str, str]] = set()
        for update in history.of(name):
            if update.by != OTHERS:
                if update.succeeded and not update.changes:
                    yield f"{update.by} updated {name} without a change"
                if last is not None and last.run == update.run and last.succeeded and last.changes == update.changes:
                    yield f"{update.by} did the same update of {name} twice"
                if (update.run, update.error) in refused and _PERMANENT in update.error:
                    yield f"{update.by} repeated an update of {name} that can only fail"
                refused.add((update.run, update.error))
            last = update


def typed(history: History) -> Iterator[str]:
    """Every failure has a typed cause and a message; every task has an end."""
    for run, data in history.raw["runs"].items():
        for task, ended in data["history"]:
            if ended["error"].startswith("Untyped"):
                yield f"{run}/{task}, try {ended['tries']}: {ended['error']}: {ended['message'][:300]}"
            if ended["state"] in ("failed", "up_for_retry") and not (ended["error"] and ended["message"]):
                yield f"{run}/{task}, try {ended['tries']} failed without a cause"
        for task, ended in data["tasks"].items():
            if ended["state"] == "up_for_retry":
                yield f"{run}/{task} was not brought to an end"


def sound(history: History) -> Iterator[str]:
    """The sandbox itself had no defect, and no operation is left under way."""
    yield from (f"the sandbox: {bug}" for bug in history.raw["bugs"])
    for operation in history.raw["operations"]:
        if operation["ended"] is None:
            yield f"{operation['name']} has not ended"


def keys(history: History) -> Iterator[str]:
    """Every key is named by a key book or a pip.conf, or a try died making it and a later one has disabled it; what
    pip.conf holds works.
    """
    for account, live in history.raw["state"]["keys"].items():
        environment = account.partition("@")[0].removeprefix("reader-")
        text = history.raw["state"]["objects"][environment].get(PIP_CONF, "")
        held, books = set(map(_key_id, _KEY.findall(text))), list(history.json_objects(environment, "/gar/keys/"))
        book: dict[str, Any] = next((value for name, value in books if account in name), {"made": [], "making": None})
        unnamed = [key for key in live if key["id"] not in {*held, *book["made"]}]
        working = [key["id"] for key in unnamed if not key["disabled"]]
        if len(working) > (book["making"] is not None):
            yield f"{account} has keys that work and that nobody names: {working}"
        if len(unnamed) > _tries_lost(history, account):
            yield f"{account} has more keys that nobody names than tries died: {[key['id'] for key in unnamed]}"
        works = {key["id"] for key in live if not key["disabled"]}
        blind = any(act["blind"] and act["environment"] == environment for _, act in history.acts("pip.conf"))
        if held - works and not blind:
            yield f"{environment}'s pip.conf holds a key that does not work: {sorted(held - works)}"


def _tries_lost(history: History, account: str) -> int:
    """How many tries to make a key for an account died, or did not see the answer."""
    runs = [run for run, data in history.raw["runs"].items() if data.get("account") == account]
    tries = sum(one["run"] in runs and one["task"] == "rotate" for one in history.raw["tries"])
    return tries - sum(history.raw["runs"][run]["tasks"].get("rotate", {}).get("state") == "success" for run in runs)


def _key_id(encoded: str) -> str:
    return str(json.loads(base64.b64decode(encoded.replace("%3D", "=")))["private_key_id"])


from proof.checker_fleet import ledger, places, records, registry  # noqa: E402 -- they use what is above

RULES: Mapping[str, Callable[[History], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (
        installed,
        owned,
        kept,
        pip_conf,
        pointed,
        doubled,
        registry,
        ledger,
        places,
        records,
        typed,
        keys,
        sound,
    )
}
"""By name, in the order of the report."""
