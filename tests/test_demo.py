"""`make demo` as a newcomer runs it: the story, then the road again with nothing to do. Nothing leaks on the way."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECRETS = [
    re.compile(rb"ya29\.[\w.-]{8,}"),
    re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    re.compile(rb"_json_key_base64:[A-Za-z0-9+/=]{8,}"),
    re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(rb"[Aa]uthorization['\"]?: ?['\"]?(?:Bearer|Basic) [\w.~+/=-]{12,}"),
]


def make(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments, f"STATE={state}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "110"},
    )


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def story(state: Path) -> subprocess.CompletedProcess[str]:
    return make("demo", "STORY=1", state=state)


def test_the_story_is_true(story: subprocess.CompletedProcess[str]) -> None:
    """Without access the install fails and its error names the cause and the cure; with access it installs."""
    assert story.returncode == 0, story.stdout + story.stderr
    told = flat(story.stdout)
    failed, installed = told.split("2. With access")
    for part in (
        "published mypythonlib-1.0.0-py3-none-any.whl to python",
        "may not read mypythonlib from the repository",
        "service account: dev-sa@acme-data.iam.gserviceaccount.com",
        "repository: projects/acme-packages/locations/europe-west1/repositories/python",
        "role to grant: roles/artifactregistry.reader",
        "ERROR: No matching distribution found for mypythonlib==1.0.0",
    ):
        assert part in failed
    for name in ("dev", "staging", "prod"):
        assert f"{name}-sa@acme-data.iam.gserviceaccount.com may now use repository python (reader)" in installed
        assert re.search(rf"{name} +mypythonlib +- +1\.0\.0 +installed +314\.4 km +\d+\.\d", story.stdout)


def test_a_second_run_is_a_no_op(story: subprocess.CompletedProcess[str], state: Path) -> None:
    """The plain demo on the story's state: every step finds its work done, and says so."""
    folder = state / "story"
    (state / "sandbox").symlink_to(folder / "sandbox")
    (state / "airflow").symlink_to(folder / "airflow")
    again = make("demo", state=state)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.rstrip().endswith("Nothing to do: every step found its work done already.")
    for name in ("dev", "staging", "prod"):
        assert re.search(rf"{name} +mypythonlib +1\.0\.0 +1\.0\.0 +nothing +314\.4 km +-", again.stdout)


def test_no_secret_is_in_anything_that_airflow_wrote(story: subprocess.CompletedProcess[str], state: Path) -> None:
    """Task logs, XComs, rendered fields, serialized DAGs, trigger rows: the database file and every log is searched."""
    assert story.returncode == 0
    searched = 0
    for path in sorted((state / "story" / "airflow").rglob("*")):
        if path.is_file() and path.name != "airflow.cfg":  # Airflow's own keys, made for this folder
            content = path.read_bytes()
            searched += 1
            for secret in SECRETS:
                found = secret.search(content)
                assert not found, f"{path.name}: {found[0][:20]!r}…" if found else ""
    assert searched > 20
    for secret in SECRETS:
        assert not secret.search((story.stdout + story.stderr).encode())
