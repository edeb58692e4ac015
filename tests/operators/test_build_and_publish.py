"""From source to registry, by two tasks that share nothing but a bucket; and a disk that fills."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.operators import BuildWheelOperator, PublishWheelOperator
from tests.conftest import Running

# A build backend in the source tree itself: the build needs no package index.
BACKEND = """
import io, os, tarfile, zipfile
METADATA = "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n"
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in {
            "tiny.py": "",
            "tiny-1.0.dist-info/METADATA": METADATA,
            "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "tiny-1.0.dist-info/RECORD": "tiny.py,,\\ntiny-1.0.dist-info/METADATA,,\\ntiny-1.0.dist-info/WHEEL,,\\n",
        }.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return name
def build_sdist(directory, config_settings=None):
    name = "tiny-1.0.tar.gz"
    with tarfile.open(os.path.join(directory, name), "w:gz") as archive:
        for path in ("backend.py", "pyproject.toml"):
            archive.add(path, "tiny-1.0/" + path)
        info = tarfile.TarInfo("tiny-1.0/PKG-INFO")
        info.size = len(METADATA)
        archive.addfile(info, io.BytesIO(METADATA.encode()))
    return name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def make_source(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


@pytest.fixture
def bucket(sandbox: Running, project: str) -> str:
    sandbox.setup(buckets=[f"{project}/{project}-builds"])
    return f"{project}-builds"


@pytest.mark.slow
def test_two_workers_that_share_no_disk(
    conn: None,
    context: Any,
    cloud: Cloud,
    repository: RepositoryName,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first task's folder is gone when the second begins; the wheel and the sdist come through the bucket."""
    first, second = tmp_path / "first", tmp_path / "second"
    make_source(first / "tiny")
    monkeypatch.chdir(first)
    task = BuildWheelOperator(task_id="build", source="tiny", destination=f"gs://{bucket}/dist", sdist=True)
    built = task.execute(context)
    assert built["files"] == [
        f"gs://{bucket}/dist/tiny-1.0-py3-none-any.whl",
        f"gs://{bucket}/dist/tiny-1.0.tar.gz",
    ]
    assert built["wheel"] == built["files"][0]
    second.mkdir()
    monkeypatch.chdir(second)
    shutil.rmtree(first)
    result = PublishWheelOperator(task_id="publish", wheels=built["files"], repository=str(repository)).execute(context)
    assert [(file["file"], file["outcome"], file["warnings"]) for file in result["files"]] == [
        ("tiny-1.0-py3-none-any.whl", "uploaded", []),
        ("tiny-1.0.tar.gz", "uploaded", []),
    ]
    assert result["files"][0]["sha256"] == built["sha256"]
    assert list(second.iterdir()) == []
    assert {file.name for file in cloud.artifact_registry.list_files(repository)} == {
        "tiny-1.0-py3-none-any.whl",
        "tiny-1.0.tar.gz",
    }


# Files may grow to so many bytes: what a full disk is to a program, it meets here as EFBIG.
FULL = """
import resource, sys
from pathlib import Path
from airflow_gar_provider.errors import BuildFailedError
from airflow_gar_provider.steps.build import build
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
class Storage:
    def upload(self, *args):
        raise AssertionError("nothing was built")
try:
    build(Storage(), sys.argv[1], "gs://bucket/w", isolation=False)
except BuildFailedError as error:
    print(str(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["unpacking", "building"])
def test_a_disk_that_fills(tmp_path: Path, where: str) -> None:
    """It is a failed build with a remedy, wherever it happens, and nothing is kept."""
    source = make_source(tmp_path / "tiny")
    if where == "unpacking":
        (source / "data").write_bytes(bytes(200_000))
        given = shutil.make_archive(str(tmp_path / "tiny-1.0"), "gztar", tmp_path, "tiny")
    else:
        (source / "backend.py").write_text(BACKEND.replace('"tiny.py": ""', '"tiny.py": "#" * 200_000'))
        given = str(source)
    done = subprocess.run([sys.executable, "-c", FULL, given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = {"unpacking": "the worker's disk was full before the build ended", "building": "File too large"}
    assert expected[where] in done.stdout
    assert "next: " in done.stdout
