"""Wheels and sdists built in code: no binary file in the repository, and every fault on demand."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str = "acme_demo",
    version: str = "1.0",
    *,
    file: str | None = None,
    tag: str = "py3-none-any",
    metadata: str = "",
    members: dict[str, str] | None = None,
    metadata_name: str | None = None,
    metadata_version: str | None = None,
) -> Path:
    """Write a small wheel; what its metadata says can differ from its file name."""
    path = folder / (file or f"{name}-{version}-{tag}.whl")
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in (members or {f"{name}.py": f"VERSION = {version!r}\n"}).items():
            archive.writestr(zipfile.ZipInfo(member), content)
        identity = f"Name: {metadata_name or name}\nVersion: {metadata_version or version}\n"
        text = f"Metadata-Version: 2.1\n{identity}{metadata}\n"
        archive.writestr(zipfile.ZipInfo(f"{info}/METADATA"), text)
        tags = "".join(
            f"Tag: {python}-{abi}-{platform}\n"
            for python in tag.split("-", maxsplit=1)[0].split(".")
            for abi in tag.split("-")[1].split(".")
            for platform in tag.split("-")[2].split(".")
        )
        archive.writestr(zipfile.ZipInfo(f"{info}/WHEEL"), f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n{tags}")
        names = [*archive.namelist(), f"{info}/RECORD"]
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "".join(f"{member},,\n" for member in names))
    return path


def make_sdist(
    folder: Path,
    name: str = "acme_demo",
    version: str = "1.0",
    *,
    metadata: str | None = None,
    members: dict[str, str] | None = None,
) -> Path:
    """Write a small sdist; `metadata` replaces its PKG-INFO, an empty one leaves it out."""
    path, root = folder / f"{name}-{version}.tar.gz", f"{name}-{version}"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" if metadata is None else metadata
    files = {f"{root}/{name}.py": "", **({f"{root}/PKG-INFO": text} if text else {}), **(members or {})}
    with tarfile.open(path, "w:gz") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
    return path
