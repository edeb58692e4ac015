"""Soak: watch the environments of a stage for a while after they were rolled out; it does not sleep blindly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any, TypeVar

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Stage
from airflow_gar_provider.core.plan import Item, Plan
from airflow_gar_provider.core.verification import last_lines, newly_broken
from airflow_gar_provider.errors import GoogleApiError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.fleet_state import FleetState
from airflow_gar_provider.steps.plan import CloudOf

log = logging.getLogger(__name__)
MINIMUM_RUNS = 5
"""DAG runs that have to have ended before their failure rate says anything."""


def soak(cloud_of: CloudOf, state: FleetState, plan: Plan, stage: Stage, now: datetime) -> tuple[bool, list[str]]:
    """One look at a soaking stage: whether the soak is over, and the trouble that was seen (then it is over, too).

    What the environments' import errors were at the first look is kept in the fleet's bucket, so that a later look, by
    whatever worker, compares with it. An environment that cannot be asked is no trouble: it is told in the log.
    """
    done = {verdict.environment for verdict in state.outcomes() if verdict.outcome == "installed"}
    items = [item for item in plan.of_stage(stage.name) if str(item.environment) in done]
    if not stage.soak or not items:
        return True, []
    first = state.soak_baseline(stage.name, lambda: _baseline(cloud_of, items, now))
    since = datetime.fromisoformat(first["since"])
    trouble = []
    for item in items:
        trouble += _trouble(cloud_of(item.identity), item.environment, stage, first, since)
    left = stage.soak - (now - since).total_seconds()
    if left > 0 and not trouble:
        log.info("stage %s soaks for another %.0f s; %d environments are calm", stage.name, left, len(items))
    return bool(trouble) or left <= 0, trouble


def _baseline(cloud_of: CloudOf, items: Iterable[Item], now: datetime) -> dict[str, Any]:
    errors = {str(item.environment): _import_errors(cloud_of(item.identity), item.environment) for item in items}
    return {"since": now.astimezone(timezone.utc).isoformat(), "import_errors": errors}


def _import_errors(cloud: Cloud, name: EnvironmentName) -> dict[str, str] | None:
    return _asked(name, lambda: last_lines(cloud.airflow_of(cloud.composer.get_environment(name)).import_errors()))


_Answer = TypeVar("_Answer")


def _asked(name: EnvironmentName, ask: Callable[[], _Answer]) -> _Answer | None:
    """An answer of the environment's Airflow, or None when it gives none now."""
    try:
        return ask()
    except GoogleApiError as error:
        log.warning("%s cannot be watched now: %s", name.name, error.what)
        return None


def _trouble(cloud: Cloud, name: EnvironmentName, stage: Stage, first: dict[str, Any], since: datetime) -> list[str]:
    """Sentences on what is worse than before in one environment."""
    found = []
    before, now = first["import_errors"].get(str(name)), _import_errors(cloud, name)
    if before is not None and now is not None:
        found += [f"{name.name}: {sentence}" for sentence in newly_broken(before, now)]
    if stage.max_dag_failure_rate is not None:
        runs = _asked(name, lambda: cloud.airflow_of(cloud.composer.get_environment(name)).ended_runs(since))
        failed, total = runs or (0, 0)
        log.info("%s: %d of %d DAG runs failed since the soak began", name.name, failed, total)
        if total >= MINIMUM_RUNS and failed / total > stage.max_dag_failure_rate:
            found.append(f"{name.name}: {failed} of {total} DAG runs failed, {stage.max_dag_failure_rate:.0%} may")
    return found
