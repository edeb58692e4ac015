"""An image is built by the real pip, as the environment's identity, and only by what the bucket's pip.conf says."""

from __future__ import annotations

import asyncio
import base64
import datetime
import importlib.metadata
import socketserver
import threading
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_gar_provider.sandbox.images import (
    DOCKERFILE_FAILED,
    BuildResult,
    build_image,
    create_image,
    installed_packages,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow


def publish(index: Path, name: str, version: str, *, requires: str | None = None) -> None:
    """Build a wheel with one module and put it into a folder that pip reads as an index."""
    module = name.replace("-", "_")
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    information = f"{module}-{version}.dist-info"
    requirement = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{module}.py", f"VERSION = {version!r}\n")
        file.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requirement}"
        )
        file.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{information}/RECORD", "")
    links = "".join(f'<a href="{file.name}">{file.name}</a>' for file in folder.glob("*.whl"))
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


def authority(folder: Path) -> Path:
    """Make a certificate file that pip accepts as a set of roots."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "ca.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., BuildResult]:
    ca_file = authority(tmp_path)

    def run(
        requirements: dict[str, str],
        pip_conf: str | None,
        *,
        proxy_url: str = "http://someone:secret-of-the-build@127.0.0.1:9",
        timeout: float = 100,
    ) -> BuildResult:
        printed: list[str] = []
        result = asyncio.run(
            build_image(
                tmp_path / "image",
                requirements=requirements,
                pip_conf=None if pip_conf is None else pip_conf.encode(),
                proxy_url=proxy_url,
                ca_file=ca_file,
                log=printed.append,
                timeout=timeout,
            )
        )
        assert tuple(printed) == result.log
        assert "secret-of-the-build" not in "\n".join(result.log)
        return result

    return run


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_an_empty_image_sees_the_base(tmp_path: Path) -> None:
    asyncio.run(create_image(tmp_path / "image"))
    found = asyncio.run(installed_packages(tmp_path / "image"))
    assert found["apache-airflow"] == importlib.metadata.version("apache-airflow")
    assert (tmp_path / "image" / "bin" / "airflow").stat().st_mode & 0o111


def test_a_build_installs_what_the_index_of_pip_conf_serves_and_leaves_the_base_alone(
    build: Callable[..., BuildResult], tmp_path: Path
) -> None:
    publish(tmp_path / "simple", "acme-distance", "1.2.0")
    result = build({"acme-distance": "==1.2.0"}, f"[global]\nindex-url = file://{tmp_path}/simple/\n")
    assert (result.succeeded, result.error) == (True, None)
    assert "+ python3 -m pip install --retries 2 -r requirements.txt --no-cache-dir" in result.log
    found = asyncio.run(installed_packages(tmp_path / "image"))
    assert found["acme-distance"] == "1.2.0"
    assert found["apache-airflow"] == importlib.metadata.version("apache-airflow")
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("acme-distance")


def test_a_version_that_nobody_serves_fails_the_build_with_pips_reason(
    build: Callable[..., BuildResult], tmp_path: Path
) -> None:
    publish(tmp_path / "simple", "acme-distance", "1.2.0")
    result = build({"acme-distance": "==9"}, f"[global]\nindex-url = file://{tmp_path}/simple/\n")
    assert result.succeeded is False
    assert result.error == (
        "Could not find a version that satisfies the requirement acme-distance==9 (from versions: 1.2.0)"
    )
    assert result.log[-1] == DOCKERFILE_FAILED.format(code=1)


def test_without_a_pip_conf_nothing_of_this_machines_configuration_gets_into_the_build(
    build: Callable[..., BuildResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "simple", "acme-distance", "1.2.0")
    (tmp_path / "home" / ".config" / "pip").mkdir(parents=True)
    leak = f"[global]\nextra-index-url = file://{tmp_path}/simple/\n"
    (tmp_path / "home" / ".config" / "pip" / "pip.conf").write_text(leak)
    (tmp_path / "xdg" / "pip").mkdir(parents=True)
    (tmp_path / "xdg" / "pip" / "pip.conf").write_text(leak)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "xdg"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "simple" / "acme-distance"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"file://{tmp_path}/simple/")
    refused = f"[global]\nindex-url = file://{tmp_path}/empty/\n"
    assert build({"acme-distance": ""}, refused).succeeded is False


def test_the_absence_of_a_pip_conf_is_said(build: Callable[..., BuildResult]) -> None:
    result = build({}, None)
    assert result.succeeded
    assert "No custom pip.conf file found." in result.log


def test_an_update_that_breaks_a_package_of_the_base_fails_with_the_line_of_pip_check(
    build: Callable[..., BuildResult], tmp_path: Path
) -> None:
    publish(tmp_path / "simple", "readme-renderer", "0.1")
    result = build({"readme-renderer": "==0.1"}, f"[global]\nindex-url = file://{tmp_path}/simple/\n")
    assert result.succeeded is False
    twine = importlib.metadata.version("twine")
    assert result.error is not None
    assert result.error.startswith(f"twine {twine} has requirement readme-renderer")
    assert result.error.endswith("but you have readme-renderer 0.1.")


def test_two_requirements_that_contradict_each_other_are_both_named(
    build: Callable[..., BuildResult], tmp_path: Path
) -> None:
    publish(tmp_path / "simple", "acme-a", "1", requires="acme-core==1")
    publish(tmp_path / "simple", "acme-b", "1", requires="acme-core==2")
    publish(tmp_path / "simple", "acme-core", "1")
    publish(tmp_path / "simple", "acme-core", "2")
    result = build({"acme-a": "==1", "acme-b": "==1"}, f"[global]\nindex-url = file://{tmp_path}/simple/\n")
    assert result.succeeded is False
    assert result.error is not None
    assert "conflicting dependencies" in result.error
    assert "acme-a 1 depends on acme-core==1" in result.error
    assert "acme-b 1 depends on acme-core==2" in result.error


def test_a_broken_pip_conf_fails_the_build_and_its_credentials_are_not_in_the_error(
    build: Callable[..., BuildResult],
) -> None:
    result = build({}, "index-url = https://user:hunter2@python.invalid/simple/\n")
    assert result.succeeded is False
    assert result.error is not None
    assert "Configuration file could not be loaded" in result.error
    assert "hunter2" not in result.error


def test_pip_talks_to_the_index_through_the_proxy_as_the_environments_identity(
    build: Callable[..., BuildResult],
) -> None:
    seen: list[bytes] = []

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                seen.append(line)
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listening(Refuse) as port:
        result = build(
            {"acme-distance": ""},
            "[global]\nindex-url = https://python.invalid/simple/\nretries = 0\n",
            proxy_url=f"http://env1:secret-of-the-build@127.0.0.1:{port}",
        )
    assert result.succeeded is False
    assert b"CONNECT python.invalid:443 HTTP/1.1\r\n" in [line.replace(b"HTTP/1.0", b"HTTP/1.1") for line in seen]
    user = base64.b64encode(b"env1:secret-of-the-build").decode()
    assert any(line.lower().startswith(b"proxy-authorization:") and user.encode() in line for line in seen)


def test_a_build_that_takes_too_long_is_stopped(build: Callable[..., BuildResult], tmp_path: Path) -> None:
    gone = threading.Event()

    class Hang(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline():
                pass  # nothing is answered; the loop ends when pip is dead and its connection with it
            gone.set()

    with listening(Hang) as port:
        started = time.monotonic()
        result = build({"acme-distance": ""}, f"[global]\nindex-url = http://127.0.0.1:{port}/simple/\n", timeout=6)
        assert gone.wait(10)
    assert result.error == "The build did not finish within 6 seconds and was stopped."
    assert time.monotonic() - started < 30
