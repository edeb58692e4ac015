"""The soak, a short one; `make soak` runs the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proof.checker import check

ROOT = Path(__file__).parents[2]


def soak(folder: Path, seed: int, events: int) -> tuple[str, dict[str, Any]]:
    """One round: what it printed, and its history."""
    options = ["--seed", str(seed), "--events", str(events), "--round", "0", "--keep", str(folder)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "proof.soak", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout, json.loads((folder / "round0" / "history.json").read_text())


def order(history: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Who did what, in which order; without what google-auth asks in a thread of its own, at times of its own."""
    found: list[tuple[Any, ...]] = []
    for step in history["steps"]:
        found.append((step["actor"], step.get("end"), step.get("act", {}).get("kind")))
        for number in range(*step.get("calls", (0, 0))):
            call = history["calls"][number - history["first_call"]]
            if not call["method"].endswith("GetAllowedLocations"):
                found.append((call["method"], call.get("fault"), call.get("status")))
    return found


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(2400)
def test_a_short_soak_has_no_violation_and_its_seed_replays_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs, others, faults and kills at once: nothing is lost, doubled or wrong; and once more, call for call."""
    told, history = soak(tmp_path / "one", 5, 100)
    with capsys.disabled():
        print(f"\n{told}")
    assert "0 violations" in told
    assert check(history) == []
    assert any(one["killed"] for one in history["tries"])
    assert any("fault" in call and not call["fault"].startswith("hold") for call in history["calls"])
    assert any(step["actor"] == "others" for step in history["steps"])
    assert len(history["calls"]) > 300, "events enough to mean something"
    _, again = soak(tmp_path / "two", 5, 100)
    assert order(again) == order(history)
