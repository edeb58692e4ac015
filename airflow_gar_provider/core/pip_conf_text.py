"""The text of a pip.conf: its lines, what pip reads in them, and edits that leave every other byte alone."""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.errors import InvalidPipConfError

_UNTOUCHED = "repair the file by hand; it was not touched"


@dataclass(frozen=True)
class Option:
    """One option of the file: where its lines are, and what it says."""

    section: str
    name: str
    """As pip normalises it: lower case, dashes."""
    first: int
    """Index of its first line."""
    end: int
    """Index behind its last line."""
    value: str


class Document:
    """The file's lines, and its sections and options by line, as configparser sees them."""

    def __init__(self, text: str) -> None:
        # newline="" splits as a file does (\n, \r\n, \r) and keeps the ends; str.splitlines would split at more.
        self.lines = list(io.StringIO(text, newline=""))
        self.newline = (_ending(self.lines[0]) if self.lines else "") or "\n"
        self.options: list[Option] = []
        self.headers: dict[str, int] = {}
        self._scan()

    def _scan(self) -> None:
        """Find sections and options; to be called again whenever lines have moved."""
        self.options.clear()
        self.headers.clear()
        section, indent, open_option = "", 0, False
        for number, line in enumerate(self.lines):
            text = line.strip()
            if not text or text[0] in "#;":
                continue
            depth = len(_indent(line))
            if open_option and depth > indent:
                last = self.options[-1]
                value = f"{last.value}\n{text}".strip()
                self.options[-1] = Option(last.section, last.name, last.first, number + 1, value)
                continue
            indent = depth
            header = re.match(r"\[(?P<name>.+)\]", text)
            if header:
                section, open_option = header["name"], False
                self.headers[section] = number
                continue
            name, _, value = (part.strip() for part in re.split(r"([=:])", text, maxsplit=1))
            self.options.append(Option(section, option_name(name), number, number + 1, value))
            open_option = True

    def find(self, sections: tuple[str, ...], names: tuple[str, ...] | None = None) -> list[Option]:
        """Options by section and name (None: all), last one first: an edit moves only what is below it."""
        found = [o for o in self.options if o.section in sections and (names is None or o.name in names)]
        return found[::-1]

    def replace(self, option: Option, value: str) -> None:
        """Give an option one other value; how its name is written, and comments between its lines, stay."""
        line = self.lines[option.first]
        start = _value_start(line)
        gap = _indent(line[start:]) if line[start:].strip() else " "
        comments = self._comments(option)
        ending = _ending(line if comments else self.lines[option.end - 1])
        self.lines[option.first : option.end] = [f"{line[:start]}{gap}{value}{ending}", *comments]
        self._scan()

    def delete(self, option: Option) -> None:
        """Take an option out; comments between its lines stay."""
        self.lines[option.first : option.end] = self._comments(option)
        self._scan()

    def append(self, option: Option, value: str) -> None:
        """Add one value to an option that holds a list, on a line of its own."""
        last = self.lines[option.end - 1]
        indent = _indent(last) if option.end - 1 > option.first else f"{_indent(last)}    "
        self._end_line(option.end - 1)
        self.lines.insert(option.end, f"{indent}{value}{self.newline}")
        self._scan()

    def swap(self, option: Option, old: str, new: str | None) -> None:
        """Put one value of a list in another one's place, or take it out; the option goes with its last value."""
        if new is None and set(option.value.split()) == {old}:
            self.delete(option)
            return
        for number in range(option.end - 1, option.first - 1, -1):
            line = self.lines[number]
            if line.strip()[:1] in ("#", ";"):
                continue
            start = _value_start(line) if number == option.first else 0
            kept = _swapped(line[start:].rstrip("\r\n"), old, new)
            gone = number > option.first and line.strip() and not kept.strip()
            self.lines[number : number + 1] = [] if gone else [f"{line[:start]}{kept}{_ending(line)}"]
        self._scan()

    def add(self, section: str, name: str, value: str) -> None:
        """Add an option behind the last one of its section, as deep as that one.

        Above the first one would be wrong: indented options below an unindented one become its continuation.
        """
        siblings = [option for option in self.options if option.section == section]
        if siblings:
            at, indent = siblings[-1].end, _indent(self.lines[siblings[-1].first])
        elif section in self.headers:
            at = self.headers[section] + 1
            # A header below that is indented would become the continuation of an option that is not.
            indent = max(_indent(self.lines[at - 1]), self._next_indent(at), key=len)
        else:
            if self.lines:
                self._end_line(len(self.lines) - 1)
                if self.lines[-1].strip():
                    self.lines.append(self.newline)
            self.lines.append(f"[{section}]{self.newline}")
            at, indent = len(self.lines), ""
        self._end_line(at - 1)
        self.lines.insert(at, f"{indent}{name} = {value}{self.newline}")
        self._scan()

    def _next_indent(self, number: int) -> str:
        below = (line for line in self.lines[number:] if line.strip() and line.strip()[0] not in "#;")
        return _indent(next(below, ""))

    def _comments(self, option: Option) -> list[str]:
        return [line for line in self.lines[option.first + 1 : option.end] if line.strip()[:1] in ("#", ";")]

    def _end_line(self, number: int) -> None:
        if not _ending(self.lines[number]):
            self.lines[number] += self.newline

    def text(self) -> str:
        """The whole file."""
        return "".join(self.lines)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _value_start(line: str) -> int:
    """Where an option's first line has its value: behind the first delimiter."""
    return min(at for at in (line.find("="), line.find(":")) if at >= 0) + 1


def _swapped(text: str, old: str, new: str | None) -> str:
    token = re.escape(old)
    if new is not None:
        return re.sub(rf"(?<!\S){token}(?!\S)", lambda _: new, text)
    text = re.sub(rf"^(\s*){token}(?!\S)\s*", r"\1", text)
    return re.sub(rf"\s+{token}(?!\S)", "", text)


def option_name(name: str) -> str:
    """As pip normalises names of options."""
    return name.lower().replace("_", "-").removeprefix("--")


class _Parser(configparser.RawConfigParser):
    """What pip 26 reads with. Two spellings of one option are a duplicate to it; older pip took the last one."""

    def optionxform(self, optionstr: str) -> str:
        return option_name(optionstr.strip())


Settings = dict[tuple[str, str], str]
"""(section, option) -> value, in the order in which pip sees them."""
INDEX, EXTRA, NO_INDEX = ("index-url", "pypi-url"), ("extra-index-url",), ("no-index",)
"""`pypi-url` is an old name of `index-url` that pip still reads; the one that stands last wins."""
SECTIONS = ("global", "install", ":env:")
"""What `pip install`, which Composer's build runs, reads; a later one overrides an earlier one, lists included
(pip's `ConfigOptionParser`). An empty value overrides nothing."""
TRUE = ("y", "yes", "t", "true", "on", "1")


def read_as_pip(text: str) -> Settings:
    """What pip reads in the file. Raises InvalidPipConfError with the lines at fault."""
    parser = _Parser()
    try:
        # newline=None: as a file that is opened as text, where a lone \r ends a line too.
        parser.read_file(io.StringIO(text, newline=None), source="pip.conf")
    except configparser.Error as error:
        faults = "; ".join(_faults(error, text))
    else:
        return {(section, name): value for section in parser.sections() for name, value in parser.items(section)}
    # Behind the block: the error of the parser quotes lines in full.
    raise InvalidPipConfError(f"pip cannot read this pip.conf: {faults}", remedy=_UNTOUCHED)


def _faults(error: configparser.Error, text: str) -> Iterator[str]:
    """Each line that configparser refuses, and why; never its own message, which quotes lines in full."""
    lines = io.StringIO(text, newline=None).readlines()
    if text.startswith("\ufeff"):
        yield "line 1 begins with a byte order mark (BOM), which hides the section header from pip"
    elif isinstance(error, configparser.MissingSectionHeaderError):
        yield f"{_shown(lines, error.lineno)} stands above the first [section]"
    elif isinstance(error, configparser.DuplicateSectionError):
        yield f"{_shown(lines, error.lineno)} begins the section [{error.section}] a second time"
    elif isinstance(error, configparser.DuplicateOptionError):
        yield (
            f"{_shown(lines, error.lineno)} sets {error.option} a second time in [{error.section}] "
            "(dashes, underscores and case make no difference)"
        )
    elif isinstance(error, configparser.ParsingError):
        for number, _ in error.errors:
            yield f"{_shown(lines, number)} is no option, section or comment"
    else:
        yield type(error).__name__


def _shown(lines: list[str], number: int | None) -> str:
    if not number:
        return "a line"
    # A key that was wrapped over several lines has nothing by which a line of it could be known but its look.
    line = re.sub(r"[A-Za-z0-9+/_=-]{40,}", "****", redact(lines[number - 1].strip()))
    return f"line {number} ({line})"


def decode(content: bytes) -> str:
    """The file's bytes as text. Raises InvalidPipConfError when it is not UTF-8 (what pip reads in a container)."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        at, reason = error.start, error.reason
    # Behind the block: the error of the decoder carries the whole file, with the keys that may be in it.
    line = content.count(b"\n", 0, at) + 1
    raise InvalidPipConfError(f"pip.conf is not UTF-8 text: line {line}, byte {at}: {reason}", remedy=_UNTOUCHED)


def effective(settings: Settings, names: Sequence[str], sections: Sequence[str] = SECTIONS) -> str:
    """What `pip install` takes for an option: the last one of the last section that has one."""
    result = ""
    for wanted in sections:
        for (section, name), value in settings.items():
            if section == wanted and name in names and value:
                result = value
    return result
