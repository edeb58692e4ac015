"""Google's name of a method that no service here knows, by the discovery documents of google-api-python-client.

Airflow's google provider brings that package. Where it is missing, such a method is named by its verb and path.
"""

from __future__ import annotations

import importlib.util
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ApiError, unplayed

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEGMENT = "[^/:]+"


def unknown_method(host: str, verb: str, raw_path: str) -> ApiError:
    """The answer to a request that is no method which a service plays: 501 with Google's name, if it has one."""
    for known, pattern, name in _methods(host):
        if known == verb and pattern.fullmatch(raw_path):
            return unplayed(name)
    return ApiError("UNIMPLEMENTED", f"The sandbox knows no method {verb} {host}{raw_path}.")


@lru_cache
def _methods(host: str) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """Verb, path and name of every method of the host's API; those with more literal text in their path first."""
    found = importlib.util.find_spec("googleapiclient")
    folders = [Path(place) for place in (found.submodule_search_locations or ()) if found] if found else []
    api = host.partition(".")[0]
    entries: list[tuple[str, re.Pattern[str], str]] = []
    for folder in folders:
        for file in sorted((folder / "discovery_cache" / "documents").glob(f"{api}.v*.json")):
            if re.fullmatch(r".*\.v\d+\.json", file.name):
                entries.extend(_entries(json.loads(file.read_text())))
    return tuple(sorted(entries, key=lambda entry: -len(entry[1].pattern.replace(_SEGMENT, ""))))


def _entries(document: dict[str, Any]) -> Iterator[tuple[str, re.Pattern[str], str]]:
    for method in _below(document):
        paths = [document["servicePath"] + method.get("flatPath", method["path"])]
        paths += [item["path"] for item in method.get("mediaUpload", {}).get("protocols", {}).values()]
        for path in paths:
            pieces = re.split(r"\{[^}]+\}", "/" + path.lstrip("/"))
            yield method["httpMethod"], re.compile(_SEGMENT.join(map(re.escape, pieces))), method["id"]


def _below(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from value.get("methods", {}).values()
    for resource in value.get("resources", {}).values():
        yield from _below(resource)
