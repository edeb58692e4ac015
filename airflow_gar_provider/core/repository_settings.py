"""What a repository should be like, and how far the one that exists is from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_gar_provider.core.repository import MODES, Repository, RepositoryName, Upstream
from airflow_gar_provider.errors import InvalidInputError, InvalidNameError

# Google Cloud's rules for labels ("Requirements for labels"), and the form of a key's name (Cloud KMS).
_LABEL_KEY = re.compile(r"[^\W\dA-Z_][^\WA-Z]{0,62}|[^\W\dA-Z_](?:[^\WA-Z]|-){0,62}")
_LABEL_VALUE = re.compile(r"(?:[^\WA-Z]|-){0,63}")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_CONDITION = ("tagState", "tagPrefixes", "versionNamePrefixes", "packageNamePrefixes", "olderThan", "newerThan")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

UNCHANGEABLE = {
    "remote": "a remote repository keeps the upstream that it was created with",
    "kms_key": "a repository keeps the key that it was created with",
}
"""Fields that no update reaches, and why: Google's update refuses them (gcloud has no option for them either)."""


@dataclass(frozen=True)
class Settings:
    """What a repository is created with. None: not said, so whatever is there stays."""

    mode: str
    """`standard`, `remote` or `virtual`."""
    upstreams: tuple[Upstream, ...] | None = None
    """Of a virtual repository: all of them."""
    remote: str | None = None
    """Of a remote repository: `PYPI`, the URL of an index, or another repository's name."""
    description: str | None = None
    """As people will read it."""
    labels: Mapping[str, str] | None = None
    """These are set; a label that is not listed stays."""
    cleanup_policies: Mapping[str, Mapping[str, Any]] | None = None
    """By name, all of them: a policy that is not listed goes. See `cleanup_policies_from`."""
    cleanup_dry_run: bool | None = None
    """Whether the cleanup policies only write to the log what they would delete."""
    kms_key: str | None = None
    """`projects/P/locations/L/keyRings/K/cryptoKeys/C`."""


def settings_from(
    repository: RepositoryName,
    *,
    mode: str = "standard",
    upstreams: object = None,
    description: str | None = None,
    labels: object = None,
    cleanup_policies: object = None,
    cleanup_dry_run: object = None,
    kms_key: str | None = None,
) -> Settings:
    """Read what a user gave; maps and lists may also be JSON text. Raises InvalidInputError with every problem."""
    problems: list[str] = []

    def read(reader: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return reader(*arguments)
        except InvalidInputError as error:
            problems.append(error.what)
            return None

    if mode not in MODES:
        problems.append(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    if mode == "standard" and upstreams:
        problems.append("a standard repository has no upstreams")
    if kms_key and not _KMS_KEY.fullmatch(kms_key):
        problems.append(f"{kms_key!r} is not a key: write projects/P/locations/L/keyRings/K/cryptoKeys/C")
    settings = Settings(
        mode=mode,
        upstreams=read(upstreams_from, upstreams, repository) if mode == "virtual" else None,
        remote=read(_remote_from, upstreams) if mode == "remote" else None,
        description=description,
        labels=None if labels is None else read(_labels_from, labels),
        cleanup_policies=None if cleanup_policies is None else read(cleanup_policies_from, cleanup_policies),
        cleanup_dry_run=read(_switch_from, cleanup_dry_run),
        kms_key=kms_key or None,
    )
    if len(problems) == 1:
        raise InvalidInputError(problems[0], resource=str(repository))
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise InvalidInputError(f"the repository cannot be like that:{lines}", resource=str(repository))
    return settings


def _parsed(value: object) -> object:
    """A form and a template give text: JSON text becomes what it says."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"{value!r} is not JSON: {error}") from error
    return value


def _remote_from(value: object) -> str:
    if isinstance(value, str) and (value.upper() == "PYPI" or re.match(r"https?://.|projects/.", value)):
        return "PYPI" if value.upper() == "PYPI" else value
    raise InvalidInputError(f'upstreams of a remote repository is "PYPI" or the URL of an index, not {value!r}')


def _switch_from(value: object) -> bool | None:
    """A template gives "True" and "False"; nothing is not said."""
    if value is None or isinstance(value, bool):
        return value
    words = {"true": True, "false": False, "none": None, "": None}
    if str(value).lower() not in words:
        raise InvalidInputError(f"cleanup_dry_run is True or False, not {value!r}")
    return words[str(value).lower()]


def upstreams_from(value: object, repository: RepositoryName) -> tuple[Upstream, ...]:
    """Read `{"projects/…/repositories/R": priority, …}`, the highest first. Raises InvalidInputError."""
    value = _parsed(value)
    if not isinstance(value, Mapping) or not value:
        raise InvalidInputError(
            f"upstreams of a virtual repository are a map from repository to priority, not {value!r}: "
            'write upstreams={"projects/P/locations/L/repositories/private": 100, "projects/…/pypi": 10}'
        )
    upstreams, problems = [], []
    for text, priority in value.items():
        try:
            upstream = Upstream(RepositoryName.parse(text), _priority(priority))
        except (InvalidNameError, InvalidInputError) as error:
            problems.append(error.what)
            continue
        if upstream.repository.location != repository.location:
            problems.append(f"the upstream {text} is not in {repository.location}, where the virtual repository is")
        upstreams.append(upstream)
    if problems:
        raise InvalidInputError("; ".join(problems))
    return tuple(sorted(upstreams, key=lambda upstream: (-upstream.priority, str(upstream.repository))))


def _priority(value: object) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,9}", str(value)):
        raise InvalidInputError(f"a priority is a whole number, not {value!r}")
    return int(str(value))


def _labels_from(value: object) -> dict[str, str]:
    value = _parsed(value)
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"labels are a map, not {value!r}")
    bad = [str(key) for key, text in value.items() if not _is_label(key, text)]
    if bad or len(value) > 64:
        what = f"these labels cannot be: {', '.join(bad)}" if bad else f"{len(value)} labels are more than 64"
        raise InvalidInputError(
            f"{what} (a key begins with a small letter; keys and values have small letters, digits, _ and -, "
            "63 characters at most)"
        )
    return dict(value)


def _is_label(key: object, value: object) -> bool:
    return (
        isinstance(key, str)
        and isinstance(value, str)
        and bool(_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value))
    )


def cleanup_policies_from(value: object) -> dict[str, dict[str, Any]]:
    """Read the content of the file that `gcloud artifacts repositories set-cleanup-policies` takes.

    A list of {"name", "action": {"type": "Delete" | "Keep"}, and "condition" or "mostRecentVersions"}. Returns the
    policies by name as the REST API writes them: {"action": "DELETE", "condition": {"olderThan": "2592000s"}}.
    Raises InvalidInputError with the problems of all policies.
    """
    value = _parsed(value)
    if not isinstance(value, list):
        raise InvalidInputError(
            f"cleanup policies are a list of {{name, action, condition or mostRecentVersions}}, not {value!r}"
        )
    policies: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for index, item in enumerate(value):
        name = str(item.get("name") or "") if isinstance(item, Mapping) else ""
        if not name:
            problems.append(f"cleanup policy {index + 1} has no name")
        elif name in policies:
            problems.append(f"two cleanup policies are named {name}")
        else:
            try:
                policies[name] = _policy(item)
            except InvalidInputError as error:
                problems.append(f"cleanup policy {name}: {error.what}")
    if problems:
        raise InvalidInputError("; ".join(problems))
    return policies


def _policy(item: Mapping[str, Any]) -> dict[str, Any]:
    action = item.get("action")
    kind = str(action.get("type", "") if isinstance(action, Mapping) else action or "").upper()
    condition, recent = item.get("condition"), item.get("mostRecentVersions")
    unknown = sorted(set(item) - {"name", "id", "action", "condition", "mostRecentVersions"})
    if unknown:
        raise InvalidInputError(f"unknown keys: {', '.join(unknown)}")
    if kind not in ("DELETE", "KEEP"):
        raise InvalidInputError('its action is {"type": "Delete"} or {"type": "Keep"}')
    if (condition is None) == (recent is None):
        raise InvalidInputError('it needs "condition" or "mostRecentVersions", and not both')
    if recent is not None:
        if kind != "KEEP" or not isinstance(recent, Mapping) or not isinstance(recent.get("keepCount"), int):
            raise InvalidInputError('"mostRecentVersions" goes with the action Keep, and has a whole "keepCount"')
        return {"action": kind, "mostRecentVersions": dict(recent)}
    if not isinstance(condition, Mapping) or set(condition) - set(_CONDITION):
        raise InvalidInputError(f'"condition" is a map of {", ".join(_CONDITION)}')
    return {"action": kind, "condition": {key: _condition(key, entry) for key, entry in condition.items()}}


def _condition(key: str, value: Any) -> Any:
    if key in ("olderThan", "newerThan"):
        return f"{duration_from(value)}s"
    if key == "tagState":
        return str(value).upper()
    if not isinstance(value, list):
        raise InvalidInputError(f"{key} is a list")
    return list(value)


def duration_from(value: object) -> int:
    """Seconds of `30d`, `1w2d`, `3600s`, or a number of seconds. Raises InvalidInputError."""
    text = str(value).strip().lower()
    pieces = re.findall(r"(\d{1,9})([smhdw])", text)
    if re.fullmatch(r"\d{1,12}", text):
        return int(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        raise InvalidInputError(f"{value!r} is not a duration: write 30d, 12h or a number of seconds")
    return sum(int(number) * _SECONDS[unit] for number, unit in pieces)


def differences(found: Repository, wanted: Settings) -> dict[str, dict[str, Any]]:
    """Where the repository that exists is not as wanted: field -> {"is", "wanted"}, all of it JSON."""
    pairs: dict[str, tuple[Any, Any]] = {}
    if wanted.upstreams is not None:
        pairs["upstreams"] = (_priorities(found.upstreams), _priorities(wanted.upstreams))
    if wanted.remote is not None:
        pairs["remote"] = (found.remote, wanted.remote)
    if wanted.description is not None:
        pairs["description"] = (found.description, wanted.description)
    if wanted.labels is not None:
        pairs["labels"] = ({key: found.labels.get(key) for key in wanted.labels}, dict(wanted.labels))
    if wanted.cleanup_policies is not None:
        pairs["cleanup_policies"] = (_comparable(found.cleanup_policies), _comparable(wanted.cleanup_policies))
    if wanted.cleanup_dry_run is not None:
        pairs["cleanup_dry_run"] = (found.cleanup_dry_run, wanted.cleanup_dry_run)
    if wanted.kms_key is not None:
        # Google shows the version of the key that it used; a user names the key.
        pairs["kms_key"] = (found.kms_key.partition("/cryptoKeyVersions/")[0], wanted.kms_key)
    return {field: {"is": have, "wanted": want} for field, (have, want) in pairs.items() if have != want}


def _priorities(upstreams: tuple[Upstream, ...]) -> dict[str, int]:
    return {str(upstream.repository): upstream.priority for upstream in upstreams}


def _comparable(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Without what means nothing: any tag state is the same as none that is named (Python packages have no tags)."""
    return {
        name: {
            key: {k: v for k, v in value.items() if v not in ("ANY", "TAG_STATE_UNSPECIFIED", [], None)}
            if isinstance(value, Mapping)
            else value
            for key, value in policy.items()
        }
        for name, policy in policies.items()
    }
