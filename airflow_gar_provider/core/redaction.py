"""Credentials out of text that people read: logs of builds, index URLs, error bodies."""

from __future__ import annotations

import re

_PATTERNS = (
    # A URL's user and password; pip itself hides only the password, and not in every message.
    (re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE), r"\g<scheme>****@"),
    (re.compile(r"_json_key(?:_base64)?:[A-Za-z0-9+/=_%-]+"), "_json_key:****"),
    (re.compile(r"\bya29\.[\w.-]+"), "****"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), "****"),
    (re.compile(r"(?P<name>authorization\s*[:=]\s*)\S+(?:\s+[\w.~+/=-]{8,})?", re.IGNORECASE), r"\g<name>****"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), "****"),
)


def redact(text: str) -> str:
    """The text with every credential that can be recognised by its shape replaced by `****`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
