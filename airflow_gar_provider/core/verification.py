"""Whether an environment has what was wanted: by its declared map, by `pip list`, and by its DAGs' import errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from packaging.utils import canonicalize_name

from airflow_gar_provider.core.environment import plan_patch
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.requirement import Requirement


def undeclared(actual: Mapping[str, str], wanted: Iterable[Requirement], absent: Iterable[str]) -> list[str]:
    """Sentences: what the declared map lacks, or has too much. Empty when it is as wanted."""
    patch = plan_patch(actual, wanted, absent)
    lacking = [
        f"{name} is declared as {actual.get(name, 'absent')!r}, wanted {value!r}" for name, value in patch.set.items()
    ]
    return lacking + [f"{name} is still declared" for name in patch.remove]


def uninstalled(installed: Mapping[str, str], wanted: Iterable[Requirement]) -> list[str]:
    """Sentences: what is not installed, or in a version that the requirement forbids. Keys are PEP 503 names."""
    problems = []
    for requirement in wanted:
        version = installed.get(requirement.name)
        if version is None:
            problems.append(f"{requirement} is declared, but not installed")
        elif not requirement.allows(version):
            problems.append(f"{requirement} is wanted, but version {version} is installed")
    return problems


def parse_pip_list(output: str) -> dict[str, str]:
    """What `pip list` printed, as columns, as `name==version` lines or as JSON -> PEP 503 name to version."""
    text = output.strip()
    if text.startswith("["):
        try:
            return {canonicalize_name(entry["name"]): str(entry["version"]) for entry in json.loads(text)}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass  # `[notice] A new release of pip is available`
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\s+|==)(\d\S*)", line)
        if match:
            found[canonicalize_name(match.group(1))] = match.group(2)
    return found


def last_lines(traces: Mapping[str, str]) -> dict[str, str]:
    """DAG file -> the last line of its import error, redacted: a traceback ends with what went wrong."""
    return {file: redact((trace.strip().splitlines() or [""])[-1].strip()) for file, trace in traces.items()}


def newly_broken(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Sentences: DAG files that could be imported before, and cannot now. What was broken already is not counted."""
    return [f"{file} can no longer be imported: {line}" for file, line in sorted(now.items()) if file not in before]


def all_parsed(times: Iterable[datetime | None], since: datetime) -> bool:
    """Whether every DAG was read again since then; one that was never read counts as not."""
    return all(time is not None and time >= since for time in times)
