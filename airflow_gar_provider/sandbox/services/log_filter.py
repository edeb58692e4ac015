"""Cloud Logging's filter language, as far as readers of logs need it: comparisons, AND, OR, NOT, parentheses.

https://cloud.google.com/logging/docs/view/logging-query-language. Functions (`ip_in_net`, `sample`) are not played.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Predicate = Callable[[Mapping[str, Any]], bool]

SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")
_TOKEN = re.compile(
    r"""\s*(?:(--[^\n]*)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(=~|!~|!=|>=|<=|=|>|<|:|\(|\)|-(?=[A-Za-z(]))|([^\s()=!<>:"']+))"""
)
_OPERATORS = {"=", "!=", ">=", "<=", ">", "<", ":", "=~", "!~"}


def compile_filter(text: str) -> Predicate:
    """A function that says whether an entry (as JSON) matches; INVALID_ARGUMENT for a filter that cannot be read."""
    parser = _Parser(_tokens(text))
    if parser.peek() is None:
        return lambda _entry: True
    predicate = parser.either()
    if parser.peek() is not None:
        raise _unreadable(f"unexpected {parser.peek()!r}")
    return predicate


def _unreadable(reason: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"Unparseable filter: {reason}")


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(f"syntax error at line 1, column {position + 1}")
        position = match.end()
        if match.group(1) is None:
            tokens.append(next(group for group in match.groups() if group is not None))
    return tokens


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0

    def peek(self) -> str | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def take(self) -> str:
        token = self.peek()
        if token is None:
            raise _unreadable("unexpected end")
        self._position += 1
        return token

    def either(self) -> Predicate:
        parts = [self.both()]
        while self.peek() == "OR":
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda entry: any(part(entry) for part in parts)

    def both(self) -> Predicate:
        parts = [self.one()]
        # Two comparisons side by side, or on two lines, are joined by AND.
        while self.peek() not in {None, "OR", ")"}:
            if self.peek() == "AND":
                self.take()
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else lambda entry: all(part(entry) for part in parts)

    def one(self) -> Predicate:
        word = self.take()
        if word in {"NOT", "-"}:
            inner = self.one()
            return lambda entry: not inner(entry)
        if word == "(":
            inner = self.either()
            if self.take() != ")":
                raise _unreadable("missing )")
            return inner
        if self.peek() not in _OPERATORS:
            words = _unquote(word).lower()
            return lambda entry: any(words in text.lower() for text in _texts(entry))
        return self.comparison(word, self.take())

    def comparison(self, field: str, operator: str) -> Predicate:
        if self.peek() == "(":
            self.take()
            tests = []
            while self.peek() != ")":
                if self.peek() in {"OR", "AND"}:
                    self.take()
                    continue
                tests.append(_test(field, operator, _unquote(self.take())))
            self.take()
            return lambda entry: any(test(entry) for test in tests)
        return _test(field, operator, _unquote(self.take()))


def _unquote(token: str) -> str:
    if token[:1] in {'"', "'"}:
        return re.sub(
            r"\\(.)", lambda match: match.group(1) if match.group(1) in "\"'\\" else match.group(0), token[1:-1]
        )
    return token


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [str(value)]


def _lookup(entry: Mapping[str, Any], path: str) -> str | None:
    value: Any = entry
    for name in path.replace('"', "").split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return str(value)


def _test(field: str, operator: str, wanted: str) -> Predicate:
    if operator in {"=~", "!~"}:
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            raise _unreadable(f"invalid regular expression: {error}") from error
        return lambda entry: (pattern.search(_lookup(entry, field) or "") is not None) == (operator == "=~")
    if operator == ":":
        return lambda entry: (found := _lookup(entry, field)) is not None and wanted.lower() in found.lower()
    order = _order(field)
    try:
        limit = order(wanted)
    except ValueError as error:
        raise _unreadable(f"invalid value {wanted!r} for {field}") from error

    def test(entry: Mapping[str, Any]) -> bool:
        found = _lookup(entry, field)
        if found is None:
            return operator == "!="
        value = order(found)
        answers = {"=": value == limit, "!=": value != limit}
        return answers[operator] if operator in answers else _compare(value, operator, limit)

    return test


def _compare(value: Any, operator: str, limit: Any) -> bool:
    return bool({">=": value >= limit, "<=": value <= limit, ">": value > limit, "<": value < limit}[operator])


def _order(field: str) -> Callable[[str], Any]:
    if field == "severity":
        return lambda text: SEVERITIES.index(text.upper())
    if field in {"timestamp", "receiveTimestamp"}:
        return _moment
    return lambda text: text


def _moment(text: str) -> datetime:
    # RFC 3339 allows any number of digits; Python 3.10 reads exactly six.
    text = re.sub(r"\.(\d+)", lambda match: f".{match.group(1)[:6]:0<6}", text)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = datetime.fromisoformat(f"{text}+00:00")
    return moment
