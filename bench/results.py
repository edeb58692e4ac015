"""What a benchmark found: printed, and kept for the page that `make bench` writes (`bench.__main__`)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

FILE = "GAR_BENCH_RESULTS"
"""The environment variable that names the file of JSON lines to which results are added; without it none are kept."""


def beside(what: str, ours: float, peer: str, theirs: float, unit: str) -> None:
    """Keep a row that sets ours beside a peer's; both were measured in one run, in the same unit."""
    _keep({"kind": "beside", "what": what, "ours": ours, "peer": peer, "theirs": theirs, "unit": unit})


def verdict(text: str, value: float, limit: float, unit: str = "x") -> bool:
    """Print a target and whether it was met."""
    return _target(text, f"{value:.2f} {unit}", f"at most {limit:g} {unit}", met=value <= limit)


def equal(text: str, found: int, expected: int) -> bool:
    """Print a count that has to be exact, and whether it is."""
    return _target(text, str(found), f"exactly {expected}", met=found == expected)


def by_method(text: str, found: Mapping[str, int], expected: Mapping[str, int]) -> bool:
    """Print calls by method that have to be exactly these, and whether they are."""
    met = dict(found) == dict(expected)
    if not met:
        print(f"  expected {dict(expected)}, found {dict(found)}")
    return _target(text, f"{sum(found.values())} calls", f"exactly {sum(expected.values())}, method by method", met=met)


def _target(text: str, value: str, wanted: str, *, met: bool) -> bool:
    print(f"  {'met   ' if met else 'MISSED'} {text}: {value} ({wanted})")
    _keep({"kind": "target", "what": text, "value": value, "wanted": wanted, "met": met})
    return met


def _keep(row: dict[str, object]) -> None:
    if path := os.environ.get(FILE):
        with Path(path).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")
