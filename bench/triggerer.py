"""What waiting for many Composer operations costs a triggerer, beside the google provider: `make bench-triggerer`.

A thousand triggers run in one event loop, as the triggerer runs them, against `bench.operations` on the loopback; ours
(`ComposerOperationTrigger`), then the google provider's (`CloudComposerExecutionTrigger`), each in a process of its own
and with the same interval. Printed are the calls that the server counted in an interval, how late the loop was at most
(a task that sleeps 10 ms and looks how long that took), CPU seconds and memory of the process. The first look of ours
comes ten seconds after the start; theirs at once.

Network latency is not played: a call takes a millisecond here, and 50 or more at Google. That is in favour of whoever
makes more calls.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.operations import HOST, PARENT, name_of
from bench.results import beside, equal, verdict

TRIGGERS = 1000
INTERVAL = 5.0
INTERVALS = 2
"""Whole intervals that are measured after the first look."""
LAG = 100
"""Milliseconds for which the event loop may be held at the most."""
UNITS = {
    "calls in an interval": ("calls in an interval", "calls"),
    "lag at the start, ms": ("event loop held, at the start", "ms"),
    "lag afterwards, ms": ("event loop held, afterwards", "ms"),
    "CPU, s": ("CPU", "s"),
    "memory, MB": ("memory", "MB"),
}
"""What is set beside the peer's: how the table names it, and its unit."""
_CONNECTION = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "acme-data"}}


def ours(number: int) -> Any:
    """A trigger of ours."""
    from airflow_gar_provider.triggers.operation import ComposerOperationTrigger  # noqa: PLC0415

    return ComposerOperationTrigger(
        operation=name_of(number),
        ours=True,
        deadline=time.time() + 3600,
        poll_interval=INTERVAL,
        gcp_conn_id="google_cloud_default",
        impersonation_chain=None,
    )


def theirs(number: int) -> Any:
    """A trigger of the google provider."""
    from airflow.providers.google.cloud.triggers.cloud_composer import (  # noqa: PLC0415
        CloudComposerExecutionTrigger,
    )

    return CloudComposerExecutionTrigger(
        project_id="acme-data", region="europe-west1", operation_name=name_of(number), pooling_period_seconds=INTERVAL
    )


class Lag:
    """How late the loop is: the longest time that it was held."""

    def __init__(self) -> None:
        self.samples: list[float] = []

    async def watch(self) -> None:
        """Sleep 10 ms, again and again."""
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.01)
            self.samples.append((time.perf_counter() - begun - 0.01) * 1000)

    def take(self) -> tuple[float, float]:
        """The maximum and the 99th percentile since the last time: milliseconds."""
        samples, self.samples = sorted(self.samples) or [0.0], []
        return samples[-1], samples[int(len(samples) * 0.99) - 1]


async def control(what: str) -> dict[str, int]:
    """Ask the server for its counts, or to end all operations."""
    import grpc  # noqa: PLC0415
    from google.longrunning import operations_pb2  # noqa: PLC0415

    credentials = grpc.ssl_channel_credentials(Path(os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"]).read_bytes())
    target = f"127.0.0.1:{os.environ['BENCH_PORT']}"
    async with grpc.aio.secure_channel(target, credentials) as channel:
        call = channel.unary_unary("/google.longrunning.Operations/GetOperation")
        request = operations_pb2.GetOperationRequest(name=f"{PARENT}/operations/{what}")
        answer = operations_pb2.Operation.FromString(await call(request.SerializeToString()))
    return dict(json.loads(answer.error.message)) if answer.error.message else {}


def memory() -> float:
    """Megabytes of this process."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1000


async def measure(kind: str, count: int, first_look: float) -> dict[str, Any]:
    """Run the triggers to their events; what it took."""
    await control("stats")  # gRPC itself is loaded: its import is not what is measured
    before, cpu, lag = memory(), time.process_time(), Lag()
    watching = asyncio.create_task(lag.watch())

    async def run(number: int) -> Any:
        async for event in {"ours": ours, "theirs": theirs}[kind](number).run():
            return event.payload
        return None

    begun = time.perf_counter()
    running = []
    for number in range(count):
        running.append(asyncio.create_task(run(number)))
        await asyncio.sleep(0)  # as the triggerer starts them
    await asyncio.sleep(first_look + INTERVAL / 2)
    starting, calls_before = lag.take(), sum((await control("stats")).values())
    await asyncio.sleep(INTERVALS * INTERVAL)
    steady, counted, used = lag.take(), await control("stats"), time.process_time() - cpu
    waited = time.perf_counter() - begun
    held = memory()
    await control("end")
    ended = [event for event in await asyncio.gather(*running) if event]
    watching.cancel()
    return {
        "kind": kind,
        "calls in an interval": (sum(counted.values()) - calls_before) / INTERVALS,
        "calls": counted,
        "lag at the start, ms": starting[0],
        "lag afterwards, ms": steady[0],
        "lag afterwards, 99 %, ms": steady[1],
        "lag at the end, ms": lag.take()[0],
        "CPU, s": used,
        "CPU, % of a core": 100 * used / waited,
        "memory, MB": held - before,
        "events": len(ended),
    }


@contextlib.contextmanager
def serving(size: int) -> Iterator[dict[str, str]]:
    """The stand-in in a process of its own; yields the variables that lead Google's clients to it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.operations", str(size), str(folder)], stdin=subprocess.PIPE
        )
        assert process.stdin is not None
        try:
            while not (folder / "port").exists():
                if process.poll() is not None:
                    raise RuntimeError("the stand-in did not start")
                time.sleep(0.05)
            port = (folder / "port").read_text()
            yield {
                "BENCH_PORT": port,
                # Google's clients put `composer.` before it; names below localhost are this machine (RFC 6761).
                "GOOGLE_CLOUD_UNIVERSE_DOMAIN": f"{HOST.removeprefix('composer.')}:{port}",
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(folder / "ca.pem"),
                "GRPC_VERBOSITY": "ERROR",
                "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(_CONNECTION),
                "AIRFLOW_HOME": str(folder / "airflow"),
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            }
        finally:
            process.stdin.close()
            process.wait(10)


def child(kind: str, count: int) -> None:
    """Measure in this process; the result is the last line. Airflow itself is loaded, as in a triggerer."""
    import airflow.models  # noqa: PLC0415
    import airflow.triggers.base  # noqa: PLC0415

    with contextlib.suppress(ImportError):
        import airflow.sdk  # noqa: F401, PLC0415

    print(json.dumps(asyncio.run(measure(kind, count, 10.0 if kind == "ours" else 0.0))))


def main() -> int:
    """Measure both and print them side by side; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triggers", type=int, default=TRIGGERS)
    parser.add_argument("--child", choices=("ours", "theirs"))
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.triggers)
        return 0
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    results = []
    for kind in ("ours", "theirs"):
        with serving(arguments.triggers + 200) as variables:
            done = subprocess.run(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "bench.triggerer",
                    "--child",
                    kind,
                    f"--triggers={arguments.triggers}",
                ],
                env={**kept, **variables},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                timeout=300,
            )
            results.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{arguments.triggers} operations in flight, one event loop, a look every {INTERVAL:.0f} s")
    print(f"{'':28}{'ours':>16}{'google provider':>18}")
    for title in results[0]:
        if title not in ("kind", "calls"):
            print(f"{title:28}{results[0][title]:16.1f}{results[1][title]:18.1f}")
    for title, (name, unit) in UNITS.items():
        what = f"{arguments.triggers} waits in one triggerer: {name}"
        beside(what, results[0][title], "google provider's trigger", results[1][title], unit)
    print("\ntargets")
    met = [
        verdict("the event loop held, at the start", results[0]["lag at the start, ms"], LAG, "ms"),
        verdict("the event loop held, afterwards", results[0]["lag afterwards, ms"], LAG, "ms"),
        equal("operations of which the end was told", results[0]["events"], arguments.triggers),
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
