"""Which tests run beside which Airflow: the only place of the tests that looks at its version.

The whole suite runs beside the newest Airflow. Beside an older one (`make suite AIRFLOW=2.11.2`) everything runs that
says nothing else: `needs_airflow` marks a test of what an older one has not got, and what has nothing to do with
Airflow, or a program that only the newest one's requirements bring, is listed in `NEWEST_ONLY`. Both are printed.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest


def number(text: str) -> tuple[int, ...]:
    """`3.1.8` -> (3, 1)."""
    return tuple(int(part) for part in text.split(".")[:2])


ROOT = Path(__file__).parents[1]
AIRFLOW = version("apache-airflow")
NEWEST = (3, 3)
NEWEST_ONLY = {
    "tests/browser": "the newest Airflow's pages, in a browser",
    "tests/demo": "the demo is the newest Airflow",
    "tests/distributed": "Celery and its services come with the newest Airflow's requirements",
    "tests/proof/test_leaks_airflow.py": "its DAGs are those of the newest Airflow",
    "tests/proof/test_points.py": "calls to Google are counted and disturbed under the newest Airflow",
    "tests/sandbox/test_contract.py": "Google's documents of today describe the newest clients",
    "tests/sandbox/gcloud": "commands of gcloud and gsutil meet the sandbox alone",
    "tests/test_by_hand.py": "a guide's commands meet the sandbox alone",
    "tests/test_demo.py": "the demo is the newest Airflow",
    "tests/test_docs_build.py": "Sphinx comes with the newest Airflow's requirements",
    "tests/test_getting_started.py": "a guide's commands meet the sandbox alone",
    "tests/test_installs_beside.py": "it resolves beside the Airflows of Composer, whichever runs it",
}
API, NEW_RUN = ("/api/v2", {"logical_date": None}) if number(AIRFLOW) >= (3, 0) else ("/api/v1", {})
"""Where this Airflow's REST API is, and the body of a request for a run of now."""
IMAGE = f"composer-3-airflow-{number(AIRFLOW)[0]}"
"""The alias of Composer's image with this Airflow."""
_OTHER = "(another Airflow)"  # how a reason ends that this module gave


def left_out() -> dict[str, str]:
    """What is not collected beside this Airflow, with the reason."""
    return {} if number(AIRFLOW) >= NEWEST else NEWEST_ONLY


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_airflow(version, what): what this tests came with that Airflow")
    config.addinivalue_line("markers", "before_airflow(version, what): what this tests ended with that Airflow")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    inside = collection_path.relative_to(ROOT).as_posix() if collection_path.is_relative_to(ROOT) else ""
    return True if inside in left_out() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for wanted, newer in (("needs_airflow", True), ("before_airflow", False)):
            for mark in item.iter_markers(wanted):
                least, what = mark.args
                if (number(AIRFLOW) >= number(least)) is not newer:
                    verb = "came with" if newer else "ended with"
                    item.add_marker(pytest.mark.skip(reason=f"{what} {verb} Airflow {least} {_OTHER}"))
    _longest_first(items)


def _longest_first(items: list[pytest.Item]) -> None:
    """Files whose tests may last longest begin first, or the last one would run alone while other workers wait.

    How long is what their own time limits say; `slow` without one is more than the rest. (xdist would begin with those
    that have the most tests: `--no-loadscope-reorder` in the Makefile.)
    """
    limits: dict[Path, float] = {}
    for item in items:
        timeout = item.get_closest_marker("timeout")
        limit = float(timeout.args[0]) if timeout else 1.0 if item.get_closest_marker("slow") else 0.0
        limits[item.path] = max(limit, limits.get(item.path, 0.0))
    items.sort(key=lambda item: -limits[item.path])


def pytest_report_header() -> list[str]:
    return [f"Airflow {AIRFLOW}", *(f"not run beside it: {path} ({why})" for path, why in left_out().items())]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The closing line of a run, by which `make test-all` tells of each Airflow."""
    stats = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    other = sum(_OTHER in str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    counts = ", ".join(f"{count} {name}" for name, count in stats.items())
    share = 100 * other / max(1, sum(stats.values()))
    terminalreporter.write_line(f"Airflow {AIRFLOW}: {counts}; of these {other} ({share:.1f} %) need another Airflow")
