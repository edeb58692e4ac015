"""What a DAG file pays for importing this package, after Airflow's own base."""

from __future__ import annotations

import json
import pkgutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import airflow_gar_provider

ROOMS = ("operators", "sensors", "triggers", "links", "assets", "rollout")
# What the base of an operator, a sensor, a trigger and an asset brings anyway.
_BASE = """
import importlib, json, re, sys, time
from pathlib import Path
try:
    import airflow.sdk
    from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, Asset
    from airflow.sdk.bases.operatorlink import BaseOperatorLink
    from airflow.sdk.bases.sensor import BaseSensorOperator
except ImportError:
    import airflow.models, airflow.sensors.base, airflow.datasets
import airflow.triggers.base, airflow.exceptions
def memory():
    return int(re.findall(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[0])
before, begun = memory(), time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([(time.perf_counter() - begun) * 1000, (memory() - before) / 1000]))
"""


def public_modules() -> list[str]:
    """Every module that a DAG file may import."""
    root = Path(airflow_gar_provider.__file__).parent
    names = []
    for room in ROOMS:
        if (root / f"{room}.py").exists() or (root / room).is_dir():
            names.append(f"airflow_gar_provider.{room}")
        if (root / room).is_dir():
            names += [f"airflow_gar_provider.{room}.{found.name}" for found in pkgutil.iter_modules([str(root / room)])]
    return names


def cost(names: list[str]) -> tuple[float, float]:
    """Milliseconds and megabytes of importing them in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BASE, *names], check=True, capture_output=True, text=True
    )
    milliseconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return milliseconds, megabytes


def import_costs(rounds: int) -> dict[str, tuple[float, float]]:
    """Print the cost of ours together, and of the google provider's Composer operators; medians, in ms and MB."""
    names = public_modules()
    google = ["airflow.providers.google.cloud.operators.cloud_composer"]
    print(f"\nimporting {len(names)} public modules after Airflow's base")
    found = {}
    for title, modules in (("ours", names), ("google's Composer operators", google)):
        milliseconds, megabytes = zip(*(cost(modules) for _ in range(rounds)), strict=True)
        print(f"  {title:28} {_spread(milliseconds, 'ms')}, {_spread(megabytes, 'MB')}")
        found[title] = (statistics.median(milliseconds), statistics.median(megabytes))
    return found


def _spread(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):7.1f} {unit} ({min(values):.1f} to {max(values):.1f})"
