"""`make fuzz MINUTES=60`: the properties of tests/fuzz and tests/core, again and again, with another seed each time.

What is counted are examples: inputs that hypothesis made and that went through a property. A failure is printed with
the input that hypothesis shrank it to (it belongs into the test, as an `@example`), and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, settings

PLACES = ("tests/fuzz", "tests/core")
EXAMPLES = 400
"""Of each property in a round; properties with a number of their own keep it."""
_TEST = re.compile(r"^(tests/\S+::\w+)(?:\[.*\])?:$")
_PHASE = re.compile(r"- (\d+) passing(?: examples?)?, (\d+) failing")


def pytest_configure() -> None:
    """As pytest's plugin: no deadline, which would judge the machine; and no help against slow data."""
    settings.register_profile("fuzz", deadline=None, suppress_health_check=list(HealthCheck))
    settings.load_profile("fuzz")


def examples_of(output: str) -> Counter[str]:
    """Test -> how many examples it ran, from pytest's output with hypothesis' statistics."""
    counts: Counter[str] = Counter()
    test = ""
    for line in output.splitlines():
        if match := _TEST.match(line.strip()):
            test = match[1]
        elif test and (match := _PHASE.search(line)):
            counts[test] += int(match[1]) + int(match[2])
    return counts


def round_of(seed: int, examples: int, timeout: float) -> tuple[Counter[str], str]:
    """Every property once; what was counted, and the output of a round that failed (empty: it did not)."""
    command = [
        *(sys.executable, "-m", "pytest", *PLACES, "-q", "-m", "hypothesis and not slow", "-p", "no:cacheprovider"),
        *("-p", "proof.fuzz"),
        *(f"--hypothesis-seed={seed}", "--hypothesis-show-statistics", "--timeout=1800", "--tb=short"),
    ]
    environ = {**os.environ, "FUZZ_EXAMPLES": str(examples)}
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else str(error.stdout or "")
        return examples_of(output), ""
    return examples_of(done.stdout), done.stdout + done.stderr if done.returncode else ""


def main() -> int:
    """Rounds until the time is over; a table, and the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of each property in a round")
    parser.add_argument("--seed", type=int, default=None, help="of the first round; the next ones count on")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 30)
    end = time.monotonic() + given.minutes * 60
    total: Counter[str] = Counter()
    failures, rounds = [], 0
    while rounds == 0 or time.monotonic() < end:
        counts, failed = round_of(seed, given.examples, max(end - time.monotonic(), 0) + 1800)
        total += counts
        rounds += 1
        print(f"round {rounds}, seed {seed}: {sum(counts.values())} examples{', FAILED' if failed else ''}", flush=True)
        if failed:
            failures.append((seed, failed))
            print(failed, flush=True)
        seed += 1
    width = max(map(len, total), default=0)
    for test, count in sorted(total.items()):
        print(f"{test:{width}}  {count:>9,}")
    print(
        f"{sum(total.values()):,} examples of {len(total)} properties in {rounds} rounds; {len(failures)} failed rounds"
    )
    for number, _ in failures:
        print(f"again: python -m proof.fuzz --minutes 0 --seed {number} --examples {given.examples}")
    return 1 if failures or not total else 0


if __name__ == "__main__":
    sys.exit(main())
