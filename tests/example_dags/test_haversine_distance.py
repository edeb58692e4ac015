"""What the consuming DAG promises: it parses without the package, computes with it, and says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, haversine_distance
try:
    from airflow.dag_processing.dagbag import DagBag
    more = {"bundle_path": None, "bundle_name": "x"}
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag
    more = {"include_examples": False}
dag = DagBag(haversine_distance.__file__, **more).dags["haversine_distance"]
params = {name: dag.params[name] for name in dag.params}
print("RESULT", json.dumps(dag.get_task("print_distance").python_callable(params=params)))
"""


def run(folder: Path, *paths: Path, environment: str | None = None) -> subprocess.CompletedProcess[str]:
    """Read the DAG file as Airflow does, and call its task with the params' defaults."""
    environ = {key: value for key, value in os.environ.items() if key != "COMPOSER_ENVIRONMENT"}
    environ |= {"AIRFLOW_HOME": str(folder / "airflow"), "PYTHONDONTWRITEBYTECODE": "1"}
    environ["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT / "example_dags", *paths]))
    if environment is not None:
        environ["COMPOSER_ENVIRONMENT"] = environment
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environ, cwd=folder, capture_output=True, text=True, check=False
    )


def installed(folder: Path, version: str) -> Path:
    """A folder that holds the package as pip leaves it: the modules, and metadata with a version."""
    metadata = folder / f"mypythonlib-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mypythonlib\nVersion: {version}\n")
    (folder / "mypythonlib").symlink_to(ROOT / "example_packages" / "mypythonlib" / "src" / "mypythonlib")
    return folder


@pytest.mark.slow
def test_it_prints_and_returns_the_distance_and_the_version_that_is_installed(tmp_path: Path) -> None:
    result = run(tmp_path, installed(tmp_path / "site", "1.2.3"))
    assert result.returncode == 0, result.stderr
    assert "mypythonlib 1.2.3: the distance between (1, 2) and (3, 4) is 314.4 km\n" in result.stdout
    answer = json.loads(result.stdout.rpartition("RESULT ")[2])
    assert answer == {"distance_km": pytest.approx(314.4029, abs=1e-3), "package": "mypythonlib", "version": "1.2.3"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "where"),
    [("prod", "the environment 'prod'"), (None, "this Airflow (COMPOSER_ENVIRONMENT is not set)")],
)
def test_without_the_package_the_task_says_what_where_and_what_to_do(
    tmp_path: Path, environment: str | None, where: str
) -> None:
    result = run(tmp_path, environment=environment)
    assert result.returncode == 1
    assert f"ModuleNotFoundError: The private package 'mypythonlib' is not installed in {where}. " in result.stderr
    assert "InstallPrivatePackageOperator(environment=…, requirements='mypythonlib==…'" in result.stderr
