"""A distribution: a wheel or an sdist that may be published, and the form that uploads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Distribution:
    """What a wheel and an sdist have in common."""

    file: str
    """The file's name, without a folder."""
    name: str
    """The PEP 503 name."""
    version: str
    """As the metadata writes it."""
    sha256: str
    """Hexadecimal."""
    size: int
    """Bytes."""
    requires_python: str | None
    """PEP 440 specifier, or None."""
    requires_dist: tuple[str, ...]
    """PEP 508 requirements."""
    fields: tuple[tuple[str, str], ...]
    """The metadata as form fields of the upload, in order, several of a name where there are several values."""
    written_name: str
    """The name as the metadata spells it."""
    warnings: tuple[str, ...]
    """What is wrong with it, but does not keep pip from installing it."""

    filetype: ClassVar[str] = ""
    """What the upload form calls this kind of file."""

    @property
    def pyversion(self) -> str:
        """The Python that it is for, as the upload form wants it."""
        return "source"

    def form(self) -> list[tuple[str, str]]:
        """All fields of the upload form before the file's content, as twine 7 sends them.

        The BLAKE2 digest is left out, as twine does on machines that forbid it (FIPS): the registry tells SHA-256 and
        MD5, so nobody would compare it, and it costs twice the time of SHA-256.
        """
        return [
            *self.fields,
            ("name", re.sub("[^A-Za-z0-9.]+", "-", self.written_name)),  # twine's spelling
            ("pyversion", self.pyversion),
            ("filetype", self.filetype),
            ("sha256_digest", self.sha256),
            (":action", "file_upload"),
            ("protocol_version", "1"),
        ]
