"""pip.conf: point it at repositories, and keep every other byte of it.

pip reads the file with `configparser.RawConfigParser`; a rewrite by configparser would lose comments, order and line
ends, so this edits lines. What it wrote is then read back the way pip reads it, and compared.
"""

from __future__ import annotations

import configparser
import difflib
import io
import re
from dataclasses import dataclass

from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import InvalidInputError, InvalidPipConfError

FORMS = ("index", "extra_index", "absent")
INDEX, EXTRA = "index-url", "extra-index-url"


@dataclass(frozen=True)
class _Option:
    """One option of the file: where its lines are, and what it says."""

    section: str
    name: str
    """As pip normalises it: lower case, dashes."""
    first: int
    """Index of its first line."""
    end: int
    """Index behind its last line."""
    value: str


class _Document:
    """The file's lines, and its sections and options by line, as configparser sees them."""

    def __init__(self, text: str) -> None:
        # newline="" splits as a file does (\n, \r\n, \r) and keeps the ends; str.splitlines would split at more.
        self.lines = list(io.StringIO(text, newline=""))
        self.newline = "\r\n" if any(line.endswith("\r\n") for line in self.lines) else "\n"
        self.options: list[_Option] = []
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
                self.options[-1] = _Option(last.section, last.name, last.first, number + 1, value)
                continue
            indent = depth
            header = re.match(r"\[(?P<name>.+)\]", text)
            if header:
                section, open_option = header["name"], False
                self.headers[section] = number
                continue
            name, _, value = (part.strip() for part in re.split(r"([=:])", text, maxsplit=1))
            self.options.append(_Option(section, _option_name(name), number, number + 1, value))
            open_option = True

    def find(self, section: str, name: str) -> list[_Option]:
        """All of a name: `index_url` and `index-url` are two options to configparser; pip takes the last one."""
        return [option for option in self.options if option.section == section and option.name == name]

    def replace(self, option: _Option, value: str) -> None:
        """Give an option one other value; how its name is written, and comments between its lines, stay."""
        head = re.match(r"\s*[^=:]*[=:]", self.lines[option.first])
        assert head is not None  # _scan found the option by its delimiter
        comments = self._comments(option)
        ending = _ending(self.lines[option.first] if comments else self.lines[option.end - 1])
        self.lines[option.first : option.end] = [f"{head[0]} {value}{ending}", *comments]
        self._scan()

    def delete(self, option: _Option) -> None:
        """Take an option out; comments between its lines stay."""
        self.lines[option.first : option.end] = self._comments(option)
        self._scan()

    def append(self, option: _Option, value: str) -> None:
        """Add one value to an option that holds a list, on a line of its own."""
        last = self.lines[option.end - 1]
        indent = _indent(last) if option.end - 1 > option.first else f"{_indent(last)}    "
        self._end_line(option.end - 1)
        self.lines.insert(option.end, f"{indent}{value}{self.newline}")
        self._scan()

    def discard(self, option: _Option, value: str) -> None:
        """Take one value out of an option that holds a list; the option itself goes with its last value."""
        if option.value.split() == [value]:
            self.delete(option)
            return
        for number in range(option.end - 1, option.first - 1, -1):
            line = self.lines[number]
            if line.strip()[:1] in ("#", ";") or value not in line.split():
                continue
            kept = re.sub(rf"\s*(?<!\S){re.escape(value)}(?!\S)", "", line.rstrip("\r\n"))
            self.lines[number : number + 1] = [kept + _ending(line)] if kept.strip() else []
        self._scan()

    def add(self, section: str, name: str, value: str) -> None:
        """Add an option behind the last one of its section, as deep as that one.

        Above the first one would be wrong: indented options below an unindented one become its continuation.
        """
        siblings = [option for option in self.options if option.section == section]
        if siblings:
            at, indent = siblings[-1].end, _indent(self.lines[siblings[-1].first])
        elif section in self.headers:
            at, indent = self.headers[section] + 1, _indent(self.lines[self.headers[section]])
        else:
            if self.lines and self.lines[-1].strip():
                self._end_line(len(self.lines) - 1)
                self.lines.append(self.newline)
            self.lines.append(f"[{section}]{self.newline}")
            at, indent = len(self.lines), ""
        self._end_line(at - 1)
        self.lines.insert(at, f"{indent}{name} = {value}{self.newline}")
        self._scan()

    def _comments(self, option: _Option) -> list[str]:
        return [line for line in self.lines[option.first + 1 : option.end] if line.strip()[:1] in ("#", ";")]

    def _end_line(self, number: int) -> None:
        if not _ending(self.lines[number]):
            self.lines[number] += self.newline

    def text(self) -> str:
        return "".join(self.lines)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _ending(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _option_name(name: str) -> str:
    """As pip normalises names of options."""
    return name.lower().replace("_", "-").removeprefix("--")


def read_as_pip(text: str) -> dict[tuple[str, str], str]:
    """(section, option) -> value, as pip reads the file. Raises InvalidPipConfError with the line at fault."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text, source="pip.conf")
    except configparser.Error as error:
        raise InvalidPipConfError(
            f"pip cannot read this pip.conf: {redact(str(error))}",
            remedy="repair the file by hand; it was not touched",
        ) from error
    return {
        (section, _option_name(name)): value for section in parser.sections() for name, value in parser.items(section)
    }


def decode(content: bytes) -> str:
    """The file's bytes as text. Raises InvalidPipConfError when it is not UTF-8 (what pip reads in a container)."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidPipConfError(
            f"pip.conf is not UTF-8 text: {error.reason} at byte {error.start}",
            remedy="repair the file by hand; it was not touched",
        ) from error


def point(text: str, repository: RepositoryName, form: str) -> str:
    """The text of a pip.conf that uses `repository` in `form`; the same text when it already does.

    `index`: it is the only index that we set (`index-url`). `extra_index`: it is one more beside the main index.
    `absent`: it is not named any more. Everything else stays byte for byte. `[install]` overrides `[global]` in pip,
    so an option that stands in `[install]` is changed there too.
    """
    if form not in FORMS:
        raise InvalidInputError(f"form is one of {', '.join(FORMS)}, not {form!r}")
    before = read_as_pip(text)
    document = _Document(text)
    url = repository.index_url
    if form == "index":
        _set_index(document, url)
    else:
        for option in _options(document, INDEX):
            if _same_index(option.value, url):
                document.delete(option)
    _set_extra(document, url, wanted=form == "extra_index")
    result = document.text()
    _check(before, read_as_pip(result), url, form)
    return result


def _options(document: _Document, name: str) -> list[_Option]:
    """The option in the sections that `pip install` reads, last one first: an edit moves only what is below it."""
    found = [option for section in ("global", "install") for option in document.find(section, name)]
    return sorted(found, key=lambda option: -option.first)


def _set_index(document: _Document, url: str) -> None:
    for option in _options(document, INDEX):
        if option.value != url:
            document.replace(option, url)
    if not document.find("global", INDEX):
        document.add("global", INDEX, url)


def _set_extra(document: _Document, url: str, *, wanted: bool) -> None:
    for option in _options(document, EXTRA):
        for entry in dict.fromkeys(option.value.split()):
            if _same_index(entry, url) and not (wanted and entry == url):
                current = next(o for o in document.find(option.section, EXTRA) if o.first == option.first)
                document.discard(current, entry)
    if not wanted:
        return
    for section in ("install", "global"):
        options = document.find(section, EXTRA)
        if options and url not in options[-1].value.split():
            document.append(options[-1], url)
    if not _options(document, EXTRA):
        document.add("global", EXTRA, url)


def _same_index(one: str, other: str) -> bool:
    """Whether two index URLs mean the same repository, whatever credentials or final slash they carry."""
    return _bare(one) == _bare(other)


def _bare(url: str) -> str:
    return re.sub(r"^(https?://)[^/@]*@", r"\1", url.strip()).rstrip("/")


def _check(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str], url: str, form: str) -> None:
    """Compare what pip reads now with what was meant; a difference would be our fault, and nothing is written."""
    ours = {(section, name) for section in ("global", "install") for name in (INDEX, EXTRA)}
    others = {key for key in {*before, *after} - ours if before.get(key) != after.get(key)}
    index = after.get(("install", INDEX), after.get(("global", INDEX), ""))
    extra = after.get(("install", EXTRA), after.get(("global", EXTRA), "")).split()
    named = {"index": index == url, "extra_index": url in extra, "absent": url not in (index, *extra)}[form]
    if others or not named:
        raise InvalidPipConfError(
            f"this pip.conf cannot be edited safely (it would change {sorted(others) or 'nothing'}; "
            f"{'the repository is in place' if named else 'the repository would not be in place'})",
            remedy="edit the file by hand, and report it: this is a fault of airflow-gar-provider",
        )


def credentialed_urls(text: str) -> list[str]:
    """Index URLs of the file that carry a user or a password, redacted."""
    values = [value for (_, name), value in read_as_pip(text).items() if name in (INDEX, EXTRA)]
    return [redact(url) for value in values for url in value.split() if re.match(r"https?://[^/@]+@", url)]


def difference(before: str, after: str) -> str:
    """What changed, as a unified diff with credentials redacted; empty when nothing did."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "pip.conf (before)", "pip.conf (after)", lineterm="", n=1
    )
    return redact("\n".join(lines))
