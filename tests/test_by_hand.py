"""README's "By hand", run as it stands: the real gcloud, twine and pip on a sandbox that keeps its state."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.guide_shell import ROOT, World, blocks

PARENT = "projects/acme-data/locations/europe-west1/environments"
PYTHON = "projects/acme-packages/locations/europe-west1/repositories/python"
KEY_FORM = r"_json_key_base64:[A-Za-z0-9+/=]+@"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.registry,  # building the wheel fetches its backend; pip asks the public index, too
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


def scripts() -> list[str]:
    """The scripts of the section."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## By hand\n")[2].partition("\n## ")[0]
    return blocks(section, "bash")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(
        tmp_path_factory.mktemp("by-hand") / "state",
        environments=tuple(f"{PARENT}/{name}" for name in ("dev", "staging")),
    )


@pytest.fixture(scope="module")
def walked(world: World) -> subprocess.CompletedProcess[str]:
    return world.run("bash", "-c", scripts()[0])


def test_the_road_ends_with_the_distance(walked: subprocess.CompletedProcess[str], world: World) -> None:
    """Refused without the role, with the log's reason; installed with it; the DAG prints what the package computes."""
    assert walked.returncode == 0, walked.stdout + walked.stderr
    assert "Created repository [python]." in walked.stderr
    refused, granted, installed = walked.stderr.partition("Updated IAM policy for repository [python].")
    assert "Failed to install Python packages." in refused
    assert granted
    assert "Failed" not in installed
    assert "ERROR: No matching distribution found for mypythonlib==1.0.0\n" in walked.stdout
    distance = re.fullmatch(r'"distance_km": ?([0-9.]+)', walked.stdout.splitlines()[-1])
    assert distance is not None, walked.stdout
    # By the haversine formula, between (1, 2) and (3, 4).
    assert float(distance.group(1)) == pytest.approx(314.4, abs=0.05)
    status = world.status()
    assert [item["packages"] for item in status["repositories"] if item["name"] == PYTHON] == [["mypythonlib 1.0.0"]]
    dev = status["environments"]["dev"]
    assert dev["packages"] == {"mypythonlib": "==1.0.0"}
    assert dev["last_operation"] == {"type": "UPDATE", "state": "SUCCEEDED", "error": ""}
    index = "https://europe-west1-python.pkg.dev/acme-packages/python/simple/"
    assert world.pip_conf("dev").split() == ["[global]", "extra-index-url", "=", index]


def test_the_way_of_2022_needs_no_role_of_the_environment(
    walked: subprocess.CompletedProcess[str], world: World
) -> None:
    """With a key in its pip.conf an environment installs that may not read the repository itself."""
    assert walked.returncode == 0
    ran = world.run("bash", "-c", scripts()[1])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.split()[-2:] == ["mypythonlib", "1.0.0"]
    assert world.status()["environments"]["staging"]["packages"] == {"mypythonlib": "==1.0.0"}
    policy = world.run("gcloud", "artifacts", "repositories", "get-iam-policy", PYTHON, "--format=json").stdout
    accounts = ("dev-sa@acme-data", "pip-reader@acme-packages")
    members = [f"serviceAccount:{account}.iam.gserviceaccount.com" for account in accounts]
    assert [sorted(item["members"]) for item in json.loads(policy)["bindings"]] == [members]
    assert re.search(KEY_FORM, world.pip_conf("staging"))
    # The key is nowhere else: not in what was printed, not in the files that the script made.
    assert not re.search(KEY_FORM, ran.stdout + ran.stderr)
    left = [file.name for file in world.state.parent.glob("tmp.*/*")]
    assert "pypirc" in left  # of the road: it is here that the scripts work
    assert "key.json" not in left
