"""Text that others wrote (logs of tasks, what they returned), made fit to be shown and kept here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from airflow_gar_provider.core.redaction import redact, redact_value

LINES = 200
"""Lines of one text that are shown."""
LINE_LENGTH = 2000
"""Characters of one line that are shown."""
BYTES = 64 * 1024
"""Of one text that is shown: a worker's log is read by people."""
VALUE_BYTES = 16 * 1024
"""Of one value that is kept, as JSON: it goes into the database."""

# Escape sequences of terminals, and control characters: a log must not move our reader's cursor or forge our lines.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Quote:
    """The end of a text."""

    lines: tuple[str, ...]
    """Redacted, without control characters, each of bounded length."""
    left_out: int
    """Lines before them that are not shown."""

    @classmethod
    def of(cls, text: str) -> Quote:
        """The last lines of a text, as many as fit. A text ends with what matters."""
        every = redact(text.replace("\r\n", "\n")).splitlines()
        kept: list[str] = []
        size = 0
        for line in reversed(every):
            clean = cut(_CONTROL.sub("", line).rstrip(), LINE_LENGTH)
            size += len(clean.encode("utf-8", "replace")) + 1
            if len(kept) == LINES or size > BYTES:
                break
            kept.append(clean)
        return cls(tuple(reversed(kept)), len(every) - len(kept))

    @property
    def reason(self) -> str:
        """The line that most likely says why something failed: the last one that names an exception."""
        named = [line for line in self.lines if re.search(r"\w*(?:Error|Exception)\b", line)]
        return cut((named or [line for line in self.lines if line.strip()] or [""])[-1].strip(), 500)


def cut(text: str, length: int) -> str:
    """A text that is not longer than `length` characters, and says where it was cut."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def keepable(value: Any) -> Any:
    """A JSON value of somebody else's, redacted, if it is small; else a note in its place of how big it was."""
    clean = redact_value(value)
    size = len(json.dumps(clean, default=str).encode())
    if size <= VALUE_BYTES:
        return clean
    return {"omitted": f"{size} bytes; at most {VALUE_BYTES} are kept"}
