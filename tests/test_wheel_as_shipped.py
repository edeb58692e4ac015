"""The wheel as it is shipped: what is in it, and that it works where nothing but the wheel is of ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from airflow_gar_provider import __version__
from tests.rollout.walk_example_dags import FOLDER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
OURS = ("airflow_gar_provider", "_airflow_gar_provider", "__editable__")


@dataclass(frozen=True)
class Shipped:
    """A fresh environment with the wheel, beside the packages of the one that runs the tests."""

    python: Path
    site: Path
    """Where the wheel is installed."""
    home: Path
    """An AIRFLOW_HOME, and the working directory."""

    def run(self, *arguments: str, cwd: Path | None = None, **more: str) -> str:
        """What a command of this Python prints; it has to succeed."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "AIRFLOW", "PYTEST"))}
        env |= {"AIRFLOW_HOME": str(self.home), **more}
        command = [str(self.python), *arguments]
        done = subprocess.run(command, cwd=cwd or self.home, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-4000:]
        return done.stdout


@pytest.fixture(scope="module")
def shipped(shipped_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """All packages of this environment but ours are linked: neither the sources nor their metadata can be found."""
    base = tmp_path_factory.mktemp("shipped")
    others = base / "others"
    others.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(OURS):
            (others / entry.name).symlink_to(entry)
    venv.create(base / "venv", with_pip=False, symlinks=True)
    python = base / "venv" / "bin" / "python"
    [site] = (base / "venv").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{others}\n")
    options = ["--quiet", "--no-deps", "--no-index", str(shipped_wheel)]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *options]
    done = subprocess.run(install, cwd=base, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (base / "home").mkdir()
    return Shipped(python, site, base / "home")


def test_what_is_in_the_wheel(shipped_wheel: Path) -> None:
    """All modules, the examples where Airflow 3.3 looks for them, the entry point; no tests, no demo."""
    with zipfile.ZipFile(shipped_wheel) as archive:
        names = set(archive.namelist())
        [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
        entries = archive.read(entry_points).decode()
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "airflow_gar_provider").rglob("*.py")}
    assert modules <= names
    assert "airflow_gar_provider/example_dags/publish_and_roll_out.py" in names
    assert "airflow_gar_provider/example_dags/haversine_distance.py" in names
    assert "provider_info = airflow_gar_provider.provider_info:get_provider_info" in entries
    assert not {name for name in names if name.split("/")[0] in ("tests", "demo", "example_packages")}


def test_airflow_finds_the_provider(shipped: Shipped) -> None:
    """It is imported from the fresh environment, and Airflow lists it once, with its version."""
    where = shipped.run("-c", "import airflow_gar_provider; print(airflow_gar_provider.__file__)")
    assert where.strip() == str(shipped.site / "airflow_gar_provider" / "__init__.py")
    listed = shipped.run("-W", "ignore", "-m", "airflow", "providers", "list", "--output", "json")
    providers = json.loads(listed[listed.index("[{") :])
    found = [entry["version"] for entry in providers if entry["package_name"] == "airflow-gar-provider"]
    assert found == [__version__]


def test_every_example_runs_unchanged(shipped: Shipped, tmp_path: Path) -> None:
    """The form, nightly, on publish, roll back, a team's DAG and the rotation of a key: see `walk_example_dags.py`.

    Sandbox, Airflow and DAG files are those of the wheel. They run in a process of their own also because gRPC reads
    its certificates once in a process, and the sandbox of the other tests has others.
    """
    for name in ("tests", "demo", "example_packages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    walk = ["tests/rollout/walk_example_dags.py", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    examples = str(shipped.site / "airflow_gar_provider" / "example_dags")
    printed = shipped.run("-m", "pytest", *walk, cwd=tmp_path, **{FOLDER: examples})
    assert "4 passed" in printed
