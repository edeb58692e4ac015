"""The checks before an update: their names, which of them a task wants, and those that need no registry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_gar_provider.core.choice import Target
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import EnvironmentNotReadyError, Finding, InvalidInputError

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import Environment

CHECKS = ("state", "requirement", "index", "wheel", "access", "confusion")
"""All that cost a few calls; each can be skipped by its name."""
RESOLVE = "resolve"
"""The one that costs a minute: pip itself resolves."""


def checks_of(preflight: bool | str, skip: object = ()) -> frozenset[str]:
    """What an operator's `preflight` (True, False or "resolve") and `skip_checks` mean. Raises InvalidInputError.

    A form and a template give strings: `"true"` and `"false"` are read too.
    """
    words = {"true": True, "false": False, "": False}
    wanted = words.get(preflight.strip().lower(), preflight) if isinstance(preflight, str) else preflight
    if wanted not in (True, False, RESOLVE):
        raise InvalidInputError(f'preflight is True, False or "{RESOLVE}", not {preflight!r}')
    names = [skip] if isinstance(skip, str) else list(skip or ())  # type: ignore[call-overload]
    skipped = [name.strip() for text in names for name in str(text).split(",") if name.strip()]
    unknown = [name for name in skipped if name not in (*CHECKS, RESOLVE)]
    if unknown:
        raise InvalidInputError(
            f"there is no preflight check {', '.join(map(repr, unknown))}", remedy=f"checks are {', '.join(CHECKS)}"
        )
    if wanted is False:
        return frozenset()
    return frozenset({*CHECKS, *([RESOLVE] if wanted == RESOLVE else [])} - set(skipped))


def state_findings(environment: Environment) -> list[Finding]:
    """Whether the environment takes an update. UPDATING ends by itself: it is waited for."""
    try:
        environment.require_updatable()
    except EnvironmentNotReadyError as error:
        return [Finding("state", error.what, error.remedy or "look at the environment's page", error.retryable)]
    return []


def requirement_findings(environment: Environment, requirements: Iterable[Requirement]) -> list[Finding]:
    """What Composer would refuse, beyond what a requirement's own syntax says.

    Composer pins its own build of Airflow beside the list (`apache-airflow==X.Y.Z+composer`); extras of it are welcome
    (its API's documentation has them as an example), another version is not.
    """
    own, found = environment.airflow_version, []
    for requirement in requirements:
        if requirement.name != "apache-airflow" or not requirement.specifier:
            continue
        if own is None or not requirement.allows(own):
            found.append(
                Finding(
                    "requirement",
                    f"{requirement}: Composer installs its own build of Airflow"
                    + (f", here {own}" if own else "")
                    + ", and pins it",
                    "leave apache-airflow out of the list; another Airflow is an upgrade of the image",
                )
            )
    return found


def python_of(image_versions: Mapping[str, Sequence[str]], image_version: str) -> Target | None:
    """The Python of an image; None when Composer's list does not have the image, or does not say it exactly.

    `supportedPythonVersions` is the only place in the API that says it; old images have just `3` there.
    """
    versions = [text for text in image_versions.get(image_version, ()) if re.fullmatch(r"\d+\.\d+(\.\d+)?", text)]
    return Target(versions[0]) if len(versions) == 1 else None
