"""Soak: `python -m proof.soak --seed N --events 10000`, and after it an independent checker (`proof.checker`).

Rounds follow each other, each in a world of its own: a registry, a dozen environments, two fleets that share one of
them. DAG runs begin (installs, rollouts, publications, rotations of keys, undoings, prunings), several at once, and of
each rollout several environments at once; other people update packages, write pip.conf (some of them blindly), set
variables and publish; calls fail and processes are killed. A round ends when what was begun has ended.

**An event** is a call of the product's to Google, an act of somebody else, a fault that hit, a kill, or the beginning
of a task's try; each kind is counted.

**A seed decides everything**: what is asked, what others do, what fails, who dies, and, because only one process runs
at a time and the others wait in the sandbox (`soak_turns`), the order of all calls. Not from the seed are ids, keys and
the moments at which the product asks the wall clock; they decide no order. `--round K` replays one round alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from proof import checker_rules  # noqa: F401 -- now, not in the middle of a long run
from proof.checker import check
from proof.soak_round import Round
from proof.worker import warm

ROUND = 1000
"""Events after which nothing new begins in a round."""


def main() -> int:
    """Rounds until there are enough events; 1 when the checker has found something."""
    options = _options()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="gar-soak-"))
    warm(folder)
    counts: Counter[str] = Counter()
    violations: list[str] = []
    begun, number = time.perf_counter(), options.first if options.round is None else options.round
    events = 0
    while events < options.events:
        home = folder / f"round{number}"
        home.mkdir(parents=True, exist_ok=True)
        played = Round(options.seed, number, min(ROUND, options.events - events), home)
        history = json.loads(json.dumps(played.play(), default=str))
        (home / "history.json").write_text(json.dumps(history, indent=1))
        found = check(history)
        counts += played.counts
        events += played.events
        violations += [f"seed {options.seed}, round {number}: {line}" for line in found]
        spent = time.perf_counter() - begun
        print(f"round {number}: {played.events} events, {len(found)} violations, {spent:.0f} s", flush=True)
        for line in found:
            print(f"  {line}", flush=True)
        if options.round is not None:
            break
        number += 1
    print(_table(counts, events))
    print(f"seed {options.seed}: {events} events in {time.perf_counter() - begun:.0f} s, {len(violations)} violations")
    if violations:
        print(f"a round again: python -m proof.soak --seed {options.seed} --round K; histories: {folder}")
    return 1 if violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=10_000, help="of all rounds together, at least")
    parser.add_argument("--round", type=int, help="only this one")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="K", help="begin with this round")
    parser.add_argument("--keep", type=Path, help="a folder for histories, journals and logs")
    return parser.parse_args()


def _table(counts: Counter[str], events: int) -> str:
    rows = [("events", events)]
    rows += sorted((kind, count) for kind, count in counts.items() if not kind.startswith(("run:", "fault:", "call:")))
    for head, prefix in (("DAG runs", "run:"), ("faults", "fault:"), ("calls", "call:")):
        own = sorted((kind.removeprefix(prefix), count) for kind, count in counts.items() if kind.startswith(prefix))
        rows += [(f"  {head}: {kind}", count) for kind, count in own]
    width = max(len(kind) for kind, _ in rows)
    return "\n".join(f"{kind.ljust(width)}  {count:6d}" for kind, count in rows)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
