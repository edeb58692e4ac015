"""What a PATCH of an environment asks for, read from its mask and body. Only one kind of update per request.

Kinds that are played: PyPI packages, overrides of Airflow's configuration and labels (all of them, or one by one),
environment variables. Wording and sources: docs/google-behaviour.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ApiError
from ..fieldmask import read_path
from ..transcoding import unwrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..fieldmask import MaskPath

PACKAGES = "config.software_config.pypi_packages"
VARIABLES = "config.software_config.env_variables"
OVERRIDES = "config.software_config.airflow_config_overrides"
LABELS = "labels"
_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXTRAS = r"\[\s*[A-Za-z0-9._-]+(\s*,\s*[A-Za-z0-9._-]+)*\s*\]"
_CLAUSE = r"(===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_VALUE = re.compile(rf"\s*({_EXTRAS})?\s*({_CLAUSE}(\s*,\s*{_CLAUSE})*)?\s*")
_RESERVED = re.compile(
    r"AIRFLOW__.*|COMPOSER_.*|AIRFLOW_HOME|C_FORCE_ROOT|CONTAINER_NAME|DAGS_FOLDER|GCE_METADATA_TIMEOUT|GCP_PROJECT|"
    r"GCP_TENANT_PROJECT|GCSFUSE_EXTRACTED|GCS_BUCKET|GKE_CLUSTER_NAME|GKE_IN_TENANT|GOOGLE_APPLICATION_CREDENTIALS|"
    r"GOOGLE_CLOUD_PROJECT|MAJOR_VERSION|MINOR_VERSION|PATH|PIP_DISABLE_PIP_VERSION_CHECK|PORT|PROJECT_ID|"
    r"PYTHONPYCACHEPREFIX|PYTHONWARNINGS|SQL_.*"
)
# Python's \w knows no case: upper-case letters are taken out.
_LABEL_KEY = re.compile(r"(?:(?![A-Z])[\w-]){1,63}")
_LABEL_VALUE = re.compile(r"(?:(?![A-Z])[\w-]){0,63}")
_LABEL_LIMIT = 64
# As the API describes airflowConfigOverrides: no brackets and no hyphen in a section, no dot anywhere, properties in
# snake_case.
_OVERRIDE = re.compile(r"(?P<section>[^\[\]\-.\s]+)-(?P<property>[a-z0-9_]+)")
_BLOCKED_OVERRIDES = frozenset(
    (
        "celery-broker_url",
        "celery-result_backend",
        "core-dags_folder",
        "core-executor",
        "core-fernet_key",
        "core-plugins_folder",
        "core-sql_alchemy_conn",
        "database-sql_alchemy_conn",
        "logging-base_log_folder",
        "logging-remote_base_log_folder",
        "logging-remote_logging",
    )
)


@dataclass(frozen=True)
class Update:
    """One kind of change and the map as it shall be."""

    kind: str
    """The field that changes: `PACKAGES`, `VARIABLES`, `OVERRIDES` or `LABELS`."""
    wanted: Mapping[str, str]
    """The whole map after the update."""


def read_update(current: Any, request: Any) -> Update:
    """The update that a request asks for; INVALID_ARGUMENT with every problem of it."""
    body = unwrap(request.environment)
    paths = [read_path(path, body.DESCRIPTOR) for path in request.update_mask.paths]
    if not paths:
        raise _problems(["Request must not contain an empty update_mask."])
    kinds = list(dict.fromkeys(path.field for path in paths))
    if len(kinds) > 1:
        # Enforced since March 2025; the exact wording is not known.
        raise _problems([f"Only one type of update is allowed per request, but update_mask has: {', '.join(kinds)}."])
    kind = kinds[0]
    if kind not in _CHECKS:
        raise ApiError("UNIMPLEMENTED", f"The sandbox does not play environment updates of {kind}.")
    if len(paths) > 1 and any(path.key is None for path in paths):
        raise _problems([f"update_mask must not contain both {kind} and fields below it."])
    if kind == VARIABLES and paths[0].key is not None:
        # The API documents the whole map alone, and no other mask of variables; its wording is not known.
        raise _problems([f"update_mask {kind}.{paths[0].key} is not supported: {kind} can only be replaced."])
    before = dict(_map_of(unwrap(current), kind))
    given = dict(_map_of(body, kind))
    wanted = _wanted(paths, before, given)
    changed = {key: value for key, value in wanted.items() if before.get(key) != value}
    problems = [problem for key, value in changed.items() for problem in _CHECKS[kind](key, value)]
    if kind == LABELS and len(wanted) > _LABEL_LIMIT:
        problems.append(f"An environment has at most {_LABEL_LIMIT} labels.")
    if problems:
        raise _problems(problems)
    if wanted == before:
        raise ApiError("INVALID_ARGUMENT", _no_change(kind, paths))
    return Update(kind, wanted)


def check_creation(environment: Any) -> None:
    """INVALID_ARGUMENT with every problem of what a new environment is configured with."""
    body = unwrap(environment)
    problems = (
        [] if not _map_of(body, PACKAGES) else ["User-provided PyPi dependencies forbidden at environment creation"]
    )
    for kind in (VARIABLES, OVERRIDES, LABELS):
        problems += [problem for key, value in _map_of(body, kind).items() for problem in _CHECKS[kind](key, value)]
    if problems:
        raise _problems(problems)


def _wanted(paths: list[MaskPath], before: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    if paths[0].key is None:
        return given
    wanted = dict(before)
    for path in paths:
        key = str(path.key)
        if key not in given:
            # Generated REST clients spell the key of the mask in camelCase, but not the one in the body.
            key = next((name for name in given if _camel(name) == key), key)
        if key in given:
            wanted[key] = given[key]
        else:
            wanted.pop(key, None)
    return wanted


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)


def _map_of(environment: Any, kind: str) -> Mapping[str, str]:
    value = environment
    for name in kind.split("."):
        value = getattr(value, name)
    result: Mapping[str, str] = value
    return result


def apply_update(environment: Any, update: Update) -> None:
    """Write the update into the environment's record."""
    values = environment
    for name in update.kind.split("."):
        values = getattr(values, name)
    values.clear()
    values.update(update.wanted)


def _package_problems(key: str, value: str) -> list[str]:
    problems = []
    if not _KEY.fullmatch(key):
        problems.append(
            f"Error validating key {key}. PyPI dependency name is not formatted properly. It must follow the format of "
            "'identifier' specified in PEP-508."
        )
    if not _VALUE.fullmatch(value):
        problems.append(
            f"Error validating value {value} of key {key}. PyPI dependency extras and version are not formatted "
            "properly. They must follow the format of 'extras' and 'versionspec' specified in PEP-508."
        )
    return problems


def _variable_problems(key: str, value: str) -> list[str]:
    if _RESERVED.fullmatch(key):
        return [f"Environment variables [{key}] may not be overridden."]
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", key) or "\x00" in value:
        return [f"Error validating key {key}. Environment variable names must match [a-zA-Z_][a-zA-Z0-9_]*."]
    return []


def _override_problems(key: str, value: str) -> list[str]:
    if not _OVERRIDE.fullmatch(key):
        rule = "no hyphen, bracket or dot in the section, the property in snake_case"
        return [f"Error validating key {key}. Airflow configuration overrides are named SECTION-PROPERTY: {rule}."]
    if key in _BLOCKED_OVERRIDES:
        return [f"Airflow configuration property {key} is blocked and cannot be overridden."]
    return []


def _label_problems(key: str, value: str) -> list[str]:
    problems = []
    if not _LABEL_KEY.fullmatch(key) or not key[0].isalpha():
        problems.append(
            f"Label key {key} is not valid: it must match [\\p{{Ll}}\\p{{Lo}}][\\p{{Ll}}\\p{{Lo}}\\p{{N}}_-]{{0,62}}."
        )
    if not _LABEL_VALUE.fullmatch(value):
        problems.append(f"Label value {value} is not valid: it must match [\\p{{Ll}}\\p{{Lo}}\\p{{N}}_-]{{0,63}}.")
    return problems


_CHECKS = {
    PACKAGES: _package_problems,
    VARIABLES: _variable_problems,
    OVERRIDES: _override_problems,
    LABELS: _label_problems,
}


def override_variables(overrides: Mapping[str, str]) -> dict[str, str]:
    """Overrides of Airflow's configuration as the environment variables that Airflow reads."""
    names = {key: key.upper().replace("-", "__", 1) for key in overrides}
    return {f"AIRFLOW__{names[key]}": value for key, value in overrides.items()}


def _problems(problems: list[str]) -> ApiError:
    count = f"Found {len(problems)} problem{'s' if len(problems) > 1 else ''}:"
    lines = "".join(f"\n\t{number}) {text}" for number, text in enumerate(problems, start=1))
    return ApiError("INVALID_ARGUMENT", count + lines)


def _no_change(kind: str, paths: list[MaskPath]) -> str:
    field = {
        PACKAGES: "configuration.software_configuration.pypi_dependencies",
        VARIABLES: "configuration.software_configuration.environment_variables",
        OVERRIDES: "configuration.software_configuration.airflow_config_overrides",
        LABELS: "configuration.labels",
    }[kind]
    named = f".{paths[0].key}" if len(paths) == 1 and paths[0].key is not None else ""
    return f"No change in configuration. Must specify a change to {field}{named}"
