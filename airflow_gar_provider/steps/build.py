"""Build: a source tree becomes a wheel, with pypa/build, in a bare environment."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import BuildFailedError, InvalidInputError
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.publish import read_wheels, split_gs

log = logging.getLogger(__name__)
_KEPT_LINES = 30
SOURCE_DATE_EPOCH = "1577836800"
"""2020-01-01. Build backends write it into the wheel, so that a second build of the same source has the same bytes:
a retry then finds its file published with the same SHA-256 instead of other content under the same name."""

# What pip and TLS need in order to reach the index that the worker is configured for; nothing of Airflow or Google.
_KEPT_VARIABLES = {
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
}


def build(storage: Storage, source: str, destination: str, *, isolation: bool = True) -> dict[str, Any]:
    """Build a wheel from `source` and write it below the `gs://` prefix `destination`. Outcome: built.

    `source`: a folder, a `.tar.gz` sdist, or `gs://….tar.gz`. The build runs the source's own code with what the worker
    may do, so build only what you trust; wheels that CI built are better. Raises BuildFailedError with the end of the
    build's output.
    """
    bucket, prefix = split_gs(destination)
    if importlib.util.find_spec("build") is None:
        raise InvalidInputError(
            "pypa/build is not installed here",
            remedy="install airflow-gar-provider[build] on this environment, or publish a wheel that CI built",
        )
    with tempfile.TemporaryDirectory(prefix="gar-build-") as name:
        folder = Path(name)
        tree = _source_tree(storage, source, folder)
        wheel_path = _run(tree, folder, isolation=isolation)
        [(_, wheel)] = read_wheels([wheel_path])
        target = f"{prefix.rstrip('/')}/{wheel.file}".lstrip("/")
        storage.upload(bucket, target, wheel_path)
    return _result(wheel, f"gs://{bucket}/{target}")


def _result(wheel: Wheel, uri: str) -> dict[str, Any]:
    return {
        "outcome": "built",
        "message": f"built {wheel.file} ({wheel.size} bytes)",
        "wheel": uri,
        "package": wheel.name,
        "version": wheel.version,
        "sha256": wheel.sha256,
    }


def _source_tree(storage: Storage, source: str, folder: Path) -> Path:
    path = Path(source)
    if source.startswith("gs://"):
        bucket, name = split_gs(source)
        path = folder / "source.tar.gz"
        storage.download(bucket, name, path)
    if path.is_dir():
        if not (path / "pyproject.toml").exists() and not (path / "setup.py").exists():
            raise InvalidInputError("the source has neither pyproject.toml nor setup.py", resource=source)
        return path
    if not path.is_file():
        raise InvalidInputError("there is no such source", resource=source, remedy="give a folder or a .tar.gz")
    tree = folder / "source"
    try:
        with tarfile.open(path) as archive:
            archive.extractall(tree, filter="data")  # no links or paths that lead outside
    except (tarfile.TarError, OSError) as error:
        raise InvalidInputError(f"the source cannot be unpacked: {error}", resource=source) from error
    inner = [entry for entry in tree.iterdir() if entry.is_dir()]
    return inner[0] if len(inner) == 1 and not (tree / "pyproject.toml").exists() else tree


def _run(tree: Path, folder: Path, *, isolation: bool) -> Path:
    """Run pypa/build on the tree; its output goes to the log line by line."""
    output = folder / "dist"
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(output), str(tree)]
    if not isolation:
        command.insert(-1, "--no-isolation")
    home = folder / "home"
    home.mkdir()
    log.info("building a wheel from %s", tree)
    lines: list[str] = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=bare_environment(os.environ, home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.info("build: %s", line.rstrip())
            lines.append(line.rstrip())
    wheels = sorted(output.glob("*.whl"))
    if process.returncode or len(wheels) != 1:
        tail = "\n".join(f"  | {line}" for line in lines[-_KEPT_LINES:])
        raise BuildFailedError(
            f"the build of {tree.name} ended with status {process.returncode} and {len(wheels)} wheels:\n{tail}",
            resource=str(tree),
            remedy="read the build's output above; `python -m build --wheel` shows the same on your machine",
        )
    return wheels[0]


def bare_environment(variables: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables that a build gets: no `AIRFLOW_*`, no Google credentials, a HOME of its own."""
    kept = {name: value for name, value in variables.items() if name in _KEPT_VARIABLES or name.startswith("PIP_")}
    return {**kept, "HOME": str(home), "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "PYTHONHASHSEED": "0"}
