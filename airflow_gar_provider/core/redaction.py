"""Credentials out of text that people read: logs of builds, index URLs, error bodies.

By their shape alone: the text comes from pip, from Google, from files. What has no shape (a password in a sentence)
cannot be seen, so what is known to be a secret must not get into a text in the first place. Rather too much is hidden
than too little: a digest (`sha256=...`) and a version stay readable, a long word beside `token` does not.
"""

from __future__ import annotations

import re

HIDDEN = "****"
_BASE64 = r"[A-Za-z0-9+/_=-]"
_NAMES = (
    r"(?:access|refresh|id|auth|bearer|api|identity|session|oauth)[_-]?tokens?|token|passw(?:or)?d|passphrase|secret|"
    r"client[_-]?secret|api[_-]?key|private[_-]?key(?:[_-]?(?:id|data))?|credentials?|assertion"
)

_PATTERNS = (
    # Keys in PEM, on many lines, on one line with \n written out, cut off at the end, or without its beginning.
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        HIDDEN,
    ),
    (re.compile(rf"(?<![A-Za-z0-9+/=])(?:{_BASE64}{{16,}}(?:\\n|\s)+)+-----END [A-Z0-9 ]*PRIVATE KEY-----"), HIDDEN),
    # Headers, in whatever notation: `Authorization: Basic xyz`, `'authorization': 'Bearer xyz'`, `-H "...: xyz"`.
    (
        re.compile(
            r"(?P<name>\b(?:proxy-)?authorization\b[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer|digest|token)\s+)?[^\s\"',;}]+",
            re.IGNORECASE,
        ),
        rf"\g<name>{HIDDEN}",
    ),
    (re.compile(r"(?P<name>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\g<name>{HIDDEN}"),
    # A URL's user and password, up to the last @ before the path ends; pip hides the password only, and not always.
    # A password that holds a slash or a blank is no valid URL, but people write it: the host behind the @ tells.
    (
        re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]*(?:@[^\s/@\"'<>]*)*@", re.IGNORECASE),
        rf"\g<scheme>{HIDDEN}@",
    ),
    (
        re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>:]+:[^\s@\"'<>]+@(?=[\w.-]+)", re.IGNORECASE),
        rf"\g<scheme>{HIDDEN}@",
    ),
    # Users of Google's indexes, with what follows, in a URL or out of one, in a netrc file, percent-encoded or not.
    (
        re.compile(
            rf"(?P<user>_json_key(?:_base64)?|oauth2accesstoken)(?::|%3A)\s*(?:{_BASE64}|%[0-9A-F]{{2}}|[.])+",
            re.IGNORECASE,
        ),
        rf"\g<user>:{HIDDEN}",
    ),
    (
        re.compile(r"(?P<name>\b(?:password|account)[ \t]+)(?!is\b|was\b|of\b|for\b|in\b|and\b|or\b)\S{8,}"),
        rf"\g<name>{HIDDEN}",
    ),
    # Google's access tokens, refresh tokens, API keys, OAuth secrets; JSON web tokens; a key file in base64.
    (re.compile(r"\bya29\.[\w.~+/=-]+"), HIDDEN),
    (re.compile(r"\b1//0[\w-]{20,}"), HIDDEN),
    (re.compile(r"\bAIza[\w-]{30,}"), HIDDEN),
    (re.compile(r"\bGOCSPX-[\w-]{10,}"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(rf"\b(?:ewog|eyJ0eXBl|eyAidHlw|ewogIC){_BASE64}{{20,}}"), HIDDEN),
    # `"private_key": "..."`, `token=...`, `--password ...`: a value beside a name that says what it is.
    (
        re.compile(
            rf"(?P<name>\b(?:{_NAMES})\b[\"']?\s*[:=]\s*)(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"',;&}}]+)",
            re.IGNORECASE,
        ),
        rf"\g<name>{HIDDEN}",
    ),
    (re.compile(rf"(?P<name>--(?:{_NAMES})\s+)\S+", re.IGNORECASE), rf"\g<name>{HIDDEN}"),
)


def redact(text: str) -> str:
    """The text with every credential that can be recognised by its shape replaced by `****`."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
