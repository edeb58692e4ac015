"""Drain: wait for the tasks that an update would end. Composer restarts schedulers and workers at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from airflow_gar_provider.core.environment import EnvironmentName, Wish, few
from airflow_gar_provider.errors import InvalidInputError, PostponedError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
ACTIONS = ("go", "postpone")
"""What `drain_action` may be."""


@dataclass(frozen=True)
class Draining:
    """Tasks run that the update would end: wait until none does, or until the time for it is over."""

    tasks: tuple[str, ...]
    """Those that run, as text: `dag.task in RUN`."""


def action_of(text: str) -> str:
    """A `drain_action` that exists. Raises InvalidInputError."""
    if text not in ACTIONS:
        raise InvalidInputError(f"drain_action is {' or '.join(map(repr, ACTIONS))}, not {text!r}")
    return text


def running(cloud: Cloud, name: EnvironmentName, run: str) -> tuple[str, ...]:
    """The tasks that run in the environment, but for the one of this `run`: it must not wait for itself.

    Tasks that are queued or deferred survive an update and are not counted. Raises AccessDeniedError,
    UnavailableError when the environment's Airflow cannot be asked.
    """
    airflow = cloud.airflow_of(cloud.composer.get_environment(name))
    return others(airflow.running_tasks(), run)


def others(tasks: Iterable[dict[str, Any]], run: str) -> tuple[str, ...]:
    """Task instances as text, without the one of this run."""
    return tuple(sorted(_text(task) for task in tasks if _identity(task) != run))


def _identity(task: dict[str, Any]) -> str:
    """What `operators.base.run_of` makes of the same task instance."""
    mapped = "" if task.get("map_index", -1) == -1 else f"/{task['map_index']}"
    return f"{task['dag_id']}/{task['dag_run_id']}/{task['task_id']}{mapped}"


def _text(task: dict[str, Any]) -> str:
    mapped = "" if task.get("map_index", -1) == -1 else f"[{task['map_index']}]"
    return f"{task['dag_id']}.{task['task_id']}{mapped} in {task['dag_run_id']}"


def wait_idle(cloud: Cloud, wish: Wish, clock: Clock, *, poll_interval: float) -> None:
    """Wait in this process until nothing runs any more, `wish.drain` seconds at most."""
    begun = clock.monotonic()
    while (left := wish.drain - (clock.monotonic() - begun)) > 0:
        clock.sleep(min(poll_interval, left))
        tasks = running(cloud, wish.environment, wish.run)
        if not tasks:
            return
        log.info("%d task(s) still run after %.0f s: %s", len(tasks), clock.monotonic() - begun, few(tasks))


def drain(cloud: Cloud, wish: Wish, *, waited: bool) -> Draining | None:
    """Tasks to wait for before the update, or None: it may begin.

    `waited`: the time for it was used up. Then what still runs is named by DAG and task, and the update goes on or,
    with `postpone`, PostponedError is raised.
    """
    if not wish.drain:
        return None
    tasks = running(cloud, wish.environment, wish.run)
    if not tasks:
        log.info("no task runs in %s", wish.environment.name)
        return None
    if not waited:
        log.info("waiting at most %.0f s for %d task(s): %s", wish.drain, len(tasks), few(tasks))
        return Draining(tasks)
    if wish.drain_action == "postpone":
        raise PostponedError(str(wish.environment), tasks, waited=wish.drain)
    log.warning("the update ends %d task(s) that still run after %.0f s:", len(tasks), wish.drain)
    for task in tasks:
        log.warning("  %s", task)
    return None
