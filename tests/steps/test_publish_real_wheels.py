"""Wheels that others made, from the index that this machine's pip is configured for: published, and installed back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.publish import publish
from tests.conftest import Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

pytestmark = [pytest.mark.slow, pytest.mark.registry]
BIN = Path(sys.executable).parent

WHEELS = {
    "pure": "idna==3.10",
    "pure, of two Pythons, metadata 2.0": "six==1.10.0",
    "metadata 2.0 and metadata.json": "pytz==2017.2",
    "metadata 2.1 with License-File": "python-dateutil==2.8.2",
    "metadata 2.1 with License-File, by setuptools 60": "setuptools==65.5.0",
    "metadata 2.4 with License-Expression": "packaging==25.0",
    "built by flit": "typing_extensions==4.12.2",
    "built by poetry": "rich==13.9.4",
    "capital letters": "PyYAML==6.0.2",
    "compiled": "MarkupSafe==3.0.2",
    "compiled, stable ABI": "cryptography==43.0.3",
    "a dotted name": "zope.interface==7.1.1",
    "a dotted name, pure": "ruamel.yaml==0.18.6",
    "a dotted name, namespace": "backports.tarfile==1.2.0",
    "a pre-release": "black==24.1a1",
    "data files and scripts": "wheel==0.45.1",
    "vendored dist-info folders": "pip==24.3.1",
    "large": "numpy==2.1.3",
    "larger": "pyarrow==18.0.0",
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Downloaded before anything points at the sandbox, and one of our own with a local version: no index has those."""
    folder = tmp_path_factory.mktemp("real")
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, *WHEELS.values()], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", *options[:1], "--no-binary", ":all:", *options[3:], "six==1.16.0"],
        check=True,
    )
    make_wheel(folder, "acme_local", "1.0+acme.1")
    return sorted(path for path in folder.iterdir())


def test_published_and_installed_back(
    cloud: Cloud,
    repository: RepositoryName,
    clock: QuickClock,
    real: list[Path],
    sandbox: Running,
    owner: str,
    tmp_path: Path,
) -> None:
    """All are accepted, whatever a strict reader thinks of them; pip and uv install each, byte for byte from ours."""
    files = check(real)
    assert len(files) == len(WHEELS) + 2
    findings = {item.name: item.warnings for _, item in files if item.warnings}
    assert any("metadata" in warning for warning in findings["pytz"])
    result = publish(cloud, files, repository, clock)
    assert {file["outcome"] for file in result["files"]} == {"uploaded"}
    assert publish(cloud, files, repository, clock)["outcome"] == "exists"
    index = repository.index_url.replace("https://", f"https://oauth2accesstoken:{sandbox.token(owner)}@")
    wheels = [item for _, item in files if item.filetype == "bdist_wheel"]
    pins = [f"{item.name}=={item.version} --hash=sha256:{item.sha256}\n" for item in wheels]
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("".join(pins))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-compile",
        "--index-url",
        index,
        "--no-deps",
        "--require-hashes",
    ]
    uv = [str(BIN / "uv"), "pip", "install", "--python", sys.executable, "--default-index", index, "--no-deps"]
    settings = {
        **{name: "" for name in os.environ if name.startswith(("UV_", "PIP_")) and name not in sandbox.env},
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_CACHE_DIR": "1",
        "UV_NO_CONFIG": "1",
        "UV_NO_CACHE": "1",
    }
    for name, command in (("pip", pip), ("uv", [*uv, "--require-hashes"])):
        site = tmp_path / name
        done = sandbox.run(*command, "--target", str(site), "--requirement", str(requirements), **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        installed = {canonicalize_name(path.name.split("-")[0]) for path in site.glob("*.dist-info")}
        assert installed == {item.name for item in wheels}
