"""The example DAGs, run for real: in a process of their own, because their sandbox is one of their own.

gRPC reads its certificates once in a process, and the sandbox of the other tests has others. Theirs has another time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WALK = Path(__file__).with_name("walk_example_dags.py")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_example_runs_unchanged() -> None:
    """The form, nightly, on publish, roll back, a team's DAG and the rotation of a key: see `walk_example_dags.py`."""
    command = [sys.executable, "-m", "pytest", str(WALK), "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=WALK.parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    assert "4 passed" in done.stdout
