"""The guide "Getting started on Google Cloud", run as it stands on the sandbox, to the first rollout."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import airflow_gar_provider
from airflow_gar_provider.core.fleet_file import read_fleet
from tests.guide_shell import ROOT, World, blocks

GUIDE = (ROOT / "docs" / "getting-started-on-google-cloud.md").read_text(encoding="utf-8")
PROJECTS = ("acme-packages", "acme-management", "acme-dev", "acme-prod")
# What the script needs of a checkout.
PARTS = ("airflow_gar_provider", "example_dags", "example_packages", "pyproject.toml", "README.md", "LICENSE")
# Another version than what the sandbox's images have below them, so that pip really installs the wheel that was built.
BUILT = f"{airflow_gar_provider.__version__}.post1"
CONNECTION = json.dumps({"conn_type": "google_cloud_platform"})
# Composer has this connection from the start, the sandbox has none.
AS_COMPOSER_HAS_IT = f"""
gcloud composer environments update management --project=acme-management --location=europe-west1 \
    --update-env-variables='^;^AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT={CONNECTION}'
"""


def checkout(folder: Path) -> Path:
    """The top of the repository, as another version, with the guide's two files beside everything else."""
    folder.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    init = folder / "airflow_gar_provider" / "__init__.py"
    init.write_text(init.read_text().replace(f'"{airflow_gar_provider.__version__}"', f'"{BUILT}"'))
    (folder / "fleet.yaml").write_text(blocks(GUIDE, "yaml")[0])
    (folder / "mypythonlib_rollout.py").write_text(blocks(GUIDE, "python")[-1])
    return folder


def script() -> str:
    """The guide's blocks in their order; before the last one, what Composer has and the sandbox has not."""
    *first, last = blocks(GUIDE, "bash")
    return "\n".join([*first, AS_COMPOSER_HAS_IT, last])


@pytest.mark.slow
@pytest.mark.registry  # building the wheels fetches their backend
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_it_ends_with_a_rollout_by_identities_that_may_do_nothing_else(tmp_path: Path) -> None:
    """One script; the rollout's DAG runs in the management environment, with the wheel that was installed there."""
    world = World(tmp_path / "state", projects=PROJECTS)
    ran = world.run("bash", "-c", script(), cwd=checkout(tmp_path / "checkout"), timeout=1700)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r'"state": ?"success"', ran.stdout), ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1].split() == ["mypythonlib", "1.0.0"]
    status = world.status()
    packages = {item["name"].rpartition("/")[2]: item["packages"] for item in status["repositories"]}
    assert packages["python-private"] == [f"airflow-gar-provider {BUILT}", "mypythonlib 1.0.0"]
    declared = {name: item["packages"] for name, item in status["environments"].items()}
    assert declared == {
        "management": {"airflow-gar-provider": f"=={BUILT}"},
        "dev": {"mypythonlib": "==1.0.0"},
        "prod": {},
    }
    assert not re.search(r"ya29\.|oauth2accesstoken:", ran.stdout + ran.stderr)


def roles(text: str) -> list[str]:
    return sorted(set(re.findall(r"roles/[\w.]+", text)))


def test_terraform_says_what_gcloud_says() -> None:
    """The same services, repositories, accounts and roles; and the brackets are paired."""
    [terraform] = blocks(GUIDE, "hcl")
    shell = "\n".join(blocks(GUIDE, "bash"))
    assert roles(terraform) == roles(shell)
    for name in ("python-private", "python-public", "roller-dev", "roller-prod", "planner", "publisher", *PROJECTS):
        assert name in shell.replace("roller-$stage", "roller-dev roller-prod")
        assert name in terraform
    for opening, closing in ("{}", "[]", "()"):
        assert terraform.count(opening) == terraform.count(closing)


def test_its_fleet_and_dags_are_such() -> None:
    """The fleet has no mistake and one identity for each stage; the DAGs have the tasks that the text tells of."""
    text = blocks(GUIDE, "yaml")[0]
    fleet = read_fleet(text, "fleet.yaml")
    assert [stage.name for stage in fleet.stages] == ["dev", "prod"]
    chains = [stage["impersonation_chain"] for stage in yaml.safe_load(text)["stages"]]
    assert chains == [[f"roller-{name}@acme-management.iam.gserviceaccount.com"] for name in ("dev", "prod")]
    update = blocks(GUIDE, "python")[0]
    namespace: dict[str, Any] = {}
    exec(compile(update, "update_this_provider.py", "exec"), namespace)
    task = namespace["install"]
    assert task.dag.task_ids == ["install"]
    assert task.retries == 3


def test_its_scripts_are_bash() -> None:
    """Those that run, and those that nothing has run."""
    for block in [script(), *blocks(GUIDE, "sh")]:
        checked = subprocess.run(["bash", "-n", "-c", block], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
