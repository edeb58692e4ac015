"""A wheel: what its file name and its metadata say, and whether they agree."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from functools import partial
from typing import ClassVar

from packaging.tags import Tag, parse_tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from airflow_gar_provider.core import archive as zipped
from airflow_gar_provider.core.digests import Opened, Together, in_turn, sha256_of
from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.metadata import LIMIT, CoreMetadata
from airflow_gar_provider.errors import InvalidWheelError

_SHARES = 4
"""In how many shares the members are unpacked: more threads than that find no core on a worker."""


@dataclass(frozen=True)
class Wheel(Distribution):
    """A wheel that may be published."""

    tags: frozenset[Tag]
    """What it runs on, from the file's name."""

    filetype: ClassVar[str] = "bdist_wheel"

    @classmethod
    def from_file(cls, file: str, opened: Opened, together: Together = in_turn) -> Wheel:
        """Read and check a wheel; `opened` opens the file. Raises InvalidWheelError with all problems."""
        name, version, tags = _read_file_name(file)
        with opened() as stream:
            try:
                archive = zipfile.ZipFile(stream)
            except zipped.UNREADABLE as error:
                raise InvalidWheelError(file, [f"it is not a wheel (a readable zip file): {error}"]) from error
            with archive:
                return cls._from_archive(file, (name, version, tags), archive, opened, together)

    @classmethod
    def _from_archive(
        cls,
        file: str,
        named: tuple[str, Version, frozenset[Tag]],
        archive: zipfile.ZipFile,
        opened: Opened,
        together: Together,
    ) -> Wheel:
        name, version, tags = named
        members = archive.infolist()
        with opened() as stream:
            problems = zipped.problems_of(members, stream.seek(0, 2))
        folder = _info_folder(archive.namelist(), name, problems)
        if problems or folder is None:
            raise InvalidWheelError(file, problems)
        record = zipped.read_record(archive, folder)
        (sha256, size), *read = together(
            [
                partial(sha256_of, opened),
                *(
                    partial(zipped.read_members, archive, share, record or {})
                    for share in zipped.shares(members, _SHARES)
                ),
            ]
        )
        problems += [problem for share, _ in read for problem in share]
        metadata = CoreMetadata.from_bytes(_small(archive, f"{folder}/METADATA", problems))
        problems += metadata.disagreements(name, version)
        about = BytesParser().parsebytes(_small(archive, f"{folder}/WHEEL", problems), headersonly=True)
        problems += _about_problems(about, tags)
        if problems:
            raise InvalidWheelError(file, problems)
        warnings = [
            *metadata.findings,
            *zipped.warnings_of(members),
            *zipped.record_warnings(archive.namelist(), record, folder),
            *(warning for _, share in read for warning in share),
        ]
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
            warnings=tuple(dict.fromkeys(warnings)),
            tags=tags,
        )

    @property
    def pyversion(self) -> str:
        """The Python tag, `py3` or `cp311`."""
        return self.file.removesuffix(".whl").split("-")[-3]


def _read_file_name(file: str) -> tuple[str, Version, frozenset[Tag]]:
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except (InvalidWheelFilename, InvalidVersion, ValueError) as error:
        raise InvalidWheelError(
            file, [f"its name is not that of a wheel (NAME-VERSION-PYTHON-ABI-PLATFORM.whl): {error}"]
        ) from error
    return name, version, tags


def _info_folder(names: list[str], name: str, problems: list[str]) -> str | None:
    """The one top-level .dist-info folder, by pip's own rules. Vendored ones lie deeper in the tree."""
    folders = sorted({first for path in names if (first := path.split("/", 1)[0]).endswith(".dist-info")})
    if len(folders) != 1:
        problems.append(f"it has {len(folders)} top-level .dist-info folders instead of one")
        return None
    folder = folders[0]
    if not canonicalize_name(folder).startswith(name):
        problems.append(f"its .dist-info folder is {folder!r}: pip refuses it in a wheel of {name}")
    problems += [f"it has no {folder}/{file}" for file in ("METADATA", "WHEEL") if f"{folder}/{file}" not in names]
    return folder


def _small(archive: zipfile.ZipFile, member: str, problems: list[str]) -> bytes:
    """The content of one of the files that are read into memory; a damaged one has been reported by then."""
    if archive.getinfo(member).file_size > LIMIT:
        problems.append(f"its {member.rpartition('/')[2]} is larger than {LIMIT >> 20} MB")
        return b""
    try:
        return archive.read(member)
    except zipped.UNREADABLE:
        return b""


def _about_problems(about: Message, tags: frozenset[Tag]) -> Iterator[str]:
    """WHEEL: a format that pip knows, and the tags of the file's name."""
    version = str(about.get("Wheel-Version", "")).strip()
    if version.split(".")[0] != "1":
        yield f"its WHEEL file says Wheel-Version {version or 'nothing'}: pip installs 1.x"
    try:
        said = frozenset(tag for line in about.get_all("Tag", []) for tag in parse_tag(str(line).strip()))
    except ValueError as error:  # packaging before 26 took some of these
        yield f"its WHEEL file has a tag that is none: {error}"
        return
    if said and said != tags:
        yield f"its name says {_tag_text(tags)}, its WHEEL file says {_tag_text(said)}"


def _tag_text(tags: frozenset[Tag]) -> str:
    return ", ".join(sorted(str(tag) for tag in tags))
