"""Artifact Registry's list filters, as its API documents them for repositories, packages, versions and files.

`name="…*" AND owner="…"`, letter case ignored, `*` for any number of characters; `"annotations.KEY"` and
`"annotations.KEY:VALUE"`, where a key or value with special characters stands in backticks. A field that the method
does not document is refused.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import ApiError

_PART = r"(?:`([^`]*)`|([^\s\"`:.]+))"
_FIELD = re.compile(r"""([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|([^\s"]+))""")
_ANNOTATION = re.compile(rf"""(\"?)annotations\.{_PART}(?::{_PART})?\1(?=\s|$)""")
_AND = re.compile(r"\s+AND\s+")


def matches(filter_text: str, record: Any, fields: tuple[str, ...]) -> bool:
    """True when `record` is one that the filter asks for; INVALID_ARGUMENT for a filter that is not documented."""
    position, keep, text = 0, True, filter_text.strip()
    while position < len(text):
        field, annotation = _FIELD.match(text, position), _ANNOTATION.match(text, position)
        if annotation is not None and "annotations" in fields:
            keep, position = _annotated(record, annotation) and keep, annotation.end()
        elif field is not None and field.group(1) in fields and field.group(1) != "annotations":
            wanted = field.group(2) if field.group(2) is not None else field.group(3)
            keep, position = _like(wanted, str(getattr(record, field.group(1)))) and keep, field.end()
        else:
            raise ApiError("INVALID_ARGUMENT", f"Invalid filter: {filter_text}")
        conjunction = _AND.match(text, position)
        if conjunction is None and position < len(text):
            raise ApiError("INVALID_ARGUMENT", f"Invalid filter: {filter_text}")
        position = conjunction.end() if conjunction else position
    return keep


def _annotated(record: Any, match: re.Match[str]) -> bool:
    key = match.group(2) if match.group(2) is not None else match.group(3)
    value = match.group(4) if match.group(4) is not None else match.group(5)
    return any(
        _like(key, name) and (value is None or _like(value, text)) for name, text in dict(record.annotations).items()
    )


def _like(wanted: str, text: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
    return re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL) is not None
