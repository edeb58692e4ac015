"""Whether an environment really has packages that somebody waits for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.installed import contradictions
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.core.verification import parse_pip_list, uninstalled
from airflow_gar_provider.errors import AccessDeniedError
from airflow_gar_provider.gcp.cloud import Cloud

log = logging.getLogger(__name__)


def installed(cloud: Cloud, name: EnvironmentName, requirements: Sequence[Requirement]) -> dict[str, Any] | None:
    """The packages, as a result with the outcome `installed`; None while the environment does not have them (yet).

    The declared map is read first, one cheap call. Only when it agrees and no update runs, `pip list` is run in the
    environment: that takes seconds there, and 25 of Composer's quota units. Where the caller may not run it
    (composer.environments.executeAirflowCommand), the map alone decides, and the log says so. Raises NotFoundError,
    AccessDeniedError, UnavailableError.
    """
    environment = cloud.composer.get_environment(name)
    problems = contradictions(environment.packages, requirements)
    if not problems and environment.state != "RUNNING":
        problems = [f"the environment is {environment.state}"]
    if problems:
        log.info("%s: %s", name.name, "; ".join(problems))
        return None
    try:
        versions = parse_pip_list(cloud.composer.pip_list(name))
    except AccessDeniedError as error:
        log.warning("what is installed may not be listed, what is declared has to do: %s", error)
        versions = {item.name: environment.version_of(item.name) or "" for item in requirements}
        problems = []
    else:
        problems = uninstalled(versions, requirements)
    if problems:
        log.info("%s: %s", name.name, "; ".join(problems))
        return None
    packages = [{"package": item.name, "version": versions[item.name]} for item in requirements]
    told = ", ".join(f"{entry['package']} {entry['version']}".strip() for entry in packages)
    return {
        "outcome": "installed",
        "message": f"{name.name} has {told}",
        "environment": str(name),
        "packages": packages,
    }
