"""The wheel beside what Composer preinstalls: it changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def resolved(requirements: list[str]) -> set[str]:
    """What a resolver would install for these, a line each; a dry run."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    platform = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--no-emit-index-url"]
    done = subprocess.run(
        [*command, *platform, "-"], input="\n".join(requirements), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {line for line in done.stdout.splitlines() if line and line[0].isalnum()}


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.parametrize(("airflow", "google"), [("3.2.2", "22.2.2"), ("2.11.1", "22.1.0")])
def test_composers_packages_stay_as_they_are(airflow: str, google: str, shipped_wheel: Path) -> None:
    """It installs with Google's registry client and nothing else, and all pins of the image hold."""
    image = resolved([f"apache-airflow=={airflow}", f"apache-airflow-providers-google=={google}"])
    assert len(image) > 200, "Airflow and the google provider bring more than that"

    with_ours = resolved([*image, f"airflow-gar-provider @ {shipped_wheel.as_uri()}"])

    assert image <= with_ours
    added = {line.split("==")[0].split(" @")[0] for line in with_ours - image}
    assert added <= {"airflow-gar-provider", "google-cloud-artifact-registry"}
    assert "airflow-gar-provider" in added
