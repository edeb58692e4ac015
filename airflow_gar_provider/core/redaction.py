"""Credentials out of text that people read: logs of builds, index URLs, error bodies.

By their shape alone: the text comes from pip, from Google, from files. What has no shape (a password in a sentence)
cannot be seen, so what is known to be a secret must not get into a text in the first place. Rather too much is hidden
than too little: a digest (`sha256=...`) and a version stay readable, a long word beside `token` does not.

The text may be anything, a megabyte on one line included: the time grows with its length, never with its square. So
no pattern here may begin at many places of a run that it then reads to the run's end (tests/fuzz measures it).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

HIDDEN = "****"
_BASE64 = r"[A-Za-z0-9+/_=-]"
_NAMES = (
    r"(?:access|refresh|id|auth|bearer|api|identity|session|oauth)[_-]?tokens?|token|passw(?:or)?d|passphrase|secret|"
    r"client[_-]?secret|api[_-]?key|private[_-]?key(?:[_-]?(?:id|data))?|credentials?|assertion"
)
_BEGIN = r"(?:(?<![A-Za-z0-9_])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
"""Where a word begins: behind what is no letter, or behind one that is percent-encoded or that `repr` has written."""

_Patterns = tuple[tuple["re.Pattern[str]", "str | Callable[[re.Match[str]], str]"], ...]

_KEY_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY-----")
_KEY_BODY_BACKWARDS = re.compile(rf"(?:(?:n\\|\s)+{_BASE64}{{16,}})+")
_KEY_LENGTH = 16_384
"""Characters; a private key of 16 kilobits has less."""


def _key_without_beginning(text: str) -> str:
    """Hide what ends as a private key does: its lines are read from the end, for every one could be its first."""
    pieces, done = [], 0
    for end in _KEY_END.finditer(text):
        before = text[max(done, end.start() - _KEY_LENGTH) : end.start()][::-1]
        body = _KEY_BODY_BACKWARDS.match(before)
        if body:
            pieces += [text[done : end.start() - body.end()], HIDDEN]
            done = end.end()
    return "".join([*pieces, text[done:]])


_WEB_TOKEN_BEGIN = re.compile(rf"{_BEGIN}eyJ[\w-]{{8}}")


def _without_web_tokens(run: re.Match[str]) -> str:
    """Hide JSON web tokens in a run of words and dots: header, payload and signature, or two of the three."""
    if "eyJ" not in run[0]:
        return run[0]
    shown: list[str] = []
    parts, number = run[0].split("."), 0
    while number < len(parts):
        part = parts[number]
        begin = _WEB_TOKEN_BEGIN.search(part) if len("".join(parts[number + 1 : number + 2])) >= 4 else None
        shown.append(part[: begin.start()] + HIDDEN if begin else part)
        number += 3 if begin else 1
    return ".".join(shown)


_PATTERNS: _Patterns = (
    # Keys in PEM, on many lines, on one line with \\n written out, cut off at the end. (Without a beginning: above.)
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        HIDDEN,
    ),
    # Headers, in whatever notation: `Authorization: Basic xyz`, `'authorization': 'Bearer xyz'`, `-H "...: xyz"`.
    (
        re.compile(
            rf"(?P<name>{_BEGIN}(?:proxy-)?authorization\b\\*[\"']?\s*[:=]\s*\\*[\"']?)(?:(?:basic|bearer|digest|token)\s+)?[^\s\"',;}}\\]+",
            re.IGNORECASE,
        ),
        rf"\g<name>{HIDDEN}",
    ),
    (
        re.compile(rf"(?P<name>{_BEGIN}(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{{8,}}", re.IGNORECASE),
        rf"\g<name>{HIDDEN}",
    ),
    # A URL's user and password, up to the last @ before the path ends; pip hides the password only, and not always.
    # A password that holds a slash or a blank is no valid URL, but people write it: the host behind the @ tells.
    (re.compile(r"(?<=[a-z0-9]://)[^\s/@\"'<>]*(?:@[^\s/@\"'<>]*)*@", re.IGNORECASE), f"{HIDDEN}@"),
    (re.compile(r"(?<=[a-z0-9]://)[^\s/@\"'<>:]{1,500}:[^\s@\"'<>]{1,500}@(?=[\w.-])", re.IGNORECASE), f"{HIDDEN}@"),
    # The same in a URL that is quoted in another one.
    (re.compile(r"(?<=%3A%2F%2F)(?:(?!%2F|%40)[^\s\"'<>&])+%40", re.IGNORECASE), f"{HIDDEN}%40"),
    (
        re.compile(
            r"(?<=%3A%2F%2F)(?:(?!%3A|%40|%2F)[^\s\"'<>&]){1,500}%3A(?:(?!%40)[^\s\"'<>&]){1,500}%40", re.IGNORECASE
        ),
        f"{HIDDEN}%40",
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
        re.compile(rf"(?P<name>{_BEGIN}(?:password|account)[ \t]+)(?!is\b|was\b|of\b|for\b|in\b|and\b|or\b)\S{{8,}}"),
        rf"\g<name>{HIDDEN}",
    ),
    # Google's access tokens, refresh tokens, API keys, OAuth secrets; JSON web tokens; a key file in base64.
    (re.compile(rf"{_BEGIN}ya29\.[\w.~+/=-]+"), HIDDEN),
    (re.compile(rf"{_BEGIN}1//0[\w-]{{20,}}"), HIDDEN),
    (re.compile(rf"{_BEGIN}AIza[\w-]{{30,}}"), HIDDEN),
    (re.compile(rf"{_BEGIN}GOCSPX-[\w-]{{10,}}"), HIDDEN),
    (re.compile(r"[\w.%-]+"), _without_web_tokens),
    (re.compile(rf"{_BEGIN}(?:ewog|eyJ0eXBl|eyAidHlw|ewogIC){_BASE64}{{20,}}"), HIDDEN),
    # `"private_key": "..."`, `token=...`, `--password ...`: a value beside a name that says what it is.
    (
        re.compile(
            rf"(?P<name>{_BEGIN}(?:{_NAMES})\b\\*[\"']?\s*[:=]\s*)(?:\\+[\"'](?:[^\"'\\]|\\+[^\"'\\])*|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"',;&}}]+)",
            re.IGNORECASE,
        ),
        rf"\g<name>{HIDDEN}",
    ),
    (re.compile(rf"(?P<name>--(?:{_NAMES})\s+)\S+", re.IGNORECASE), rf"\g<name>{HIDDEN}"),
)


def redact(text: str) -> str:
    """The text with every credential that can be recognised by its shape replaced by `****`."""
    pattern, replacement = _PATTERNS[0]
    text = _key_without_beginning(pattern.sub(replacement, text))
    for pattern, replacement in _PATTERNS[1:]:
        text = pattern.sub(replacement, text)
    return text


_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_KEY_BODY = re.compile(rf"{_BASE64}{{16}}")
_KEY_LINE = re.compile(rf"\W*(?:{_BASE64}*|(?:Proc-Type|DEK-Info): .*)\W*")


class LineRedactor:
    """Redacts a text whose lines come one by one: a private key is as many lines, each of which looks like nothing."""

    def __init__(self) -> None:
        self._in_key = False

    def redact(self, line: str) -> str:
        """The next line, without a line end."""
        if self._in_key and (end := _KEY_END.search(line)):
            self._in_key = bool(_KEY_BEGIN.search(line, end.end()))
            return HIDDEN + redact(line[end.end() :])
        if self._in_key and _KEY_LINE.fullmatch(line):
            return HIDDEN
        self._in_key = len(_KEY_BEGIN.findall(line)) > len(_KEY_END.findall(line))
        return redact(line)


def redact_lines(lines: Iterable[str]) -> list[str]:
    """The lines of one text, redacted, as many as they were; those of a key whose beginning is missing, too."""
    given, redactor = list(lines), LineRedactor()
    shown = [redactor.redact(line) for line in given]
    in_key = False
    for number in range(len(given) - 1, -1, -1):
        if _KEY_END.search(given[number]):
            in_key = True
        elif in_key and _KEY_BODY.search(given[number]) and _KEY_LINE.fullmatch(given[number]):
            shown[number], shown[number + 1] = HIDDEN, _KEY_END.sub(HIDDEN, shown[number + 1])
        else:
            in_key = False
    return shown


_SAYS_SECRET = re.compile(rf"(?:.*[_.\s-])?(?:{_NAMES}|authorization)", re.IGNORECASE | re.DOTALL)


def redact_value(value: object) -> object:
    """A value of texts, lists and maps, with every text redacted; one under a telling name is hidden whole."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _named(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in value]
    return value


def _named(name: str, value: object) -> object:
    return HIDDEN if isinstance(value, str) and value and _SAYS_SECRET.fullmatch(name) else redact_value(value)


def redact_error(error: BaseException) -> None:
    """Take the credentials out of an exception that others raised, and out of all that caused it.

    A traceback prints the causes of an error beside it, and so does Airflow's log of a task that failed: an error of
    ours that is clean is worth nothing while Google's own words hang on it. What cannot be cleaned is cut off.
    """
    seen: set[int] = set()
    found = [error]
    while found:
        one = found.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.args = tuple(_argument(argument) for argument in one.args)
        if isinstance(one, OSError):  # its text is composed of these, not of its arguments
            one.strerror = redact_value(one.strerror)  # type: ignore[assignment]
            one.filename = redact_value(one.filename)
        for name, value in list(getattr(one, "__dict__", {}).items()):
            if isinstance(value, str) and redact(value) != value:
                setattr(one, name, redact(value))
            elif isinstance(value, BaseException):
                found.append(value)
        found += [argument for argument in one.args if isinstance(argument, BaseException)]
        found += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    _cut(error)


def _argument(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    return value if isinstance(value, BaseException) else redact_value(value)


def _cut(error: BaseException) -> None:
    """Unlink the causes that still show a credential (gRPC's errors compose their text of what cannot be set)."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        suppressed = one.__suppress_context__
        if one.__cause__ is not None and _shows(one.__cause__):
            one.__cause__ = None
        if one.__context__ is not None and _shows(one.__context__):
            one.__context__ = None
        one.__suppress_context__ = suppressed
        one = one.__cause__ or one.__context__


def _shows(error: BaseException) -> bool:
    return any(redact(text) != text for text in (str(error), repr(error)))
