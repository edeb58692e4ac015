"""Build: a source tree becomes a wheel, with pypa/build, in a bare environment."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.redaction import LineRedactor
from airflow_gar_provider.errors import BuildFailedError, InvalidInputError
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.collect import split_gs

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


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def build(
    storage: Storage, source: str, destination: str, *, sdist: bool = False, isolation: bool = True
) -> dict[str, Any]:
    """Build a wheel from `source` and write it below the `gs://` prefix `destination`. Outcome: built.

    `sdist`: an sdist, too; the wheel is then built from it, as `python -m build` does.

    `source`: a folder, a `.tar.gz` sdist, or `gs://….tar.gz`. The build runs the source's own code with what the worker
    may do, so build only what you trust; wheels that CI built are better. Raises BuildFailedError with the end of the
    build's output, or because the disk was full.
    """
    bucket, prefix = split_gs(destination)
    if importlib.util.find_spec("build") is None:
        raise InvalidInputError(
            "pypa/build is not installed here",
            remedy="install airflow-gar-provider[build] on this environment, or publish a wheel that CI built",
        )
    uris = []
    with tempfile.TemporaryDirectory(prefix="gar-build-") as name, _disk(source):
        folder = Path(name)
        tree = _source_tree(storage, source, folder)
        files = check(_run(tree, folder, sdist=sdist, isolation=isolation))
        for path, item in files:
            target = f"{prefix.rstrip('/')}/{item.file}".lstrip("/")
            storage.upload(bucket, target, path)
            uris.append(f"gs://{bucket}/{target}")
    return _result(files[0][1], uris)


@contextmanager
def _disk(source: str) -> Iterator[None]:
    """A full disk is a failed build, not a bug."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise BuildFailedError(
            f"the worker's disk was full before the build ended: {error.strerror}",
            resource=source,
            remedy="give the worker more ephemeral storage, or publish a wheel that CI built",
        ) from error


def _result(wheel: Distribution, uris: list[str]) -> dict[str, Any]:
    """The wheel is the first of the files."""
    return {
        "outcome": "built",
        "message": f"built {', '.join(uri.rsplit('/', 1)[1] for uri in uris)} (wheel: {wheel.size} bytes)",
        "wheel": uris[0],
        "files": uris,
        "package": wheel.name,
        "version": wheel.version,
        "sha256": wheel.sha256,
    }


def _source_tree(storage: Storage, source: str, folder: Path) -> Path:
    path = Path(source).absolute()  # the build runs in a folder of its own
    if source.startswith("gs://"):
        bucket, name = split_gs(source)
        path = folder / "source.tar.gz"
        log.info("downloading %s", source)
        storage.download(bucket, name, path)
    if path.is_dir():
        if not (path / "pyproject.toml").exists() and not (path / "setup.py").exists():
            raise InvalidInputError("the source has neither pyproject.toml nor setup.py", resource=source)
        return path
    if not path.is_file():
        raise InvalidInputError("there is no such source", resource=source, remedy="give a folder or a .tar.gz")
    if not hasattr(tarfile, "data_filter"):
        raise InvalidInputError(
            "this Python unpacks archives without a filter against paths that lead outside",
            remedy="update it (3.10.12, 3.11.4 or later have tarfile's data filter), or give a folder",
        )
    tree = folder / "source"
    try:
        with tarfile.open(path) as archive:
            archive.extractall(tree, filter="data")  # no links or paths that lead outside
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise InvalidInputError(f"the source cannot be unpacked: {error}", resource=source) from error
    inner = [entry for entry in tree.iterdir() if entry.is_dir()]
    return inner[0] if len(inner) == 1 and not (tree / "pyproject.toml").exists() else tree


def _run(tree: Path, folder: Path, *, sdist: bool, isolation: bool) -> list[Path]:
    """Run pypa/build on the tree; its output goes to the log line by line. The wheel first, then the sdist."""
    output = folder / "dist"
    kinds = [] if sdist else ["--wheel"]  # without a kind: an sdist, and the wheel from it
    command = [sys.executable, "-m", "build", *kinds, "--outdir", str(output), str(tree)]
    if not isolation:
        command.insert(-1, "--no-isolation")
    home = folder / "home"
    home.mkdir()
    log.info("building a wheel from %s", tree)
    lines: list[str] = []
    redactor = LineRedactor()
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
        try:
            for line in process.stdout:
                lines.append(redactor.redact(line.rstrip()))
                log.info("build: %s", lines[-1])
                del lines[:-_KEPT_LINES]
        except BaseException:
            process.kill()  # the task's timeout: leaving the block would wait for the build
            raise
    wheels, sdists = sorted(output.glob("*.whl")), sorted(output.glob("*.tar.gz"))
    if process.returncode or len(wheels) != 1 or len(sdists) != int(sdist):
        tail = "\n".join(f"  | {line}" for line in lines)
        raise BuildFailedError(
            f"the build of {tree.name} ended with status {process.returncode} and {len(wheels)} wheels:\n{tail}",
            resource=str(tree),
            remedy="read the build's output above; `python -m build --wheel` shows the same on your machine",
        )
    return [*wheels, *sdists]


def bare_environment(variables: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables that a build gets: no `AIRFLOW_*`, no Google credentials, a HOME of its own."""
    kept = {name: value for name, value in variables.items() if name in _KEPT_VARIABLES or name.startswith("PIP_")}
    return {**kept, "HOME": str(home), "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "PYTHONHASHSEED": "0"}
