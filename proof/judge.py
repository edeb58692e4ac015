"""What an undisturbed run came to, and whether a disturbed one came to the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proof.canonical import Names, differences, view
from proof.tries import Run
from proof.world import World

UNCOUNTED = ("GetAllowedLocations",)
"""What google-auth asks in a thread of its own, when it likes, and does without."""


def counted(run: Run) -> list[dict[str, Any]]:
    """The calls of a run, without those that nobody waits for."""
    return [call for call in run.calls if not call["method"].endswith(UNCOUNTED)]


def outcome(world: World, run: Run) -> dict[str, Any]:
    """What a run came to, comparable: every task's end, its events, and the world."""
    names = Names(run.state, world.prefix)
    tasks = {
        str(key): {
            "state": ended.state,
            "error": ended.error,
            "result": names.plain(ended.result),
            "events": sorted(json.dumps(names.plain(event), sort_keys=True) for event in ended.events),
        }
        for key, ended in run.ended.items()
    }
    return {"tasks": tasks, "world": view(run.state, world.prefix)}


def _told_alike(one: Any, other: Any) -> tuple[Any, Any]:
    """Two ends of a task, as far as both can tell.

    A rollout's task that finds its environment's verdict tells that: outcome, packages, and why; neither the operation
    nor the same sentence.
    """
    if one is None or other is None or "why" not in (other["result"] or {}) or "why" in (one["result"] or {}):
        return one, other
    both = ({*one["result"]} & {*other["result"]}) - {"message"}
    return tuple({**end, "result": {key: end["result"][key] for key in both}} for end in (one, other))  # type: ignore[return-value]


def problems(wanted: Mapping[str, Any], world: World, run: Run) -> Iterator[str]:
    """Why a disturbed run is not as good as the undisturbed one; nothing when it is."""
    for key, ended in run.history:
        if ended.error.startswith("Untyped"):
            yield f"{key}, try {ended.tries}: {ended.error}: {ended.message[:300]}"
    found = outcome(world, run)
    for name in sorted({*wanted["tasks"], *found["tasks"]}):
        one, other = wanted["tasks"].get(name), found["tasks"].get(name)
        yield from differences(*_told_alike(one, other), f"task {name}")
        if one is not None and other is not None and one["state"] != other["state"]:
            ended = next(ended for key, ended in run.ended.items() if str(key) == name)
            yield f"task {name} said: {ended.message[:600]}"
    yield from differences(wanted["world"], found["world"], "world")
