"""Building a wheel, copying DAGs, running one in an environment."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.errors import BuildFailedError, EnvironmentDagError, InvalidInputError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.build import bare_environment, build
from airflow_gar_provider.steps.environment_dag import deploy_dags, run_environment_dag
from tests.conftest import Running
from tests.steps.conftest import QuickClock

# A build backend in the source tree itself: the build needs no package index.
BACKEND = """
import os, sys, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    print("variables:", sorted(os.environ))
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in {
            "tiny.py": "",
            "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n",
            "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "tiny-1.0.dist-info/RECORD": "",
        }.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


@pytest.fixture
def bucket(sandbox: Running, project: str) -> str:
    sandbox.setup(buckets=[f"{project}/{project}-builds"])
    return f"{project}-builds"


@pytest.mark.slow
def test_built_from_a_folder_and_from_an_archive(cloud: Cloud, source: Path, bucket: str, tmp_path: Path) -> None:
    """The same source gives the same bytes, from a folder or from a .tar.gz in a bucket, and lands in the bucket."""
    first = build(cloud.storage, str(source), f"gs://{bucket}/wheels")
    assert first["wheel"] == f"gs://{bucket}/wheels/tiny-1.0-py3-none-any.whl"
    assert (first["outcome"], first["package"], first["version"]) == ("built", "tiny", "1.0")
    archive = tmp_path / "tiny-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source, "tiny-1.0")
    cloud.storage.upload(bucket, "sdists/tiny-1.0.tar.gz", archive)
    second = build(cloud.storage, f"gs://{bucket}/sdists/tiny-1.0.tar.gz", f"gs://{bucket}/again/")
    assert second["sha256"] == first["sha256"]
    assert second["wheel"] == f"gs://{bucket}/again/tiny-1.0-py3-none-any.whl"


@pytest.mark.slow
def test_a_build_that_fails_shows_its_end(cloud: Cloud, source: Path, bucket: str) -> None:
    """The last lines of its output are in the error."""
    (source / "backend.py").write_text("raise RuntimeError('no compiler')")
    with pytest.raises(BuildFailedError, match="RuntimeError: no compiler"):
        build(cloud.storage, str(source), f"gs://{bucket}/wheels")


def test_a_build_gets_no_secrets() -> None:
    """No Airflow, no Google, no home of the worker's."""
    variables = {
        "PATH": "/bin",
        "PIP_CERT": "x",
        "AIRFLOW__CORE__FERNET_KEY": "secret",
        "AIRFLOW_CONN_A": "secret",
        "GOOGLE_APPLICATION_CREDENTIALS": "secret",
        "GCE_METADATA_HOST": "secret",
        "HOME": "/root",
        "MY_TOKEN": "secret",
    }
    kept = bare_environment(variables, Path("/h"))
    assert kept == {
        "PATH": "/bin",
        "PIP_CERT": "x",
        "HOME": "/h",
        "SOURCE_DATE_EPOCH": "1577836800",
        "PYTHONHASHSEED": "0",
    }


def test_sources_that_are_none(cloud: Cloud, bucket: str, tmp_path: Path) -> None:
    """Each says what is wrong with it."""
    (tmp_path / "x.tar.gz").write_text("no archive")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("nowhere", "there is no such source"),
        ("empty", "has neither pyproject.toml nor setup.py"),
        ("x.tar.gz", "cannot be unpacked"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            build(cloud.storage, str(tmp_path / name), f"gs://{bucket}/w")
    with pytest.raises(InvalidInputError, match="is not a Cloud Storage URI"):
        build(cloud.storage, str(tmp_path), "/tmp/w")


def test_deployed_once(cloud: Cloud, environment: EnvironmentName, tmp_path: Path) -> None:
    """Copied, unchanged, changed, deleted, unchanged."""
    found = cloud.composer.get_environment(environment)
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("1")
    two.write_text("2")
    glob = str(tmp_path / "*.py")
    assert deploy_dags(cloud.storage, found, glob)["message"] == "one.py, two.py copied to dev"
    assert deploy_dags(cloud.storage, found, glob)["outcome"] == "unchanged"
    two.write_text("2b")
    assert deploy_dags(cloud.storage, found, [str(one), str(two)])["message"] == "two.py copied to dev"
    assert cloud.storage.read(found.bucket, "dags/two.py") is not None
    assert deploy_dags(cloud.storage, found, str(two), delete=True)["message"] == "two.py deleted from dev"
    assert deploy_dags(cloud.storage, found, str(two), delete=True)["outcome"] == "unchanged"
    with pytest.raises(InvalidInputError, match="there is no such DAG file"):
        deploy_dags(cloud.storage, found, "/nowhere.py")
    with pytest.raises(InvalidInputError, match="no DAG file was named"):
        deploy_dags(cloud.storage, found, "")


DAG = """
from airflow.sdk import DAG, task
with DAG("numbers", schedule=None):
    @task
    def add(params=None, dag_run=None):
        conf = dag_run.conf or {}
        if conf.get("fail"):
            raise ValueError("as asked")
        print("adding for", conf)
        return {"sum": 1 + conf["n"]}
    add()
"""


@pytest.mark.slow
def test_run_in_an_environment(
    cloud: Cloud, environment: EnvironmentName, tmp_path: Path, clock: QuickClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs there, its log is shown here, what it returned comes back; a failure names the task and its error."""
    found = cloud.composer.get_environment(environment)
    airflow = cloud.airflow_of(found)
    (tmp_path / "numbers.py").write_text(DAG)
    (tmp_path / "broken.py").write_text("from airflow.sdk import DAG\nimport not_there  # dag\n")
    deploy_dags(cloud.storage, found, str(tmp_path / "*.py"))

    def run(dag_id: str, run_id: str, **conf: object) -> dict[str, object]:
        return run_environment_dag(
            airflow,
            found,
            dag_id,
            run_id=run_id,
            earlier_run_id=None,
            conf=conf,
            unpause=False,
            timeout=20_000,
            clock=clock,
        )

    caplog.set_level("INFO")
    result = run("numbers", "r1", n=2)
    assert result["outcome"] == "success"
    assert result["returned"] == {"add": {"sum": 3}}
    assert "adding for {'n': 2}" in caplog.text
    # The same run again, as a retry of a lost answer would ask: it is followed, not run twice.
    assert run("numbers", "r1", n=2)["run_id"] == "r1"
    with pytest.raises(EnvironmentDagError, match="task add: ValueError: as asked"):
        run("numbers", "r2", fail=True)
    with pytest.raises(
        EnvironmentDagError, match="cannot be imported in dev: ModuleNotFoundError: No module named 'not_there'"
    ):
        run("broken", "r1")
    with pytest.raises(EnvironmentDagError, match="does not know a DAG nobody"):
        run_environment_dag(
            airflow,
            found,
            "nobody",
            run_id="r",
            earlier_run_id=None,
            conf=None,
            unpause=False,
            timeout=1,
            clock=clock,
        )
