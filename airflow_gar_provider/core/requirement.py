"""Requirements as Composer accepts them: a name, extras and a specifier; no URL, no marker, no pip option."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.errors import InvalidInputError, InvalidRequirementError


@dataclass(frozen=True)
class Requirement:
    """One requirement, as an entry of Composer's `pypiPackages` map."""

    name: str
    """The PEP 503 name: it is also the key in the map that we write."""
    extras: tuple[str, ...]
    """Sorted, normalised."""
    specifier: str
    """PEP 440, such as `==1.2.0`; empty for any version."""

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read PEP 508 text. Raises InvalidRequirementError."""
        problem = _problem(text)
        if problem:
            raise InvalidRequirementError([problem])
        parsed = Pep508(text.strip())
        extras = tuple(sorted(canonicalize_name(extra) for extra in parsed.extras))
        return cls(canonicalize_name(parsed.name), extras, str(parsed.specifier))

    def __str__(self) -> str:
        return self.name + self.value

    @property
    def value(self) -> str:
        """The entry's value in Composer's map: extras and specifier, such as `[geo]==1.2.0`."""
        return (f"[{','.join(self.extras)}]" if self.extras else "") + self.specifier

    @property
    def pinned(self) -> str | None:
        """The version, when the requirement is one exact `==` pin."""
        match = re.fullmatch(r"==\s*([^*,]+)", self.specifier)
        return match.group(1).strip() if match else None

    def same_as(self, value: str) -> bool:
        """Whether a value of Composer's map means the same, however it is written."""
        try:
            other = Requirement.parse(self.name + value)
        except InvalidRequirementError:
            return False
        return self.extras == other.extras and SpecifierSet(self.specifier) == SpecifierSet(other.specifier)

    def allows(self, version: str) -> bool:
        """Whether an installed version satisfies the specifier (pre-releases count: they are what is installed)."""
        try:
            return SpecifierSet(self.specifier).contains(version, prereleases=True)
        except (InvalidSpecifier, InvalidVersion):  # the second: packaging before 26 says so of the version
            return False


def _problem(text: str) -> str | None:
    """Why Composer would refuse this requirement, or None."""
    stripped, shown = text.strip(), repr(redact(text))  # an index URL may carry a password
    if stripped.startswith("-"):
        return f"{shown} is a pip option; Composer takes none (index settings belong in pip.conf)"
    try:
        parsed = Pep508(stripped)
    except InvalidRequirement as error:
        if "://" in stripped or stripped.endswith((".whl", ".tar.gz")):
            return f"{shown} is a URL or a file; publish the wheel and require its name and version"
        return f"{shown} is not a requirement: {redact(str(error)).splitlines()[0]}"
    if parsed.url:
        return f"{shown} has a URL; publish the wheel and require {parsed.name}==VERSION"
    if parsed.marker:
        return f"{shown} has a marker; Composer's package list has no markers, so drop `; {parsed.marker}`"
    return None


def split_list(value: object) -> list[str]:
    """A list, or one string with newlines or commas (a form and a template give strings) -> its items.

    A comma inside brackets, or before a version operator, belongs to its item: `a[x,y]>=1,<2, b` has two items. A list
    that a template has rendered to text (`['a', 'b']`) is read as the list that it was.
    """
    if value is None:
        return []
    if isinstance(value, str):
        if value.strip().startswith("["):  # no item of ours begins so
            try:
                return split_list(ast.literal_eval(value.strip()))
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                pass
        pieces = re.split(r"\n|,(?![^\[]*\])(?!\s*[<>=!~])", value)
        return [piece.strip() for piece in pieces if piece.strip()]
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return [item for element in value for item in split_list(element)]
    raise InvalidInputError(f"expected a list or a string, got {value!r}")


def parse_requirements(value: object) -> tuple[Requirement, ...]:
    """Read a list, or one string with newlines or commas. Raises InvalidRequirementError naming every problem."""
    texts = split_list(value)
    problems = [problem for text in texts if (problem := _problem(text))]
    parsed = [Requirement.parse(text) for text in texts if not _problem(text)]
    seen: dict[str, Requirement] = {}
    for requirement in parsed:
        earlier = seen.setdefault(requirement.name, requirement)
        if earlier != requirement:
            problems.append(f"{requirement.name} is required twice: {earlier} and {requirement}")
    if problems:
        raise InvalidRequirementError(problems)
    return tuple(seen.values())


def parse_names(value: object) -> tuple[str, ...]:
    """Package names, normalised; a version beside a name is an error. Raises InvalidRequirementError."""
    names, problems = [], []
    for text in split_list(value):
        if re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", text):
            names.append(canonicalize_name(text))
        else:
            problems.append(f"{redact(text)!r} is not the name of a package")
    if problems:
        raise InvalidRequirementError(problems)
    return tuple(dict.fromkeys(names))
