"""The wheel as it is shipped: what is in it, and what it says of itself."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_what_is_in_the_wheel(tmp_path: Path) -> None:
    """All modules, the examples where Airflow 3.3 looks for them, the entry point; no tests, no demo."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    [path] = tmp_path.glob("airflow_gar_provider-*.whl")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
        entries = archive.read(entry_points).decode()
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "airflow_gar_provider").rglob("*.py")}
    assert modules <= names
    assert "airflow_gar_provider/example_dags/publish_and_roll_out.py" in names
    assert "airflow_gar_provider/example_dags/haversine_distance.py" in names
    assert "provider_info = airflow_gar_provider.provider_info:get_provider_info" in entries
    assert not {name for name in names if name.split("/")[0] in ("tests", "demo", "example_packages")}
