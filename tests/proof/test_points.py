"""Crash at every call, fault at every call: a share of it; `make proof` runs the whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARE = 10
"""Every tenth call of every scenario and kind, one at least; others every day."""


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(1500)
def test_a_share_of_all_points_converges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever dies or is refused at one call: the next try comes to what an undisturbed run comes to."""
    report = tmp_path / "proof.json"
    offset = int(time.time() // 86400)
    command = ["-m", "proof.points", "--share", str(SHARE), "--offset", str(offset), "--json", str(report)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], cwd=ROOT, capture_output=True, text=True, timeout=1400, check=False
    )
    with capsys.disabled():  # the share that ran is seen in CI
        print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = json.loads(report.read_text())
    kinds = {(point["scenario"], point["point"].split(":")[0]) for point in found["points"]}
    assert len(kinds) == 9 * len(found["references"]), "every kind in every scenario"
    assert all(point["method"] for point in found["points"]), "every fault hit a call"
