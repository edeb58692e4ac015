"""A wheel: what its file name and its metadata say, whether they agree, and the form that uploads it."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import PurePosixPath
from typing import BinaryIO

from packaging.metadata import parse_email
from packaging.tags import Tag, parse_tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from airflow_gar_provider.errors import InvalidWheelError

# How `packaging` names metadata fields -> how the legacy upload form names them, where they differ.
_FORM_FIELD = {"platforms": "platform", "supported_platforms": "supported_platform", "license_files": "license_file"}
_CHUNK = 1 << 20
# A METADATA file of real packages stays below 1 MB; a wheel that claims more is not read into memory.
_METADATA_LIMIT = 10 << 20


@dataclass(frozen=True)
class Wheel:
    """A wheel that may be published."""

    file: str
    """The file's name, without a folder."""
    name: str
    """The PEP 503 name."""
    version: str
    """As the metadata writes it."""
    sha256: str
    """Hexadecimal."""
    blake2_256: str
    """Hexadecimal."""
    size: int
    """Bytes."""
    requires_python: str | None
    """PEP 440 specifier, or None."""
    requires_dist: tuple[str, ...]
    """PEP 508 requirements."""
    tags: frozenset[Tag]
    """What it runs on, from the file's name."""
    fields: tuple[tuple[str, str], ...]
    """The metadata as form fields of the upload, in order, several of a name where there are several values."""

    @classmethod
    def from_file(cls, file: str, stream: BinaryIO) -> Wheel:
        """Read and check a wheel; `stream` is the open, seekable file. Raises InvalidWheelError with all problems."""
        name, version, tags = _read_file_name(file)
        sha256, blake2, size = _hashes(stream)
        stream.seek(0)
        try:
            with zipfile.ZipFile(stream) as archive:
                metadata, wheel_tags = _read_archive(file, archive)
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise InvalidWheelError(file, [f"it is not a wheel (a readable zip file): {error}"]) from error
        raw, _ = parse_email(metadata)
        problems = list(_disagreements(raw.get("name"), raw.get("version"), name, version))
        if wheel_tags and wheel_tags != tags:
            problems.append(f"its name says {_tag_text(tags)}, its WHEEL file says {_tag_text(wheel_tags)}")
        if problems:
            raise InvalidWheelError(file, problems)
        return cls(
            file=file,
            name=name,
            version=str(raw["version"]),
            sha256=sha256,
            blake2_256=blake2,
            size=size,
            requires_python=raw.get("requires_python"),
            requires_dist=tuple(raw.get("requires_dist") or ()),
            tags=tags,
            fields=tuple(_form_fields(dict(raw))),
        )

    def form(self) -> list[tuple[str, str]]:
        """All fields of the upload form before the file's content, as twine 7 sends them."""
        python = self.file.removesuffix(".whl").split("-")[-3]
        return [
            *self.fields,
            ("pyversion", python),
            ("filetype", "bdist_wheel"),
            ("sha256_digest", self.sha256),
            ("blake2_256_digest", self.blake2_256),
            (":action", "file_upload"),
            ("protocol_version", "1"),
        ]


def _read_file_name(file: str) -> tuple[str, Version, frozenset[Tag]]:
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise InvalidWheelError(
            file, [f"its name is not that of a wheel (NAME-VERSION-PYTHON-ABI-PLATFORM.whl): {error}"]
        ) from error
    return name, version, tags


def _hashes(stream: BinaryIO) -> tuple[str, str, int]:
    """SHA-256, BLAKE2b-256 and the size, in one pass with constant memory."""
    sha256, blake2, size = hashlib.sha256(), hashlib.blake2b(digest_size=32), 0
    stream.seek(0)
    while chunk := stream.read(_CHUNK):
        sha256.update(chunk)
        blake2.update(chunk)
        size += len(chunk)
    return sha256.hexdigest(), blake2.hexdigest(), size


def _read_archive(file: str, archive: zipfile.ZipFile) -> tuple[bytes, frozenset[Tag]]:
    """The top-level METADATA and the tags of WHEEL; a damaged or hostile archive is a problem."""
    problems = [
        f"member {name!r} would be written outside the package" for name in archive.namelist() if _escapes(name)
    ]
    damaged = archive.testzip()
    if damaged is not None:
        problems.append(f"member {damaged!r} is damaged (its CRC does not match)")
    # A big wheel may carry METADATA files of vendored packages: only the top-level dist-info counts.
    folders = {name.split("/")[0] for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)}
    if len(folders) != 1:
        problems.append(f"it has {len(folders)} top-level .dist-info/METADATA files instead of one")
    if problems:
        raise InvalidWheelError(file, problems)
    folder = folders.pop()
    if archive.getinfo(f"{folder}/METADATA").file_size > _METADATA_LIMIT:
        raise InvalidWheelError(file, ["its METADATA is larger than 10 MB"])
    metadata = archive.read(f"{folder}/METADATA")
    if f"{folder}/WHEEL" not in archive.namelist():
        raise InvalidWheelError(file, [f"it has no {folder}/WHEEL"])
    wheel = BytesParser().parsebytes(archive.read(f"{folder}/WHEEL"))
    tags = frozenset(tag for line in wheel.get_all("Tag", []) for tag in parse_tag(line.strip()))
    return metadata, tags


def _escapes(member: str) -> bool:
    path = PurePosixPath(member.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match(r"[A-Za-z]:", member))


def _disagreements(name: str | None, version: str | None, file_name: str, file_version: Version) -> Iterator[str]:
    if not name or not version:
        yield "its metadata has no name or no version"
        return
    if canonicalize_name(name) != file_name:
        yield f"its file name says {file_name}, its metadata says {name}"
    try:
        if Version(version) != file_version:
            yield f"its file name says version {file_version}, its metadata says {version}"
    except InvalidVersion:
        yield f"its metadata's version {version!r} is not a PEP 440 version"


def _tag_text(tags: frozenset[Tag]) -> str:
    return ", ".join(sorted(str(tag) for tag in tags))


def _form_fields(raw: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Metadata as the legacy upload form writes it."""
    if raw.get("metadata_version") and Version(str(raw["metadata_version"])) < Version("2.4"):
        # Setuptools wrote License-File long before the field existed; an index may refuse it, so twine drops it too.
        raw.pop("license_files", None)
    for key, value in raw.items():
        field = _FORM_FIELD.get(key, key)
        if isinstance(value, dict):
            yield from ((field, f"{label}, {url}") for label, url in value.items())
        elif key == "keywords" and isinstance(value, list):
            yield field, ", ".join(value)
        elif isinstance(value, list):
            yield from ((field, str(item)) for item in value)
        else:
            yield field, str(value)
