"""Two runs made comparable: what has to differ (times, ids, generations, secrets) is replaced by a word for it.

Ids become numbers in the order in which they came to be, so that one more of anything is seen.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
_KEY_FILE = re.compile(r"_json_key_base64:([A-Za-z0-9+/=%]+)@")
_GENERATION = re.compile(r"(?<=pip\.conf\.)\d+$")
_SLUG = re.compile(r"-[0-9a-f]{10}(?=[./])")
"""The end of a run's slug: a hash of names that differ."""
_MINUTES = re.compile(r"(?<=\| )\d+\.\d(?= +\|)")
"""In a report's table."""
_TIMED = (
    *("seconds", "minutes", "since", "created", "size"),
    *("digest", "plan_digest", "content_digest", "fingerprint"),
)
"""Fields that time, or the world's own names, decide."""


def view(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """A world's state (`World.state`), comparable."""
    names = Names(state, prefix)
    found: dict[str, Any] = names.plain(
        {
            "environments": state["environments"],
            "operations": state["operations"],
            "files": state["files"],
            "policy": state["policy"],
            "keys": _keys(state),
            "objects": {
                place: {name: names.content(item["content"]) for name, item in sorted(objects.items())}
                for place, objects in state["objects"].items()
            },
        }
    )
    return found


def _keys(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The keys, without one that a dead try made and a later one disabled: no object knows it, and it opens nothing."""
    known = json.dumps(state["objects"], default=str)
    return [key for key in state["keys"] if not key.get("disabled") or key["id"] in known]


class Names:
    """What stands for the ids of one world."""

    def __init__(self, state: Mapping[str, Any], prefix: str) -> None:
        pairs = [(prefix, "W")]
        pairs += [(o["name"].rpartition("/")[2], f"operation-{n}") for n, o in enumerate(state["operations"], 1)]
        pairs += [(key["id"], f"key-{n}") for n, key in enumerate(_keys(state), 1)]
        pairs += [(str(g), f"generation-{n}") for n, g in enumerate(_generations(state), 1)]
        self._pairs = pairs

    def text(self, text: str) -> str:
        """A text with its ids replaced."""
        text = _KEY_FILE.sub(lambda match: f"_json_key_base64:KEY-FILE-OF-{_key_of(match[1])}@", text)
        for found, word in self._pairs:
            text = text.replace(found, word)
        return _SLUG.sub("-SLUG", _TIME.sub("TIME", _MINUTES.sub("MINUTES", text)))

    def content(self, content: Any) -> Any:
        """What an object holds: JSON as values, anything else as text."""
        if isinstance(content, str) and content.startswith(("{", "[{")):
            try:
                return json.loads(content)
            except ValueError:
                return content
        return content

    def plain(self, value: Any) -> Any:
        """Values all through: texts replaced, what only time decides left out."""
        if isinstance(value, Mapping):
            kept = {key: item for key, item in value.items() if key not in _TIMED}
            return {self.text(str(key)): self.plain(item) for key, item in kept.items()}
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int) and value > 10**9:
            return self.text(str(value))
        return value


def _key_of(encoded: str) -> str:
    try:
        return str(json.loads(base64.b64decode(encoded.replace("%3D", "=")))["private_key_id"])
    except (ValueError, KeyError, TypeError):
        return "NOBODY"


def _generations(state: Mapping[str, Any]) -> list[int]:
    """Those of every pip.conf that was: the live one's, its copies', and what records name; the oldest first."""
    found: set[int] = set()
    for objects in state["objects"].values():
        for name, item in objects.items():
            if name == "config/pip/pip.conf":
                found.add(int(item["generation"]))
            if match := _GENERATION.search(name):
                found.add(int(match[0]))
            if "/gar/runs/" in name:
                record = json.loads(item["content"]) if isinstance(item["content"], str) else item["content"]
                found |= {int(record[key]) for key in ("pip_conf", "pip_conf_ours") if record.get(key)}
    return sorted(found)


def differences(wanted: Any, found: Any, where: str = "") -> Iterator[str]:
    """Where two views differ, a line each."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in sorted({*wanted, *found}):
            yield from differences(wanted.get(key, "(nothing)"), found.get(key, "(nothing)"), f"{where}/{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif wanted != found:
        yield f"{where}: wanted {_short(wanted)}, found {_short(found)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 300 else f"{text[:300]}..."
