"""A distribution's core metadata (METADATA of a wheel, PKG-INFO of an sdist), and the upload form that it fills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.metadata import ExceptionGroup, Metadata, parse_email
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LIMIT = 10 << 20
"""Bytes. Real packages' metadata stay below 1 MB; a file that claims more is not read into memory."""

# How `packaging` names metadata fields -> how the legacy upload form names them. What twine 7 does not send (the import
# names of metadata 2.5) is left out here too: indexes refuse fields that they do not know.
_FORM = {
    "metadata_version": "metadata_version",
    "version": "version",
    "platforms": "platform",
    "summary": "summary",
    "description": "description",
    "keywords": "keywords",
    "home_page": "home_page",
    "author": "author",
    "author_email": "author_email",
    "license": "license",
    "supported_platforms": "supported_platform",
    "download_url": "download_url",
    "classifiers": "classifiers",
    "requires": "requires",
    "provides": "provides",
    "obsoletes": "obsoletes",
    "maintainer": "maintainer",
    "maintainer_email": "maintainer_email",
    "requires_dist": "requires_dist",
    "provides_dist": "provides_dist",
    "obsoletes_dist": "obsoletes_dist",
    "requires_python": "requires_python",
    "requires_external": "requires_external",
    "project_urls": "project_urls",
    "description_content_type": "description_content_type",
    "provides_extra": "provides_extra",
    "dynamic": "dynamic",
    "license_expression": "license_expression",
    "license_files": "license_file",
}


@dataclass(frozen=True)
class CoreMetadata:
    """What a metadata file says, read as leniently as pip reads it."""

    raw: Mapping[str, Any]
    """As `packaging.metadata.RawMetadata`."""
    findings: tuple[str, ...]
    """What a strict reader refuses. pip installs most of it, so these are warnings."""

    @classmethod
    def from_bytes(cls, content: bytes) -> CoreMetadata:
        """Read it; nothing in it is an error here."""
        parsed, unparsed = parse_email(content)
        raw: dict[str, Any] = dict(parsed)
        if _before_2_4(raw.get("metadata_version")):
            # setuptools wrote License-File long before the field existed: twine drops it, and it is no finding.
            raw.pop("license_files", None)
            unparsed.pop("license-file", None)
        findings = [f"its metadata has an unknown or malformed field {field!r}" for field in unparsed]
        try:
            Metadata.from_raw(raw, validate=True)  # type: ignore[arg-type]  # a RawMetadata, minus a field
        except ExceptionGroup as group:
            findings += [f"its metadata is not valid: {error}" for error in group.exceptions]
        return cls(raw, tuple(dict.fromkeys(findings)))

    def text(self, field: str) -> str | None:
        """A field of one value, or None."""
        value = self.raw.get(field)
        return str(value) if value else None

    def lines(self, field: str) -> tuple[str, ...]:
        """A field of several values."""
        return tuple(self.raw.get(field) or ())

    def disagreements(self, name: str, version: Version) -> Iterator[str]:
        """Where it contradicts what the file's name says: pip would install something else than it was asked for."""
        ours, our_version = self.text("name"), self.text("version")
        if not ours or not our_version:
            yield "its metadata has no name or no version"
            return
        if canonicalize_name(ours) != name:
            yield f"its file name says {name}, its metadata says {ours}"
        try:
            if Version(our_version) != version:
                yield f"its file name says version {version}, its metadata says {our_version}"
        except InvalidVersion:
            yield f"its metadata's version {our_version!r} is not a PEP 440 version"

    def form(self) -> Iterator[tuple[str, str]]:
        """The fields of the upload form but the name; several of a kind where there are several values."""
        for key, value in self.raw.items():
            field = _FORM.get(key)
            if field is None:
                continue
            if isinstance(value, dict):
                yield from ((field, f"{label}, {url}") for label, url in value.items())
            elif key == "keywords" and isinstance(value, list):
                yield field, ", ".join(value)
            elif isinstance(value, list):
                yield from ((field, str(item)) for item in value)
            else:
                yield field, str(value)


def _before_2_4(metadata_version: str | None) -> bool:
    try:
        return Version(metadata_version or "0") < Version("2.4")
    except InvalidVersion:
        return True
