"""Verify: the environment has what was wanted, really installed, and its DAGs can still be imported."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_gar_provider.core.environment import Environment, EnvironmentName, Wish, few
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.core.verification import (
    all_parsed,
    last_lines,
    newly_broken,
    parse_pip_list,
    undeclared,
    uninstalled,
)
from airflow_gar_provider.errors import GoogleApiError, VerificationError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.record import INSTALLED, RunRecord, finish_record

log = logging.getLogger(__name__)
_PARSE_SECONDS = 300.0
"""How long the environment's dag-processor may take to read all DAG files again after an update."""
_PARSE_POLL_SECONDS = 10.0


@dataclass(frozen=True)
class Seen:
    """What one look at the environment and at the run record found."""

    wish: Wish
    """With the exact pins of this run."""
    environment: Environment
    """As it is now."""
    record: RunRecord | None
    """Of this run; None when it changed nothing."""
    operation: Operation | None
    """Our update, when there was one that Composer still knows."""


class Settled(Seen):
    """Nothing is to be begun and nothing to be waited for: what was wanted can be verified."""


def verify(cloud: Cloud, settled: Settled, clock: Clock) -> dict[str, Any]:
    """Confirm that the environment has what is wanted, and say what changed. Outcomes: installed, unchanged.

    Raises VerificationError when the declared map, what `pip list` says in the environment, or its DAGs are not as
    wanted; every problem is named.
    """
    wish, environment, record = settled.wish, settled.environment, settled.record
    problems = undeclared(environment.packages, wish.requirements, wish.absent)
    installed = list_installed(cloud, wish.environment)
    if installed is not None:
        problems += uninstalled(installed, wish.requirements)
    if record is not None and record.import_errors is not None and not problems:
        ended = settled.operation.ended if settled.operation else None
        problems += _broken_dags(cloud.airflow_of(environment), record.import_errors, ended, clock)
    if problems:
        raise VerificationError(
            "the environment does not have what was wanted: " + "; ".join(problems),
            resource=str(wish.environment),
            remedy="look at the environment's page and its build log; a DAG that can no longer be imported needs "
            "another version of the package, or has to be changed first",
        )
    if record is not None:
        finish_record(cloud.storage, environment.require_bucket(), record, INSTALLED)
    return _result(settled, installed or {})


def list_installed(cloud: Cloud, environment: EnvironmentName) -> dict[str, str] | None:
    """What is really installed, or None when it may not be asked."""
    try:
        return parse_pip_list(cloud.composer.pip_list(environment))
    except GoogleApiError as error:
        log.warning("what is installed cannot be listed, only what is declared was compared: %s", error)
        return None


def import_errors(airflow: EnvironmentAirflow) -> dict[str, str] | None:
    """DAG file -> last line of its import error, or None when the environment's Airflow may not be asked."""
    try:
        return last_lines(airflow.import_errors())
    except GoogleApiError as error:
        log.warning("DAG import errors cannot be read, they are not compared: %s", error)
        return None


def _broken_dags(
    airflow: EnvironmentAirflow, before: Mapping[str, str], since: datetime | None, clock: Clock
) -> list[str]:
    """Sentences on DAG files that the update broke, as soon as there is one, or when all files were read again."""
    begun = clock.monotonic()
    while True:
        now = import_errors(airflow)
        if now is None:
            return []
        broken = newly_broken(before, now)
        if broken or since is None or all_parsed(airflow.parse_times().values(), since):
            return broken
        elapsed = clock.monotonic() - begun
        if elapsed > _PARSE_SECONDS:
            log.warning("not every DAG file was read again after %.0f s; none of the others is newly broken", elapsed)
            return []
        log.info("waiting for the environment to read its DAG files again")
        clock.sleep(_PARSE_POLL_SECONDS)


def _result(settled: Settled, installed: Mapping[str, str]) -> dict[str, Any]:
    wish, environment, record = settled.wish, settled.environment, settled.record
    changed = record is not None or settled.operation is not None
    before = record.before if record is not None else environment.packages
    packages = [
        {
            "package": requirement.name,
            "before": _declared(before, requirement.name),
            "after": installed.get(requirement.name) or _declared(environment.packages, requirement.name),
        }
        for requirement in wish.requirements
    ]
    packages += [{"package": name, "before": _declared(before, name), "after": None} for name in wish.absent]
    told = few([f"{entry['package']} {entry['after'] or 'removed'}" for entry in packages])
    return {
        "outcome": "installed" if changed else "unchanged",
        "message": f"{wish.environment.name} {'now has' if changed else 'already had'} {told}",
        "environment": str(wish.environment),
        "packages": packages,
        "operation": settled.operation.name if settled.operation else None,
        "seconds": _seconds(settled.operation),
    }


def _seconds(operation: Operation | None) -> float:
    if operation is None or operation.created is None or operation.ended is None:
        return 0.0
    return round((operation.ended - operation.created).total_seconds(), 1)


def _declared(packages: Mapping[str, str], name: str) -> str | None:
    """What a map declares for a package, for people: `1.0.0` for a pin, else the specifier; None when absent."""
    for key, value in packages.items():
        if Requirement.parse(key).name == name:
            return Requirement.parse(key + value).pinned or value or "any"
    return None
