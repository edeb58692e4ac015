"""What whoever triggers a rollout may ask for: sources below given places, packages with given names.

A form is code execution in production: it names a source that is built, files that are published, and packages that
environments install. So the lists are the DAG author's, and a request is held against them before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_gar_provider.core.fleet import Fleet
from airflow_gar_provider.core.requirement import Requirement, parse_names, parse_requirements, split_list
from airflow_gar_provider.errors import InvalidRequirementError, NotAllowedError

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Allowed:
    """The lists of a DAG's author. An empty list allows nothing; None allows everything."""

    sources: tuple[str, ...] | None = None
    """`gs://BUCKET/FOLDER` or an absolute folder: what may be built and published lies below one of them."""
    prefixes: tuple[str, ...] | None = None
    """Package names must begin with one of these (PEP 503 spelling)."""

    @classmethod
    def read(cls, *, sources: object = None, prefixes: object = None) -> Allowed:
        """From an operator's parameters: None, a list, or one string with newlines or commas."""
        return cls(
            None if sources is None else tuple(split_list(sources)),
            None if prefixes is None else normal_prefixes(prefixes),
        )

    def problems(self, *, sources: Iterable[str] = (), packages: Iterable[str] = ()) -> list[str]:
        """A sentence for each source and package that is not allowed; each names what is."""
        return [
            *(line for source in sources if (line := self._source_problem(source))),
            *(line for package in packages if (line := self._package_problem(package))),
        ]

    def require(self, *, sources: Iterable[str] = (), packages: Iterable[str] = ()) -> None:
        """Raise NotAllowedError, naming everything that is not allowed."""
        found = self.problems(sources=sources, packages=packages)
        if found:
            raise NotAllowedError(found)

    def _source_problem(self, source: str) -> str | None:
        if self.sources is None:
            return None
        if any(is_below(source, place) for place in self.sources):
            return None
        places = ", ".join(self.sources) or "no place"
        return f"the source {source!r} is not below an allowed place; allowed: {places}"

    def _package_problem(self, package: str) -> str | None:
        if self.prefixes is None or (self.prefixes and package.startswith(self.prefixes)):
            return None
        names = ", ".join(self.prefixes) or "no package"
        return f"the package {package!r} begins with none of the allowed prefixes; allowed: {names}"


def normal_prefixes(value: object) -> tuple[str, ...]:
    """Prefixes of package names in PEP 503 spelling: `Acme_` is `acme-`."""
    return tuple(re.sub(r"[-_.]+", "-", prefix).lower() for prefix in split_list(value))


def is_below(source: str, place: str) -> bool:
    """Whether a source, which may be a glob, can only name things at or below a place.

    Compared are whole segments, as they are written: `gs://b/wheels-of-mallory/x` is not below `gs://b/wheels`, a
    pattern may stand below the place only, and nothing with `.`, `..` or an empty segment is below anything.
    """
    scheme, segments = _split(source)
    expected_scheme, wanted = _split(place.rstrip("/") or "/")
    if scheme != expected_scheme or scheme is None:
        return False
    if any(segment in ("", ".", "..") for segment in segments):
        return False
    head = segments[: len(wanted)]
    return head == wanted and not any(_GLOB.search(segment) for segment in head)


def _split(text: str) -> tuple[str | None, Sequence[str]]:
    """`gs://b/a/c` -> ("gs", [b, a, c]); `/a/c` -> ("file", [a, c]); anything else has no scheme that is allowed."""
    stripped = text.removesuffix("/")  # a folder may end in one slash
    if stripped.startswith("gs://"):
        return "gs", stripped.removeprefix("gs://").split("/")
    if text.startswith("/"):
        return "file", stripped.removeprefix("/").split("/") if stripped else []
    return None, []


def require_allowed(
    allowed: Allowed, fleet: Fleet, *, sources: object, requirements: object, absent: object, environments: object
) -> dict[str, list[str]]:
    """Hold a whole request against the lists. Raises NotAllowedError, naming everything that is not allowed.

    Returns the requirements as they were read, and the resource names of the environments that the fleet names; without
    `environments` those are all.
    """
    problems: list[str] = []
    wanted: tuple[Requirement, ...] = ()
    gone: tuple[str, ...] = ()
    try:
        wanted, gone = parse_requirements(requirements), parse_names(absent)
    except InvalidRequirementError as error:
        problems += error.problems
    packages = [*(requirement.name for requirement in wanted), *gone]
    problems += allowed.problems(sources=split_list(sources), packages=packages)
    names = [member.name for stage in fleet.stages for member in stage.members]
    chosen = split_list(environments)
    if not any(stage.find for stage in fleet.stages):  # what is found by label is known when it is planned
        known = {text for name in names for text in (str(name), name.name)}
        allowed_names = ", ".join(name.name for name in names)
        problems += [
            f"the fleet has no environment {text!r}; allowed: {allowed_names}" for text in chosen if text not in known
        ]
    if problems:
        raise NotAllowedError(problems)
    return {
        "requirements": [str(requirement) for requirement in wanted],
        "environments": [str(name) for name in names if not chosen or str(name) in chosen or name.name in chosen],
    }
