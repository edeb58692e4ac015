"""An sdist: a source archive that is published beside its wheels."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from functools import partial
from typing import ClassVar

from packaging.utils import InvalidSdistFilename, parse_sdist_filename
from packaging.version import InvalidVersion

from airflow_gar_provider.core.digests import BLOCK, Opened, Together, in_turn, sha256_of
from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.metadata import LIMIT, CoreMetadata
from airflow_gar_provider.errors import InvalidWheelError

_UNREADABLE = (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError)
_MOST_BYTES, _MOST_RATIO = 1 << 30, 100
"""A bomb unpacks to more than this many bytes and this many times its size."""


class Sdist(Distribution):
    """A `.tar.gz` that may be published."""

    filetype: ClassVar[str] = "sdist"

    @classmethod
    def from_file(cls, file: str, opened: Opened, together: Together = in_turn) -> Sdist:
        """Read and check an sdist; `opened` opens the file. Raises InvalidWheelError with all problems."""
        try:
            name, version = parse_sdist_filename(file)
        except (InvalidSdistFilename, InvalidVersion) as error:
            raise InvalidWheelError(
                file, [f"its name is not that of an sdist (NAME-VERSION.tar.gz): {error}"]
            ) from error
        (sha256, size), (content, problems) = together([partial(sha256_of, opened), partial(_read, opened)])
        metadata = CoreMetadata.from_bytes(content)
        if not problems:
            problems += metadata.disagreements(name, version)
        if problems:
            raise InvalidWheelError(file, problems)
        return cls(
            file=file,
            name=name,
            version=str(metadata.text("version")),
            sha256=sha256,
            size=size,
            requires_python=metadata.text("requires_python"),
            requires_dist=metadata.lines("requires_dist"),
            fields=tuple(metadata.form()),
            written_name=str(metadata.text("name")),
            warnings=metadata.findings,
        )


def _read(opened: Opened) -> tuple[bytes, list[str]]:
    """The top-level PKG-INFO, and what is wrong with the archive. Read once, from start to end, in constant memory."""
    problems: list[str] = []
    metadata: bytes | None = None
    roots: set[str] = set()
    try:
        with opened() as stream:
            limit = max(_MOST_BYTES, _MOST_RATIO * stream.seek(0, 2))
            stream.seek(0)
            with gzip.GzipFile(fileobj=stream) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all, else
                    if member.offset_data + member.size > limit:
                        return b"", [*problems, f"it is a bomb: it unpacks to more than {limit} bytes"]
                    parts = [part for part in member.name.split("/") if part not in ("", ".")]
                    if member.name.startswith("/") or ".." in parts:
                        problems.append(f"member {member.name!r} would be written outside the package")
                    roots.update(parts[:1])
                    if parts[1:] == ["PKG-INFO"] and member.isfile() and member.size <= LIMIT:
                        handle = archive.extractfile(member)
                        metadata = handle.read() if handle is not None else None
                # What follows the archive's end holds gzip's CRC.
                while unzipped.read(BLOCK):
                    if unzipped.tell() > limit:
                        return b"", [*problems, f"it is a bomb: it unpacks to more than {limit} bytes"]
    except _UNREADABLE as error:
        return b"", [*problems, f"it is not an sdist (a readable .tar.gz): {error}"]
    if len(roots) != 1:
        problems.append(f"it has {len(roots)} top-level folders instead of one")
    if metadata is None:
        problems.append("it has no PKG-INFO in its top-level folder")
    return metadata or b"", problems


def is_sdist(file: str) -> bool:
    """Whether a file's name is an sdist's. `.zip` sdists are of the past: PEP 625 allows `.tar.gz` only."""
    return file.endswith(".tar.gz")
