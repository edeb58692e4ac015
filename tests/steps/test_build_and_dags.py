"""Building a wheel."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from airflow_gar_provider.errors import BuildFailedError, InvalidInputError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.build import bare_environment, build
from tests.conftest import Running

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
