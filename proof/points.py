"""Crash at every call, fault at every call: `make proof`.

Each scenario runs once undisturbed; so its N calls to Google are known. Then it runs twice for each of them, killed
just before the call is worked and just after, and once for each of them with each kind of fault. All of them have to
come to what the undisturbed run came to. One point again: `python -m proof.points --scenario install --only after:17`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from proof.worker import each, warm, worker

CRASHES = {"before": {"kind": "hold_before"}, "after": {"kind": "hold_after"}}
"""Killed when the server has received the call and done nothing; when it has done it and answered nothing."""
FAULTS: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "reset": {"kind": "reset"},
    "lost": {"kind": "lost_answer"},
    "slow": {"kind": "delay", "seconds": 0.2},
    "expired": {"kind": "token_expiry"},
}


@dataclass(frozen=True)
class Point:
    """What goes wrong, at which call of which scenario."""

    scenario: str
    kind: str
    """Of CRASHES or FAULTS."""
    number: int
    """Of the call, from 1."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}"

    @property
    def command(self) -> str:
        """What runs it again."""
        return f"python -m proof.points --scenario {self.scenario} --only {self}"

    @property
    def fault(self) -> dict[str, Any]:
        """What the sandbox is told."""
        return {"method": "*", "skip": self.number - 1, **(CRASHES.get(self.kind) or FAULTS[self.kind])}


def undisturbed(scenario: str) -> dict[str, Any]:
    """Run a scenario as it is: its calls, and what it came to."""
    from proof.judge import counted, outcome  # noqa: PLC0415 -- they import Airflow, which `warm` does first
    from proof.scenarios import SCENARIOS  # noqa: PLC0415
    from proof.tries import run  # noqa: PLC0415

    own, made = worker(), SCENARIOS[scenario]
    world = made.world(own.google, own.prefix())
    found = run(own.google, world, made.dag, [], own.home)
    own.healthy()
    calls = [{key: call[key] for key in ("method", "principal", "resource")} for call in counted(found)]
    return {"scenario": scenario, "calls": calls, "outcome": outcome(world, found)}


def disturbed(point: Point, wanted: dict[str, Any], verbose: bool) -> dict[str, Any]:
    """Run a point; what is wrong with what it came to."""
    from proof.judge import problems  # noqa: PLC0415 -- see above
    from proof.scenarios import SCENARIOS  # noqa: PLC0415
    from proof.tries import run  # noqa: PLC0415

    own, made, begun = worker(), SCENARIOS[point.scenario], time.perf_counter()
    found: list[str] = []
    hit: dict[str, Any] | None = None
    tries = 0
    try:
        world = made.world(own.google, own.prefix())
        ended = run(own.google, world, made.dag, [point.fault], own.home)
        hit, found = ended.hit, list(problems(wanted, world, ended))
        tries = max(end.tries for end in ended.ended.values())
        if hit is None:
            found.append("the call was not made")
        if verbose:
            print(ended.log, flush=True)
    except RuntimeError as error:
        found.append(str(error))
    found += own.google.bugs()
    return {
        "scenario": point.scenario,
        "point": str(point),
        "method": hit["method"] if hit else None,
        "resource": hit["resource"] if hit else None,
        "problems": found,
        "tries": tries,
        "seconds": round(time.perf_counter() - begun, 2),
        "command": point.command,
    }


def points(reference: dict[str, Any], kinds: Sequence[str]) -> Iterator[Point]:
    """All points of a scenario. A call without a token has none that could expire."""
    for kind in kinds:
        for number, call in enumerate(reference["calls"], 1):
            if kind != "expired" or call["principal"]:
                yield Point(reference["scenario"], kind, number)


def main() -> int:
    """Run what is asked for; 1 when a point did not converge."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="gar-proof-") as folder:
        tempfile.tempdir = folder  # the workers' own folders go with it
        warm(Path(folder))
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    from proof import scenarios  # noqa: PLC0415 -- before anything is forked
    from proof.canonical import differences  # noqa: PLC0415

    begun = time.perf_counter()
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(options.jobs, mp_context=fork) as pool:
        names = options.scenario or list(scenarios.SCENARIOS)
        # Each twice: two undisturbed runs that differ would make every comparison worthless.
        references = each(pool, undisturbed, [(name,) for name in names for _ in range(2)], lambda _: None)
        steady = [
            one["outcome"] == other["outcome"] for one, other in zip(references[::2], references[1::2], strict=True)
        ]
        for name, same in zip(names, steady, strict=True):
            if not same:
                print(f"two undisturbed runs of {name} differ: the comparison is worth nothing")
                one, other = (found["outcome"] for found in references if found["scenario"] == name)
                print("\n".join(differences(one, other)), flush=True)
        known = {reference["scenario"]: reference for reference in references[::2]}
        chosen, every = _chosen(options, known)
        arguments = [(point, known[point.scenario]["outcome"], options.verbose) for point in chosen]
        results = each(pool, disturbed, arguments, _Teller(len(chosen)))
    print(_table(known, results))
    print(_kinds(results))
    share = f"{len(results)} of {every} points ran ({len(results) / max(1, every):.0%})"
    print(f"{share}, {time.perf_counter() - begun:.0f} s, {options.jobs} at a time")
    if options.json:
        report = {"made": datetime.now(timezone.utc).isoformat(), "of": every, "references": known, "points": results}
        options.json.write_text(json.dumps(report, indent=1, sort_keys=True))
    return 0 if all(steady) and not any(result["problems"] for result in results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", help="only this one (can be repeated)")
    parser.add_argument("--only", action="append", metavar="KIND:NUMBER", help="only this point (can be repeated)")
    parser.add_argument("--kind", action="append", choices=[*CRASHES, *FAULTS], help="only this kind")
    parser.add_argument("--share", type=int, default=1, help="every SHAREth call, one at least of scenario and kind")
    parser.add_argument("--offset", type=int, default=0, help="which of them comes first")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--verbose", action="store_true", help="print the logs of the tries")
    return parser.parse_args()


def _chosen(options: argparse.Namespace, known: dict[str, Any]) -> tuple[list[Point], int]:
    """The points to run, and how many there are."""
    kinds = options.kind or [*CRASHES, *FAULTS]
    blocks = [list(points(reference, [kind])) for reference in known.values() for kind in kinds]
    every = sum(map(len, blocks))
    if options.only:
        return [point for block in blocks for point in block if str(point) in options.only], every
    chosen = []
    for number, block in enumerate(blocks):
        first = options.offset + number  # neighbouring blocks begin at different calls
        chosen += block[first % options.share :: options.share] or block[first % len(block) :][:1]
    return chosen, every


class _Teller:
    """Says at once what did not converge, and now and then how far it is."""

    def __init__(self, every: int) -> None:
        self._every, self._done, self._bad = every, 0, 0

    def __call__(self, result: dict[str, Any]) -> None:
        """A point has run."""
        self._done += 1
        if result["problems"]:
            self._bad += 1
            print(f"\n{result['scenario']} {result['point']} ({result['method']} {result['resource']})")
            for problem in result["problems"]:
                print(f"  {problem}")
            print(f"  again: {result['command']}", flush=True)
        if self._done % 100 == 0:
            print(f"{self._done} of {self._every} points, {self._bad} did not converge", flush=True)


def _table(known: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """Scenario by scenario."""
    heads = ("scenario", "calls", "crashes", "converged", "faults", "converged", "seconds")
    rows = [heads]
    for name, reference in known.items():
        own = [result for result in results if result["scenario"] == name]
        crashes = [result for result in own if result["point"].split(":")[0] in CRASHES]
        faults = [result for result in own if result not in crashes]
        rows.append(
            (
                name,
                str(len(reference["calls"])),
                str(len(crashes)),
                str(sum(not result["problems"] for result in crashes)),
                str(len(faults)),
                str(sum(not result["problems"] for result in faults)),
                f"{sum(result['seconds'] for result in own):.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["", lines[0], "-" * len(lines[0]), *lines[1:]])


def _kinds(results: list[dict[str, Any]]) -> str:
    """Kind by kind: how many points there were, how many converged, and how many of those needed no further try."""
    lines = []
    for kind in (*CRASHES, *FAULTS):
        own = [result for result in results if result["point"].split(":")[0] == kind]
        good = [result for result in own if not result["problems"]]
        first = sum(result["tries"] == 1 for result in good)
        if own:
            lines.append(
                f"{kind:8} {len(own):5} points, {len(good):5} converged, {first:5} of them within the first try"
            )
    return "\n".join(["", *lines, ""])


if __name__ == "__main__":
    sys.exit(main())
