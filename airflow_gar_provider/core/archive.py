"""The zip file inside a wheel: hostile, damaged, or at odds with its own RECORD."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from airflow_gar_provider.core.digests import BLOCK

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # an encrypted member
    ValueError,  # names that are no UTF-8, offsets before the file's start
    OverflowError,
)
"""What zipfile raises for files that are none, or that were made to confuse it."""
_MOST_BYTES, _MOST_RATIO = 1 << 30, 100
"""A zip bomb unpacks to more than this many bytes and this many times its size: real wheels reach a tenth of it."""
_RECORD_LIMIT = 64 << 20
_RECORD_HASHES = ("sha256", "sha384", "sha512")


def problems_of(members: Sequence[zipfile.ZipInfo], size: int) -> list[str]:
    """What makes the archive dangerous, from its directory alone: not a byte has been unpacked yet."""
    problems = [
        f"member {member.filename!r} would be written outside the package"
        for member in members
        if _escapes(member.filename)
    ]
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(_MOST_BYTES, _MOST_RATIO * size) or sum(member.compress_size for member in members) > size:
        problems.append(f"it is a zip bomb: {size} bytes that claim to unpack to {unpacked}")
    return problems


def warnings_of(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """What is odd in the directory, and installs."""
    twice = [name for name, count in Counter(member.filename for member in members).items() if count > 1]
    return [f"member {name!r} is there more than once" for name in twice]


def shares(members: Iterable[zipfile.ZipInfo], count: int) -> list[list[zipfile.ZipInfo]]:
    """The members in `count` shares of about the same work, so that threads end together."""
    found: list[list[zipfile.ZipInfo]] = [[] for _ in range(count)]
    loads = [0] * count
    for member in sorted(members, key=lambda info: -(info.file_size + info.compress_size)):
        least = loads.index(min(loads))
        found[least].append(member)
        loads[least] += member.file_size + member.compress_size
    return [share for share in found if share]


def read_members(
    archive: zipfile.ZipFile, members: Iterable[zipfile.ZipInfo], record: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Unpack members into nothing. Problems: a CRC that does not match; warnings: RECORD says another hash.

    No more is unpacked of a member than the directory claims (zipfile stops there), so the sum is bounded.
    """
    problems, warnings = [], []
    for member in members:
        algorithm, _, wanted = record.get(member.filename, "").partition("=")
        digest = hashlib.new(algorithm) if algorithm in _RECORD_HASHES else None
        try:
            with archive.open(member) as stream:
                while block := stream.read(BLOCK):
                    if digest is not None:
                        digest.update(block)
        except UNREADABLE as error:
            reason = "its CRC does not match" if "CRC" in str(error) else str(error)
            problems.append(f"member {member.filename!r} is damaged ({reason})")
            continue
        if digest is not None and base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=") != wanted.rstrip("="):
            warnings.append(f"RECORD has another hash of {member.filename!r}")
    return problems, warnings


def read_record(archive: zipfile.ZipFile, folder: str) -> dict[str, str] | None:
    """RECORD: path -> `sha256=HASH`, or an empty text. None when there is no RECORD that can be read."""
    try:
        info = archive.getinfo(f"{folder}/RECORD")
        if info.file_size > _RECORD_LIMIT:
            return None
        with archive.open(info) as stream:
            rows = csv.reader(io.TextIOWrapper(stream, "utf-8"))
            return {row[0]: row[1] if len(row) > 1 else "" for row in rows if row}
    except (KeyError, csv.Error, *UNREADABLE):
        return None


def record_warnings(names: Iterable[str], record: Mapping[str, str] | None, folder: str) -> Iterator[str]:
    """Where RECORD and the archive name other files. Well-known wheels do; pip and uv install them."""
    if record is None:
        yield "it has no RECORD that can be read"
        return
    files = {name for name in names if not name.endswith("/")}
    unlisted = files - set(record) - {f"{folder}/RECORD{suffix}" for suffix in ("", ".jws", ".p7s")}
    absent = set(record) - files
    for kind, found in (("does not list", unlisted), ("lists what is not there:", absent)):
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            yield f"RECORD {kind} {', '.join(map(repr, sorted(found)[:3]))}{more}"


def _escapes(member: str) -> bool:
    path = PurePosixPath(member.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match(r"[A-Za-z]:", member))
