"""A fleet as a YAML file: read, checked against the schema, errors named by line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Any

import jsonschema
import yaml

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Find, Fleet, Hold, Identity, Member, Packages, Stage
from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.core.requirement import parse_names, parse_requirements
from airflow_gar_provider.errors import InvalidFleetError, InvalidInputError

Path = tuple[str | int, ...]
_Lines = dict[Path, int]
_MOST_VALUES, _DEEPEST = 50_000, 100
"""A fleet of a thousand environments, with packages of their own for each, has ten thousand."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """YAML without its timestamps: `2026-12-20` stays the text that the schema describes."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        """A `[` or `{`: PyYAML's time grows with the square of how deep they are nested."""
        if self.flow_level > _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")
        super().fetch_flow_collection_start(token)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@cache
def schema() -> dict[str, Any]:
    """The JSON schema that is shipped as `fleet.schema.json`."""
    text = resources.files("airflow_gar_provider").joinpath("fleet.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def read_fleet(text: str, source: str) -> Fleet:
    """A fleet from YAML text; `source` names it in errors. Raises InvalidFleetError with a line for every problem."""
    value, lines = _load(text, source)
    validator = jsonschema.Draft7Validator(schema())
    errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        raise InvalidFleetError(source, [_told(error, lines) for error in errors])
    problems: list[str] = []
    try:
        fleet = _Reader(lines, problems).fleet(value)
    except InvalidInputError as error:
        raise InvalidFleetError(source, [error.what]) from error
    if fleet is None:
        raise InvalidFleetError(source, problems)
    return fleet


def _load(text: str, source: str) -> tuple[Any, _Lines]:
    lines: _Lines = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise InvalidFleetError(source, ["line 1: the file is empty"])
        problems = list(_walk(node, (), lines))
        if problems:
            raise InvalidFleetError(source, problems)
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise InvalidFleetError(source, [f"{line}this is no YAML: {what}"]) from error
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        # A value that is not what its tag says, such as `!!int x`: PyYAML lets out whatever the conversion raised.
        raise InvalidFleetError(source, [f"a value cannot be read: {error}"]) from error
    except RecursionError as error:
        raise InvalidFleetError(source, ["it is nested too deeply, or an alias contains itself"]) from error


def _walk(node: yaml.Node, path: Path, lines: _Lines) -> Iterator[str]:
    """Note the line of every value; yield what YAML would take silently (a key twice: the last one wins)."""
    lines.setdefault(path, node.start_mark.line + 1)
    if len(lines) > _MOST_VALUES:
        # Ten lines of anchors can stand for a billion values.
        raise yaml.YAMLError(f"its aliases unfold to more than {_MOST_VALUES} values")
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(item, (*path, number), lines)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield f"line {key.start_mark.line + 1}: {name!r} is there twice"
            seen.add(name)
            lines[(*path, name)] = key.start_mark.line + 1
            yield from _walk(value, (*path, name), lines)


def _told(error: jsonschema.ValidationError, lines: _Lines) -> str:
    """A finding of the schema in one line. Of alternatives (`oneOf`), the one that was meant is told."""
    if error.validator in ("oneOf", "anyOf") and error.context:
        best = jsonschema.exceptions.best_match([error])
        if best is not None and best is not error:
            error = best
    path = tuple(error.absolute_path)
    where = ".".join(str(part) for part in path) or "the file"
    message = error.message if len(error.message) < 300 else f"{error.message[:300]}…"
    return f"line {_line(path, lines)}: {where}: {message}"


def _line(path: Sequence[str | int], lines: _Lines) -> int:
    """The line of a value, or of what holds it."""
    place = tuple(path)
    while place not in lines and place:
        place = place[:-1]
    return lines.get(place, 1)


class _Reader:
    """Turns the checked value into a fleet; collects problems with their lines."""

    def __init__(self, lines: _Lines, problems: list[str]) -> None:
        self._lines = lines
        self._problems = problems

    def fleet(self, value: dict[str, Any]) -> Fleet | None:
        stages = tuple(self._stage(entry, ("stages", number)) for number, entry in enumerate(value["stages"]))
        freezes = [self._freeze(entry, ("freeze", number)) for number, entry in enumerate(value.get("freeze", []))]
        holds = [self._hold(entry, ("holds", number)) for number, entry in enumerate(value.get("holds", []))]
        packages = self._packages(value, ())
        if self._problems:
            return None
        return Fleet(
            state=value["state"].rstrip("/"),
            stages=stages,
            identity=_identity(value),
            packages=packages,
            freezes=tuple(freeze for freeze in freezes if freeze),
            holds=tuple(hold for hold in holds if hold),
        )

    def _stage(self, value: dict[str, Any], path: Path) -> Stage:
        members = [
            self._member(entry, (*path, "environments", number))
            for number, entry in enumerate(value.get("environments", []))
        ]
        return Stage(
            name=value["name"],
            members=tuple(member for member in members if member),
            find=tuple(
                Find(tuple(find["projects"]), tuple(find["locations"]), dict(find.get("labels", {})))
                for find in value.get("find", [])
            ),
            max_parallel=value.get("max_parallel", 1),
            max_failures=value.get("max_failures", 0),
            soak=value.get("soak", 0),
            max_dag_failure_rate=value.get("max_dag_failure_rate"),
            identity=_identity(value),
            packages=self._packages(value, path),
        )

    def _member(self, value: str | dict[str, Any], path: Path) -> Member | None:
        entry = {"name": value} if isinstance(value, str) else value
        name = self._environment(entry["name"], path)
        packages = self._packages(entry, path)
        return Member(name, _identity(entry), packages, entry.get("hold")) if name else None

    def _environment(self, text: str, path: Path) -> EnvironmentName | None:
        try:
            return EnvironmentName.parse(text)
        except InvalidInputError as error:
            self._problem(path, error)
            return None

    def _packages(self, value: dict[str, Any], path: Path) -> Packages:
        try:
            return Packages(parse_requirements(value.get("packages")), parse_names(value.get("absent")))
        except InvalidInputError as error:
            key = "packages" if "packages" in value else "absent"
            self._problem((*path, key), error)
            return Packages()

    def _freeze(self, value: dict[str, Any], path: Path) -> Freeze | None:
        try:
            return Freeze.parse(
                value["from"],
                value["to"],
                value["reason"],
                days=tuple(value.get("days", ())),
                timezone=value.get("timezone", "UTC"),
                stages=tuple(value.get("stages", ())),
            )
        except InvalidInputError as error:
            self._problem(path, error)
            return None

    def _hold(self, value: dict[str, Any], path: Path) -> Hold | None:
        name = self._environment(value["environment"], path)
        try:
            packages = parse_names(value.get("packages"))
        except InvalidInputError as error:
            self._problem(path, error)
            return None
        return Hold(name, value["reason"], packages) if name else None

    def _problem(self, path: Path, error: InvalidInputError) -> None:
        self._problems.append(f"line {_line(path, self._lines)}: {error.what}")


def _identity(value: dict[str, Any]) -> Identity:
    chain = value.get("impersonation_chain")
    if isinstance(chain, str):
        chain = [chain]
    return Identity(value.get("gcp_conn_id"), tuple(chain) if chain is not None else None)
