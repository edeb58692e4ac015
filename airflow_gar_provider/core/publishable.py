"""What may be published: rules that look at all files of a release together, beyond each file's own soundness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.version import Version

from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import InvalidInputError

_PYTHON = re.compile(r"3\.\d+(\.\d+)?")
# Composer's images are Linux on x86-64; which manylinux they take, only the build can say.
_PLATFORM = re.compile(r"any|(?:many)?linux(?:\w+)?_x86_64")


@dataclass(frozen=True)
class Rules:
    """What the publisher allows; the default allows everything that a registry can serve."""

    allowed_prefixes: tuple[str, ...] = ()
    """Package names must begin with one of these (PEP 503 spelling); empty: any name."""
    target_pythons: tuple[str, ...] = ()
    """Python versions of the environments that are to install it, `3.11` or `3.11.8`; empty: not checked."""
    max_size: int | None = None
    """Bytes of one file; None: whatever the registry takes."""

    @classmethod
    def read(
        cls, *, allowed_prefixes: object = None, target_python: object = None, max_size_mb: object = None
    ) -> Rules:
        """From an operator's parameters. Raises InvalidInputError."""
        pythons = split_list(target_python)
        wrong = [python for python in pythons if not _PYTHON.fullmatch(python)]
        if wrong:
            raise InvalidInputError(
                f"target_python is a version such as 3.11, not {', '.join(map(repr, wrong))}",
                remedy="write the Python of the environments' images, as their versions page tells it",
            )
        prefixes = tuple(re.sub(r"[-_.]+", "-", prefix).lower() for prefix in split_list(allowed_prefixes))
        try:
            limit = None if max_size_mb in (None, "") else int(float(str(max_size_mb)) * 1_000_000)
        except (ValueError, OverflowError) as error:
            raise InvalidInputError(f"max_size_mb is a number, not {max_size_mb!r}") from error
        return cls(prefixes, tuple(pythons), limit)


def problems_of(distributions: Sequence[Distribution], rules: Rules) -> list[str]:
    """Every reason not to publish these files, a line each that names its file or package."""
    return [
        *(f"{item.file}: {problem}" for item in distributions for problem in _file_problems(item, rules)),
        *_duplicates(distributions),
        *_target_problems(distributions, rules.target_pythons),
    ]


def _file_problems(item: Distribution, rules: Rules) -> Iterator[str]:
    if Version(item.version).epoch:
        yield (
            f"version {item.version} has an epoch (the part before the !), which Artifact Registry is not known to "
            "serve back: publish it under a version without one"
        )
    if re.search(r"[^A-Za-z0-9._+-]", item.file):
        yield "its file name has characters that the index cannot serve back: build it with a current backend"
    if rules.max_size is not None and item.size > rules.max_size:
        yield f"it has {item.size / 1e6:.1f} MB, and {rules.max_size / 1e6:.1f} MB are allowed (max_size_mb)"
    if rules.allowed_prefixes and not item.name.startswith(rules.allowed_prefixes):
        yield (
            f"the name {item.name} begins with none of the allowed prefixes ({', '.join(rules.allowed_prefixes)}): "
            "rename the package, or allow it (allowed_prefixes)"
        )


def _duplicates(distributions: Sequence[Distribution]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for item in distributions:
        if seen.setdefault(item.file, item.sha256) != item.sha256:
            yield f"{item.file}: two sources have this name and different content: name one of them only"


def _target_problems(distributions: Sequence[Distribution], pythons: Iterable[str]) -> Iterator[str]:
    """A release fits an environment when one of its files does: wheels for other machines may lie beside it."""
    releases: dict[tuple[str, str], list[Distribution]] = {}
    for item in distributions:
        releases.setdefault((item.name, str(Version(item.version))), []).append(item)
    for python in pythons:
        for (name, version), items in releases.items():
            refusals = [(item.file, reason) for item in items if (reason := _refusal(item, python))]
            if len(refusals) == len(items):
                reasons = "; ".join(f"{file} {reason}" for file, reason in refusals)
                yield f"{name} {version}: nothing of it installs on Python {python} ({reasons}); build it for that, too"


def _refusal(item: Distribution, python: str) -> str | None:
    """Why pip on this Python passes the file over, or None."""
    if item.requires_python and not _allows(item.requires_python, python):
        return f"requires Python {item.requires_python}"
    if isinstance(item, Wheel) and not any(_runs(tag.interpreter, tag.abi, tag.platform, python) for tag in item.tags):
        return "has tags for other machines"
    return None


def _allows(requires_python: str, python: str) -> bool:
    """Whether some patch release of this Python is allowed: `3.11` says nothing of the patch."""
    try:
        allowed = SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True  # a warning; pip passes it over, too
    exact = python.count(".") == 2
    return any(allowed.contains(text, prereleases=True) for text in ([python] if exact else _patches(python)))


def _patches(python: str) -> list[str]:
    return [f"{python}.{patch}" for patch in range(100)]


def _runs(interpreter: str, abi: str, platform: str, python: str) -> bool:
    return (interpreter, abi) in _supported(python) and _PLATFORM.fullmatch(platform) is not None


@cache
def _supported(python: str) -> frozenset[tuple[str, str]]:
    version = tuple(int(part) for part in python.split(".")[:2])
    interpreter = "cp" + "".join(map(str, version))
    tags = [
        *cpython_tags(version, abis=[interpreter], platforms=["any"]),
        *compatible_tags(version, interpreter=interpreter, platforms=["any"]),
    ]
    return frozenset((tag.interpreter, tag.abi) for tag in tags)
