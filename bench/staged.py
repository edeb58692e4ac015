"""What a staged rollout costs beside its operations: the last part of `make bench-fleet`.

Twelve environments in three stages, in a real Airflow: api-server, scheduler, dag-processor and triggerer are
processes, `roll_out` is what a DAG file would have. The critical path is what no rollout could beat: for each stage,
as many operations one after the other as `max_parallel` makes necessary. Measured is from the plan's start to the end
of the last task. A stage is measured from the end of what was before it to its verdict.

Real here: Airflow, the operators, the triggers, Google's own clients, and the sandbox's Composer, registry and buckets.
An operation of the sandbox lasts `--seconds` of the wall clock, whatever its work. A Composer update of five minutes
is scaled down, and so is the poll interval (thirty seconds at five minutes); what Airflow does in between is not. So
the measured ratio is that of short operations; that of operations of five minutes has the same overhead, and more of
waiting for the look that sees an end: half of what the interval is longer, for each operation of the critical path.
`--seconds 300` scales nothing, and takes half an hour. Played: the images (no pip runs). Left out: the look at DAG
import errors, for which each environment would need an Airflow of its own on this machine.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.fleet import Google, cloud_of, in_sandbox, repository
from bench.fleet_google import SMALL, STATE, environments
from bench.publish import make_wheel
from bench.results import verdict

STAGES = {"dev": (2, 2), "canary": (4, 2), "prod": (6, 3)}
"""Name -> environments, and how many of them at a time."""
COMPOSER_SECONDS, POLL = 300.0, 30.0
"""What an update lasts at Composer, and the poll interval that goes with it."""
LIMIT = 1.15
DAG_ID = "staged"
DAG = """
from airflow.sdk import DAG
from airflow_gar_provider.rollout import Fleet, roll_out

with DAG({dag_id!r}, schedule=None):
    roll_out(Fleet.from_file("fleet.yaml"), repository={repository!r}, requirements="acme-lib0==1.0",
             poll_interval={poll}, skip_checks="import_errors")
"""


@dataclass(frozen=True)
class Span:
    """From when to when, in seconds since the epoch."""

    begin: float
    end: float


@dataclass(frozen=True)
class Row:
    """One stage."""

    name: str
    critical: float
    """Seconds."""
    whole: Span
    operations: tuple[Span, ...]

    @property
    def over(self) -> float:
        """Seconds that are not the critical path's."""
        return self.whole.end - self.whole.begin - self.critical

    @property
    def parts(self) -> tuple[float, float, float]:
        """Those seconds: before the first update, between updates, after the last one."""
        first, last = min(o.begin for o in self.operations), max(o.end for o in self.operations)
        return first - self.whole.begin, last - first - self.critical, self.whole.end - last


def prepare(google: Google, folder: Path, seconds: float) -> None:
    """The package in the registry, the DAG and its fleet in a folder, and how long operations last."""
    import zipfile  # noqa: PLC0415

    from airflow_gar_provider.steps.check import check  # noqa: PLC0415
    from airflow_gar_provider.steps.clock import Clock  # noqa: PLC0415
    from airflow_gar_provider.steps.publish import publish  # noqa: PLC0415
    from airflow_gar_provider.steps.repository import create_repository  # noqa: PLC0415

    cloud = cloud_of(google)
    create_repository(cloud.artifact_registry, repository())
    wheel = make_wheel(folder, "acme_lib0", [b"x = 1\n"], zipfile.ZIP_DEFLATED)
    publish(cloud, check([wheel]), repository(), Clock())
    names, lines = (
        environments(SMALL, sum(count for count, _ in STAGES.values())),
        [f"state: gs://{STATE}/gar", "stages:"],
    )
    for stage, (count, parallel) in STAGES.items():
        own, names = names[:count], names[count:]
        lines += [f"  - name: {stage}", f"    max_parallel: {parallel}", "    environments:"]
        lines += [f"      - {name}" for name in own]
    dags = folder / "dags"
    dags.mkdir()
    (dags / "fleet.yaml").write_text("\n".join(lines) + "\n")
    poll = max(1.0, POLL * seconds / COMPOSER_SECONDS)
    (dags / "staged.py").write_text(DAG.format(dag_id=DAG_ID, repository=str(repository()), poll=poll))
    google.post("time", {"operation_seconds": seconds})


def rolled_out(folder: Path, limit: float) -> tuple[str, dict[str, Span], int]:
    """Roll out once in a real Airflow: the run's state, when its tasks ran (without the mapped ones), further tries."""
    from demo.airflow_stack import AirflowStack  # noqa: PLC0415

    begun = time.monotonic()
    with AirflowStack(home=folder / "airflow", dags=folder / "dags", environ=os.environ, parallelism=6) as stack:
        stack.wait_for_dag(DAG_ID)
        print(f"  Airflow ready after {time.monotonic() - begun:.0f} s", flush=True)
        client, begun = stack.client, time.monotonic()
        run_id = client.trigger(DAG_ID, {})
        while (state := client.run_state(DAG_ID, run_id)) not in ("success", "failed"):
            stack.check()
            if time.monotonic() > begun + limit:
                state = f"{state} after {limit:.0f} s"
                break
            time.sleep(2)
        found = client._call("GET", f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=100")["task_instances"]
    spans = {
        task["task_id"].removeprefix("roll_out."): Span(_seconds(task["start_date"]), _seconds(task["end_date"]))
        for task in found
        if task["start_date"] and task["end_date"] and task["map_index"] < 0
    }
    return state, spans, sum(max(0, task["try_number"] - 1) for task in found)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def updates(google: Google) -> dict[str, Span]:
    """Environment -> when its update was under way; each has one."""
    cloud, found = cloud_of(google), {}
    for parent in {name.rpartition("/environments/")[0] for name in environments(SMALL, 12)}:
        page, _ = cloud.composer.operations_page(parent)
        for operation in page:
            if operation.kind == "UPDATE" and operation.created and operation.ended:
                assert operation.resource not in found, "one update for each environment"
                found[operation.resource] = Span(operation.created.timestamp(), operation.ended.timestamp())
    return found


def rows(seconds: float, tasks: Mapping[str, Span], operations: Mapping[str, Span]) -> list[Row]:
    """One for each stage."""
    names, before, made = environments(SMALL, 12), tasks["plan"].end, []
    for stage, (count, parallel) in STAGES.items():
        own, names = names[:count], names[count:]
        whole = Span(before, tasks[f"{stage}.verdict"].end)
        critical = math.ceil(count / parallel) * seconds
        made.append(Row(stage, critical, whole, tuple(operations[name] for name in own)))
        before = whole.end
    return made


def most(operations: tuple[Span, ...]) -> int:
    """The most that were under way at one time."""
    return max(sum(o.begin <= other.begin < o.end for o in operations) for other in operations)


def measure(google: Google, seconds: float) -> bool:
    """Roll out, print the table; whether the targets were met."""
    waves = {name: math.ceil(count / parallel) for name, (count, parallel) in STAGES.items()}
    poll = max(1.0, POLL * seconds / COMPOSER_SECONDS)
    print(f"\na staged rollout: operations of {seconds:.0f} s, poll_interval {poll:.0f} s, import errors not looked at")
    with tempfile.TemporaryDirectory(prefix="gar-bench-") as folder:
        prepare(google, Path(folder), seconds)
        state, tasks, tries = rolled_out(Path(folder), 3 * sum(waves.values()) * seconds + 600)
    if state != "success":
        print(f"  the run is {state}")
        return False
    found = rows(seconds, tasks, updates(google))
    whole = tasks["outcome"].end - tasks["plan"].begin
    critical = sum(row.critical for row in found)
    print(f"\n  {'stage':10}{'environments':>14}{'critical s':>12}{'measured s':>12}{'overhead s':>12}   of it before/")
    print(f"  {'':60}   between/after the updates")
    for row in found:
        count, parallel = STAGES[row.name]
        told = "/".join(f"{part:.0f}" for part in row.parts)
        shown = f"{count}, {parallel} at once"
        measured = row.whole.end - row.whole.begin
        print(f"  {row.name:10}{shown:>14}{row.critical:12.0f}{measured:12.1f}{row.over:12.1f}   {told}")
    plan, last = tasks["plan"].end - tasks["plan"].begin, tasks["outcome"].end - found[-1].whole.end
    print(f"  {'plan':10}{'':>14}{0:12}{plan:12.1f}{plan:12.1f}\n  {'report':10}{'':>14}{0:12}{last:12.1f}{last:12.1f}")
    over = whole - critical
    print(f"  {'all':10}{'':>14}{critical:12.0f}{whole:12.1f}{over:12.1f}   {over / len(found):.1f} s for each stage")
    print(f"  {tries} further tries; {whole / critical:.2f} x the critical path of operations of {seconds:.0f} s")
    print("\ntargets")
    count = sum(waves.values())
    long = count * COMPOSER_SECONDS
    ratio = (long + over + count * (POLL - poll) / 2) / long
    return all(
        [
            verdict("the rollout / its critical path, operations of 300 s", ratio, LIMIT),
            *(
                verdict(f"updates of {row.name} at a time", most(row.operations), STAGES[row.name][1], "updates")
                for row in found
            ),
        ]
    )


def main() -> int:
    """Start the sandbox, then measure in a process of its own; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="what an operation lasts")
    parser.add_argument("--port", type=int, help="measure against the sandbox that listens there")
    options = parser.parse_args()
    if options.port:
        return 0 if measure(Google(options.port), options.seconds) else 1
    return in_sandbox("bench.staged", (0, 12), ["--seconds", str(options.seconds)])


if __name__ == "__main__":
    sys.exit(main())
