"""Secret Manager's list filters, of which three fields are played: name, state and labels.

`name:part`, `name=whole`, `state:enabled`, `labels.KEY=VALUE`, `labels.KEY:*`, joined by AND; letter case is ignored.
Source: Secret Manager page "Filter secrets and versions".
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import unplayed

_TERM = re.compile(r"""\s*(name|state|labels\.[a-z0-9_-]+)\s*([:=])\s*(?:"([^"]*)"|([^\s"()]+))\s*""", re.IGNORECASE)


def matches(text: str, record: Any, method: str) -> bool:
    """True when `record` (a Secret or a SecretVersion) is one that the filter asks for."""
    return all(_holds(term, record, method) for term in re.split(r"\sAND\s", text)) if text.strip() else True


def _holds(term: str, record: Any, method: str) -> bool:
    match = _TERM.fullmatch(term)
    if match is None:
        raise unplayed(f"{method} for the filter {term.strip()}")
    field, operator, quoted, bare = match.groups()
    wanted = (bare if quoted is None else quoted).lower()
    if field.lower().startswith("labels."):
        value = dict(record.labels).get(field.partition(".")[2])
        return value is not None and (wanted in {"*", value.lower()})
    value = record.name if field.lower() == "name" else record.state.name
    short = value.rpartition("/")[2].lower()
    return wanted in value.lower() if operator == ":" else wanted in {short, value.lower()}
