"""What pip resolved, held against what an environment has: what is added, what moves, and what that would break."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_ROOT = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>\S+)")
_CHILD = re.compile(
    r"(?P<depth>(?:[│ ] {3})*[├└]── |(?: {2})+- )(?P<name>[A-Za-z0-9][\w.-]*) "
    r"\[required: (?P<specifier>[^\]]*?), installed: (?P<version>[^\]]*)\]"
)


@dataclass(frozen=True)
class Needs:
    """One installed package's requirement."""

    package: str
    """PEP 503 name of the one that requires."""
    version: str
    """Its version."""
    name: str
    """PEP 503 name of what it requires."""
    specifier: str
    """PEP 440; empty for any version."""


def parse_tree(output: str) -> tuple[Needs, ...]:
    """What `pipdeptree` prints, with lines (since its 2.3) or dashes: who requires what, at every depth."""
    found: list[Needs] = []
    path: list[tuple[str, str]] = []
    for line in output.splitlines():
        root, child = _ROOT.match(line), _CHILD.match(line)
        if root:
            path = [(canonicalize_name(root["name"]), root["version"])]
        elif child and path:
            width = len(child["depth"])
            depth = width // 4 if "─" in child["depth"] else (width - 2) // 2
            name, specifier = canonicalize_name(child["name"]), child["specifier"]
            del path[depth:]
            found.append(Needs(*path[-1], name, "" if specifier == "Any" else specifier))
            path.append((name, child["version"]))
    return tuple(dict.fromkeys(found))


def resolved(report: Mapping[str, Any]) -> dict[str, str]:
    """pip's installation report (`--report`, version 1) -> PEP 503 name to version."""
    return {
        canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in report.get("install", ())
    }


def moved(installed: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    """What the update adds (from None) or moves: name -> version before and after."""
    return {
        name: (installed.get(name), version)
        for name, version in sorted(after.items())
        if not _same(installed.get(name), version)
    }


def _same(one: str | None, other: str) -> bool:
    try:
        return one is not None and Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def broken(tree: Iterable[Needs], installed: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Sentences: installed packages that stay and whose requirements the update would break, as `pip check` finds.

    What is broken already is no fault of the update (Composer's check is as lenient).
    """
    told = []
    for needs in tree:
        brings = after.get(needs.name)
        if brings is None or needs.package in after or _allows(needs.specifier, brings):
            continue
        before = installed.get(needs.name)
        if before is not None and not _allows(needs.specifier, before):
            continue
        told.append(
            f"{needs.package} {needs.version}, which is installed, needs {needs.name}{needs.specifier}, "
            f"but the update would leave {needs.name} {brings}"
        )
    return told


def _allows(specifier: str, version: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return True


def pinned_down(lines: Sequence[str]) -> tuple[str, ...]:
    """Names of installed packages that pip's conflict names as constraints: those that would have to move."""
    found = [re.search(r"The user requested \(constraint\) (?P<name>[A-Za-z0-9][\w.-]*)==", line) for line in lines]
    return tuple(dict.fromkeys(canonicalize_name(match["name"]) for match in found if match))


def stand_in(name: str, version: str, tag: str) -> tuple[str, bytes]:
    """An empty wheel that stands for an installed package: file name and content.

    pip then need not find, and download, what the environment has anyway: Composer's own builds of Airflow are in no
    index, and behind a closed network nothing preinstalled is.
    """
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{folder}/RECORD", "")
    return f"{name.replace('-', '_')}-{version}-{tag}.whl", buffer.getvalue()
