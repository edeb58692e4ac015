"""All benchmarks, one after the other, and the page that README quotes: `make bench`, some ten minutes.

Each benchmark is a module of its own that prints what it measures; what it keeps (`bench.results`) becomes
docs/benchmarks.md: a table beside peers, the targets, the day and the machine. README has the first table between two
comments; it is written there, too. Nothing else may be running: a number from a busy machine says little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.results import FILE

ROOT = Path(__file__).parents[1]
PAGE, README = ROOT / "docs" / "benchmarks.md", ROOT / "README.md"
BEGIN, END = "<!-- bench: written by `make bench` -->", "<!-- bench: end -->"
BENCHMARKS = {
    "bench.publish": "what publishing costs, beside twine and uv; what importing costs a DAG file",
    "bench.triggerer": "what a thousand waits cost a triggerer, beside the google provider's trigger",
    "bench.fleet": "what a plan over a thousand environments costs, and the updates of a hundred",
    "bench.staged": "what a staged rollout costs beside its operations, in a real Airflow",
}
"""Module -> what it measures, in the order in which they run."""


def machine() -> str:
    """What a number depends on: processor, memory, versions."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    gib = f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown memory"
    name = cpu[1].strip() if cpu else platform.machine()
    python, airflow = platform.python_version(), version("apache-airflow")
    return f"{os.cpu_count()} cores ({name}), {gib}, Python {python}, Airflow {airflow}"


def number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def peers(results: Sequence[dict[str, Any]]) -> str:
    """The table beside peers."""
    return table(
        ("what", "ours", "peer", "peer's", "ours / peer's"),
        (
            (
                row["what"],
                f"{number(row['ours'])} {row['unit']}",
                row["peer"],
                f"{number(row['theirs'])} {row['unit']}",
                f"{row['ours'] / row['theirs']:.2g}" if row["theirs"] else "-",
            )
            for row in results
            if row["kind"] == "beside"
        ),
    )


def targets(results: Sequence[dict[str, Any]]) -> str:
    """The table of targets."""
    rows = (row for row in results if row["kind"] == "target")
    return table(
        ("target", "measured", "wanted", ""),
        ((row["what"], row["value"], row["wanted"], "met" if row["met"] else "**missed**") for row in rows),
    )


def page(made: str, results: Sequence[dict[str, Any]]) -> str:
    """docs/benchmarks.md."""
    told = "\n".join(f"- `{module}`: {what}" for module, what in BENCHMARKS.items())
    return f"""# Benchmarks

`make bench` wrote this page on {made}. Single runs, medians within them; the peers of a row were measured in the same
run as ours. Timings of another machine differ, ratios less. Google's network is not in them: everything is on the
loopback.

## Beside peers

{peers(results)}

## Targets

{targets(results)}

## What is measured

{told}

Each has its limits in its docstring: what is real, what is played, and in whose favour that is.
"""


def quoted(made: str, results: Sequence[dict[str, Any]]) -> str:
    """What README has between its two comments."""
    met = [row["met"] for row in results if row["kind"] == "target"]
    return f"{peers(results)}\n\nMeasured on {made}; {sum(met)} of {len(met)} [targets](docs/benchmarks.md) met."


def main() -> int:
    """Run, and write; 1 when a benchmark failed or a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*BENCHMARKS], help="run this one, and write nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gar-bench-") as folder:
        kept = Path(folder) / "results"
        kept.touch()
        failed = []
        for module in options.only or BENCHMARKS:
            begun = time.monotonic()
            print(f"\n== {module}: {BENCHMARKS[module]}", flush=True)
            environ = {**os.environ, FILE: str(kept)}
            done = subprocess.run([sys.executable, "-W", "ignore", "-m", module], cwd=ROOT, env=environ, check=False)
            if done.returncode:
                failed.append(module)
            print(f"== {module}: {time.monotonic() - begun:.0f} s, exit status {done.returncode}", flush=True)
        results = [json.loads(line) for line in kept.read_text().splitlines()]
    if not options.only:
        made = f"{datetime.now(timezone.utc):%Y-%m-%d}, {machine()}"
        PAGE.write_text(page(made, results))
        before, _, rest = README.read_text().partition(BEGIN)
        README.write_text(f"{before}{BEGIN}\n\n{quoted(made, results)}\n\n{END}{rest.partition(END)[2]}")
        print(f"\nwritten: {PAGE.relative_to(ROOT)}, and the table in {README.name}")
    print(f"\n{peers(results)}\n\n{targets(results)}")
    for module in failed:
        print(f"missed a target, or failed: {module}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
