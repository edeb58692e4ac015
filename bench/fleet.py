"""What a fleet costs: `make bench-fleet`. Calls are counted by the sandbox, seconds are of this machine.

First a plan over a thousand environments in three locations, which have 21 packages each and, every second one, a
pip.conf that is right; then a hundred environments that get five packages each, through the steps that the mapped tasks
of a rollout run: turn, look at the plan, preflight, pip.conf, update, verification, verdict.

Real here: Google's own clients, the steps, and the sandbox's Composer, registry and buckets. Played: the images (no
pip runs: `bench.fleet_google`), so what an update lasts is not measured; and no Airflow runs. A call takes some
milliseconds on the loopback; the plan is measured again with 50 ms before each answer to a read of pip.conf. Each
pip.conf is asked for under the condition that it is not the one of the plan before.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import requests

from bench.fleet_google import CALLER, FLEET, LOCATIONS, PACKAGES, SMALL, STATE
from bench.publish import make_wheel
from bench.results import beside, by_method, equal, verdict

WANTED = tuple(f"acme-lib{number}==1.0" for number in range(5))
LATENCY = 0.05
PLACES = 8
"""Environments that are updated at a time in the second part."""
UPDATE = "UpdateEnvironment"
READ = "storage.objects.get"


@dataclass
class Google:
    """The sandbox's own paths."""

    port: int

    def __post_init__(self) -> None:
        self._http = requests.Session()
        self._http.trust_env = False

    def post(self, path: str, value: object) -> Any:
        """Set something."""
        answer = self._http.post(f"http://127.0.0.1:{self.port}/sandbox/{path}", json=value, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The record of calls."""
        answer = self._http.get(f"http://127.0.0.1:{self.port}/sandbox/calls", params={"since": since}, timeout=60)
        calls: list[dict[str, Any]] = answer.json()["calls"]
        return calls


class Discarded(logging.Handler):
    """Counts the connections that urllib3 throws away because its pool is full."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One record of urllib3's."""
        self.count += "pool is full" in record.getMessage()


def short(method: str) -> str:
    """A method's name without its service, `storage.objects.get` as it is."""
    return method if method.startswith("storage.") else method.rsplit(".", 1)[-1]


def planned(google: Google, title: str, **options: Any) -> tuple[Any, Counter[str], float]:
    """Make a plan of the thousand; the plan, its calls by method, and seconds."""
    from airflow_gar_provider.core.fleet import Find, Fleet, Identity, Stage  # noqa: PLC0415
    from airflow_gar_provider.steps.plan import make_plan  # noqa: PLC0415

    chain = ("gar-rollout@acme-management.iam.gserviceaccount.com",)
    stage = Stage("all", find=(Find((FLEET,), LOCATIONS),), max_parallel=50, identity=Identity("gar_fleet", chain))
    fleet, cloud, before = Fleet(f"gs://{STATE}/gar", (stage,)), cloud_of(google), len(google.calls())
    begun = time.perf_counter()
    plan = make_plan(
        lambda _: cloud, fleet, repository(), wanted(), run="bench/1", now=datetime.now(timezone.utc), **options
    )
    seconds = time.perf_counter() - begun
    print(f"  {title:44}{seconds:7.2f} s   {plan.counts()}", flush=True)
    return plan, Counter(short(call["method"]) for call in google.calls(before)), seconds


def wanted() -> Any:
    """Five packages for everybody."""
    from airflow_gar_provider.core.fleet import Packages  # noqa: PLC0415
    from airflow_gar_provider.core.planning import Request  # noqa: PLC0415
    from airflow_gar_provider.core.requirement import parse_requirements  # noqa: PLC0415

    return Request(Packages(parse_requirements(list(WANTED))))


def cloud_of(google: Google) -> Any:
    """Google as the caller sees it, with clients that were not used before."""
    from google.oauth2.credentials import Credentials  # noqa: PLC0415

    from airflow_gar_provider.gcp.cloud import Cloud  # noqa: PLC0415
    from airflow_gar_provider.gcp.session import Session  # noqa: PLC0415

    return Cloud(Session(Credentials(token=google.post("tokens", {"account": CALLER})["access_token"])))


def repository() -> Any:
    """Where the packages are."""
    from airflow_gar_provider.core.repository import RepositoryName  # noqa: PLC0415

    return RepositoryName.parse(f"projects/{PACKAGES}/locations/{LOCATIONS[0]}/repositories/python")


def prepare(google: Google, folder: Path, large: int) -> None:
    """The packages in the registry, and a pip.conf in every second environment."""
    import zipfile  # noqa: PLC0415

    from airflow_gar_provider.core import pip_conf  # noqa: PLC0415
    from airflow_gar_provider.steps.check import check  # noqa: PLC0415
    from airflow_gar_provider.steps.clock import Clock  # noqa: PLC0415
    from airflow_gar_provider.steps.point import PIP_CONF  # noqa: PLC0415
    from airflow_gar_provider.steps.publish import publish  # noqa: PLC0415
    from airflow_gar_provider.steps.repository import create_repository  # noqa: PLC0415

    cloud = cloud_of(google)
    create_repository(cloud.artifact_registry, repository())
    wheels = [make_wheel(folder, f"acme_lib{number}", [b"x = 1\n"], zipfile.ZIP_DEFLATED) for number in range(5)]
    publish(cloud, check(wheels), repository(), Clock())
    content = pip_conf.with_repository("", repository()).encode()
    found = [e for place in LOCATIONS for e in cloud.composer.list_environments(f"projects/{FLEET}/locations/{place}")]
    assert len(found) == large
    for environment in found[::2]:
        cloud.storage.write(environment.bucket, PIP_CONF, content)


def plans(google: Google, large: int) -> list[bool]:
    """The first part."""
    discarded = Discarded()
    logging.getLogger("urllib3.connectionpool").addHandler(discarded)
    print(f"\na plan over {large} environments in {len(LOCATIONS)} locations, {len(WANTED)} packages")
    glances: dict[Any, Any] = {}
    planned(google, "(the first one: imports, too)")
    _, plain, first = planned(google, "with pip.conf, nothing seen before", glances=glances)
    since = len(google.calls())
    plan, calls, seconds = planned(google, "with pip.conf, what was seen before is known", glances=glances)
    answers = Counter(call["status"] for call in google.calls(since) if short(call["method"]) == READ)
    print(
        f"  {'':4}{answers[304]} times not changed (304), {answers[404]} times none (404), {answers[200]} times content"
    )
    google.post("faults", {"method": READ, "kind": "delay", "seconds": LATENCY, "times": large})
    late = planned(google, f"the same, each answered {LATENCY * 1000:.0f} ms later", glances=glances)[2]
    _, bare, without = planned(google, "check_pip_conf=False", check_pip_conf=False)
    print(f"\n  {'calls':24}{'with pip.conf':>16}{'without':>10}")
    for method in sorted(calls | bare):
        print(f"  {method:24}{calls[method]:16}{bare[method]:10}")
    exact = {
        "ListEnvironments": len(LOCATIONS),
        "ListImageVersions": len(LOCATIONS),
        "GetRepository": 1,
        "ListFiles": len(WANTED),
        "Python-PackageVersions": len(WANTED),
    }
    item = max(size(mapped(item)) for item in plan.items)
    print(f"\n  mapped item {item} bytes; the plan's own item {max(size(i.to_json()) for i in plan.items)} bytes,")
    print(f"  the whole plan (an object in the bucket) {len(plan.dumps()) / 1e6:.2f} MB\n\ntargets")
    return [
        by_method("calls of a plan", plain, {**exact, READ: large}),
        by_method("calls of a plan that knows what was seen before", calls, {**exact, READ: large}),
        equal("pip.conf files that are not sent again", answers[304], (large + 1) // 2),
        verdict("seconds of a plan, nothing seen before", first, 5, "s"),
        by_method("calls of a plan without pip.conf", bare, exact),
        verdict("seconds of a plan", seconds, 5, "s"),
        verdict(f"seconds of a plan, {LATENCY * 1000:.0f} ms for each pip.conf", late, 10, "s"),
        verdict("seconds of a plan without pip.conf", without, 1, "s"),
        verdict("connections thrown away by a full pool", discarded.count, 0, "connections"),
        verdict("what a mapped task is given", item, 2048, "bytes"),
        verdict("what a mapped task is given, long names, 4 accounts", size(mapped(longest())), 2048, "bytes"),
    ]


def size(value: object) -> int:
    """Bytes as JSON."""
    return len(json.dumps(value).encode())


def mapped(item: Any) -> dict[str, Any]:
    """What BeginStageOperator hands to the mapped task of an item."""
    from airflow_gar_provider.operators import BeginStageOperator  # noqa: PLC0415

    operator = BeginStageOperator(task_id="begin", stage="all", state=f"gs://{STATE}/gar")
    return operator.mapped(item.environment, item.identity)


@dataclass(frozen=True)
class Named:
    """As much of an item as a mapped task is given."""

    environment: Any
    identity: Any


def longest() -> Named:
    """A project id of 30 characters, an environment of 64, a connection of 200, four accounts of 85 each."""
    from airflow_gar_provider.core.environment import EnvironmentName  # noqa: PLC0415
    from airflow_gar_provider.core.fleet import Identity  # noqa: PLC0415

    account = f"{'a' * 30}@{'p' * 30}.iam.gserviceaccount.com"
    name = EnvironmentName("p" * 30, "northamerica-northeast1", "e" * 64)
    return Named(name, Identity("c" * 200, (account,) * 4))


def roll_out_one(google: Google, state: Any, plan: Any, item: Any) -> str:
    """What a mapped task of a rollout does, without Airflow; the environment's outcome."""
    from airflow_gar_provider.steps.clock import Clock  # noqa: PLC0415
    from airflow_gar_provider.steps.install import install  # noqa: PLC0415
    from airflow_gar_provider.steps.roll_out import (  # noqa: PLC0415
        check_unchanged,
        check_wheels,
        enter,
        leave,
        verdict_of,
        wish_of,
    )

    cloud, clock = cloud_of(google), Clock()
    ended = enter(state, plan, item, clock, now=datetime.now(timezone.utc), attempt=1)
    if ended is not None:
        return str(ended.outcome)
    check_unchanged(cloud, plan, item)
    check_wheels(cloud, plan, item)
    # Import errors would be asked of an Airflow in each environment, which is not played.
    wish = wish_of(plan, item, import_errors=False)
    result = install(cloud, wish, clock, timeout=600, poll_interval=0.5)
    leave(state, plan, verdict_of(item, result, 0.0))
    return str(result["outcome"])


def updates(google: Google, small: int) -> list[bool]:
    """The second part."""
    from airflow_gar_provider.core.fleet import Find, Fleet, Stage  # noqa: PLC0415
    from airflow_gar_provider.steps.fleet_state import FleetState  # noqa: PLC0415
    from airflow_gar_provider.steps.plan import make_plan  # noqa: PLC0415

    cloud = cloud_of(google)
    fleet = Fleet(f"gs://{STATE}/gar", (Stage("all", find=(Find((SMALL,), LOCATIONS),), max_parallel=PLACES),))
    before, begun = len(google.calls()), time.perf_counter()
    counted = []
    for run in ("bench/2", "bench/3"):
        state, now = FleetState(cloud.storage, fleet.state, run), datetime.now(timezone.utc)
        plan = state.write_plan(make_plan(lambda _: cloud, fleet, repository(), wanted(), run=run, now=now))
        items = plan.of_stage("all")
        with ThreadPoolExecutor(PLACES) as pool:
            outcomes = Counter(
                pool.map(lambda item, state=state, plan=plan: roll_out_one(google, state, plan, item), items)
            )
        calls = google.calls(before)
        sent = sum(short(call["method"]) == UPDATE for call in calls)
        taken = sum(short(call["method"]) == UPDATE and call["status"] == 200 for call in calls)
        methods = Counter(short(call["method"]) for call in calls)
        counted.append((len(items), outcomes, sent, taken, len(calls), methods))
        before += len(calls)
    first, second = counted
    pins = {text.partition("==")[0] for text in WANTED}
    have = sum(
        pins <= set(environment.packages)
        for place in LOCATIONS
        for environment in cloud.composer.list_environments(f"projects/{SMALL}/locations/{place}")
    )
    print(f"\n{small} environments, {len(WANTED)} packages each (images played: no pip ran)")
    print(f"  {time.perf_counter() - begun:.0f} s in all, {PLACES} at a time")
    for title, (count, outcomes, sent, taken, every, _) in (("first rollout", first), ("again", second)):
        told = f"{count} environments to change, {dict(outcomes)}"
        print(f"  {title:14} {told}: {sent} UpdateEnvironment sent, {taken} taken; {every} calls in all")
    often = ", ".join(f"{name} {number / small:.1f}" for name, number in first[5].most_common(6))
    print(f"  calls for each environment of the first rollout, the most frequent ones: {often}")
    print(f"  {have} environments declare all {len(WANTED)} afterwards")
    print(f"  one package at a time: {small} x {len(WANTED)} = {small * len(WANTED)} updates (arithmetic, nothing ran)")
    what = f"updates for {small} environments, {len(WANTED)} packages each"
    beside(what, first[2], "one package at a time (arithmetic)", small * len(WANTED), "updates")
    print("\ntargets")
    return [
        equal("updates", first[2], small),
        equal("environments that have everything", have, small),
        equal("updates of a second rollout", second[2], 0),
    ]


def measure(port: int, large: int, small: int) -> int:
    """Both parts, in a process whose Google is the sandbox; 1 when a target was missed."""
    google = Google(port)
    with tempfile.TemporaryDirectory(prefix="gar-bench-") as folder:
        prepare(google, Path(folder), large)
    met = plans(google, large) + updates(google, small)
    return 0 if all(met) else 1


def main() -> int:
    """Start the sandbox, then measure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=1000, help="of the plan")
    parser.add_argument("--updates", type=int, default=100, help="environments that are updated")
    parser.add_argument("--port", type=int, help="measure against the sandbox that listens there")
    options = parser.parse_args()
    if options.port:
        return measure(options.port, options.environments, options.updates)
    sizes = ["--environments", str(options.environments), "--updates", str(options.updates)]
    return in_sandbox("bench.fleet", (options.environments, options.updates), sizes)


def in_sandbox(module: str, counts: tuple[int, int], options: Sequence[str]) -> int:
    """Start a Google with so many environments (large, small), run a module with `--port` there; its exit status."""
    begun = time.perf_counter()
    google = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "bench.fleet_google", *map(str, counts)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert google.stdin is not None
    assert google.stdout is not None
    try:
        ready = json.loads(google.stdout.readline())
        load, python = os.getloadavg()[0], sys.version.split()[0]
        print(f"{os.cpu_count()} cores, load {load:.1f}, Python {python}; ", end="")
        print(f"sandbox with {counts[0]}+{counts[1]} environments ready after {time.perf_counter() - begun:.0f} s")
        sys.stdout.flush()
        kept = {name: value for name, value in os.environ.items() if name not in ready["unset"]}
        with tempfile.TemporaryDirectory(prefix="gar-bench-") as home:
            quiet = {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING", "GRPC_VERBOSITY": "ERROR"}
            command = [sys.executable, "-W", "ignore", "-m", module, "--port", str(ready["port"]), *options]
            return subprocess.run(command, env={**kept, **ready["env"], **quiet}, check=False).returncode
    finally:
        google.stdin.close()
        google.wait(120)  # it deletes the folders of a thousand environments


if __name__ == "__main__":
    sys.exit(main())
