"""Wheels built in code: no binary file in the repository, and every fault on demand."""

from __future__ import annotations

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
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
    return path
