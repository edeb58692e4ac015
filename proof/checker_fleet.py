"""The checker's rules on what is written down (records, ledgers), on the places of a stage, and on the registry."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from proof.checker import History


def ledger(history: History) -> Iterator[str]:
    """A rollout that was reported has a ledger, which says of each environment what its updates really did."""
    for run, data in history.raw["runs"].items():
        if data["kind"] != "rollout":
            continue
        entries = [v for _, v in history.json_objects("state", f"{data['fleet']}/ledger/{run}-")]
        report = data["tasks"].get("roll_out.report", {"state": ""})
        planned = data["tasks"].get("roll_out.plan", {"state": ""})["state"] == "success"
        if report["state"] == "success" and planned and len(entries) != 1:
            yield f"{run} has {len(entries)} ledgers"
        for entry in entries:
            for verdict in entry["environments"]:
                yield from (f"{run}: {line}" for line in _verdict(history, run, data, verdict))


def _verdict(history: History, run: str, data: dict[str, Any], verdict: dict[str, Any]) -> Iterator[str]:
    environment = verdict["environment"].rpartition("/")[2]
    updates = [u for u in history.of(environment) if u.run == run and u.succeeded]
    if verdict["outcome"] not in ("installed", "rolled_back") or not verdict["packages"]:
        return
    if verdict["outcome"] == "installed" and not updates:
        yield f"{environment} is said to be installed, and was not updated"
    swapped = verdict["outcome"] == "rolled_back" and verdict["why"] == "the rollout was stopped"
    before, after = ("after", "before") if swapped else ("before", "after")
    for package in verdict["packages"]:
        name, pin = package["package"], data["pins"].get(package["package"])
        if verdict["outcome"] == "installed" or swapped:
            if package[after] != pin:
                yield f"{environment} is said to have got {name} {package[after]}, wished was {pin}"
            first = updates[0] if updates else None
            maps = history.maps(environment, data["begun"], data["ended"], first)
            seen = {_version(found.get(name)) for found in maps}
            if package[before] not in seen:
                yield f"{environment} is said to have had {name} {package[before]}, it had {sorted(map(str, seen))}"


def _version(value: str | None) -> str | None:
    return None if value is None else value.removeprefix("==")


def places(history: History) -> Iterator[str]:
    """Of a stage, no more environments are updated at a time than its rollout allows."""
    for run, data in history.raw["runs"].items():
        for stage, allowed in data.get("places", {}).items():
            own = [u for u in history.updates if u.by.startswith(f"{run}/roll_out.{stage}.environment")]
            for update in own:
                beside = {u.environment for u in own if u.created <= update.created < (u.ended or "9")}
                if len(beside) > allowed:
                    yield f"{run}: {sorted(beside)} of {stage} were updated at a time, allowed are {allowed}"


def records(history: History) -> Iterator[str]:
    """A run record's `before` is what the environment declared in the run's time; its operation is the run's own."""
    for environment in history.raw["state"]["environments"]:
        for name, record in history.json_objects(environment, "/gar/runs/"):
            run = record["run"].partition("/")[0]
            data = history.raw["runs"].get(run)
            if data is None:
                yield f"{environment}: {name} is of a run that was not asked for"
                continue
            last = len(history.raw["steps"]) if data.get("ended") is None else data["ended"]
            maps = history.maps(environment, data["begun"], last)
            if record["before"] not in maps:
                yield f"{environment}: {run}'s record says before was {record['before']}, it was {maps}"
            sent = [u for u in history.of(environment) if u.name == record["operation"]]
            ours = {run, *(r for r, d in history.raw["runs"].items() if d.get("rollout") == run)}
            if record["operation"] and record["outcome"] == "installed" and not any(u.run in ours for u in sent):
                by = sent[0].by if sent else "nobody"
                yield f"{environment}: {run}'s record claims {record['operation']}, which was begun by {by}"
            if record["sending"] and record["phase"] == "done":
                yield f"{environment}: {run}'s record is done and sending"


def registry(history: History) -> Iterator[str]:
    """Every file has the content that somebody was asked to publish; none is missing that no prune was to delete."""
    asked: dict[str, str] = {}
    due: set[str] = set(history.raw["start"]["files"])
    for _, act in history.acts("publish"):
        asked[act["file"]] = act["sha256"]
        due.add(act["file"])
    for data in history.raw["runs"].values():
        asked |= data.get("files", {})
        if data["kind"] == "publish" and data["tasks"].get("publish", {}).get("state") == "success":
            due |= set(data["files"])
    found = history.raw["state"]["files"]
    for file, hashes in found.items():
        wanted = base64.b64encode(bytes.fromhex(asked[file])).decode() if file in asked else None
        if file in history.raw["start"]["files"]:
            if hashes != history.raw["start"]["files"][file]:
                yield f"{file} has other content than before"
        elif wanted is None:
            yield f"{file} was published, and nobody was asked to"
        elif wanted not in hashes:
            yield f"{file} has other content than was asked for"
    yield from _gone(history, due, set(found))


def _gone(history: History, due: set[str], found: set[str]) -> Iterator[str]:
    """Files that should be there, and what prunings were to leave."""
    gone = due - found
    for file in sorted(gone):
        package, version = file.split("-")[0].replace("_", "-"), file.split("-")[1]
        prunes = [run for run, d in history.raw["runs"].items() if d["kind"] == "prune" and d["package"] == package]
        if not prunes:
            yield f"{file} is gone, and nobody was asked to delete it"
        elif all(_pinned(history, run, package, version) for run in prunes):
            yield f"{file} was pruned, and an environment pinned it all the time"
    for data in history.raw["runs"].values():
        if data["kind"] == "prune":
            stem = data["package"].replace("-", "_")
            every = [file for file in due if file.startswith(f"{stem}-")]
            left = [file for file in every if file in found]
            if len(left) < min(len(every), data["keep_last"]):
                yield f"{data['package']} has {len(left)} versions left, the newest {data['keep_last']} were to stay"


def _pinned(history: History, run: str, package: str, version: str) -> bool:
    """Whether some environment declared a version from a prune's beginning to its end."""
    window = history.window(run, "prune")
    maps = [history.maps(environment, *window) for environment in history.raw["state"]["environments"]]
    return any(all(found.get(package) == f"=={version}" for found in seen) for seen in maps)
