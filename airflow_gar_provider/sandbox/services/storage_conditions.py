"""What a Cloud Storage request says of an object: preconditions on its generations, the metadata that may be set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

WRITABLE = (
    "contentType",
    "contentEncoding",
    "contentDisposition",
    "contentLanguage",
    "cacheControl",
    "metadata",
    "customTime",
)
"""The metadata of an object that a client may set."""
PRECONDITION = "At least one of the pre-conditions you specified did not hold."


@dataclass(frozen=True)
class Conditions:
    """The preconditions of a request; None where the request has none."""

    generation: int | None = None
    """ifGenerationMatch; 0 means that no live object may exist."""
    generation_not: int | None = None
    """ifGenerationNotMatch."""
    metageneration: int | None = None
    """ifMetagenerationMatch."""
    metageneration_not: int | None = None
    """ifMetagenerationNotMatch."""

    @classmethod
    def from_query(cls, query: Mapping[str, str], prefix: str = "if") -> Conditions:
        """Read them from a URL; `prefix` is `ifSource` for the source of a copy."""
        names = ("GenerationMatch", "GenerationNotMatch", "MetagenerationMatch", "MetagenerationNotMatch")
        try:
            return cls(*(int(query[prefix + name]) if prefix + name in query else None for name in names))
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Invalid value for a precondition: {error}") from error

    def check(self, current: Mapping[str, Any] | None, *, reading: bool = False) -> None:
        """Raise 412 (or 304 for a read that asks for something newer) unless all hold."""
        generation = int(current["generation"]) if current else 0
        metageneration = int(current["metageneration"]) if current else 0
        same = (self.generation in {None, generation}) and (self.metageneration in {None, metageneration})
        if not same:
            raise ApiError("FAILED_PRECONDITION", PRECONDITION, http_status=412)
        if self.generation_not == generation or self.metageneration_not == metageneration:
            raise ApiError("FAILED_PRECONDITION", PRECONDITION, http_status=304 if reading else 412)


def checked(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings, when their texts are texts that fit into a header; INVALID_ARGUMENT otherwise."""
    for field in WRITABLE:
        value = settings.get(field)
        texts = value.values() if field == "metadata" and isinstance(value, dict) else [value]
        if any(text is not None and not (isinstance(text, str) and _TEXT.fullmatch(text)) for text in texts):
            raise ApiError("INVALID_ARGUMENT", f"Invalid value for {field}: {value!r}")
    return settings


_TEXT = re.compile(r"[^\x00-\x1f\x7f]*")
