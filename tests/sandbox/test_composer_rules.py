"""What an environment may do in which state, what image versions there are, and what a clock is: as values."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_gar_provider.sandbox.clock import Clock, wall_clock
from airflow_gar_provider.sandbox.errors import ApiError
from airflow_gar_provider.sandbox.services.environments import (
    TRANSITIONS,
    Environments,
    State,
    base_airflow,
    image_version,
    resolved_image_version,
)
from airflow_gar_provider.sandbox.setup import EnvironmentName
from airflow_gar_provider.sandbox.store import Store

if TYPE_CHECKING:
    from pathlib import Path

NAME = EnvironmentName("acme-data", "europe-west1", "dev")
EVENTS = sorted({event for _, event in TRANSITIONS})


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", [state for state in State if state])
def test_an_environment_changes_its_state_as_the_table_says_and_not_otherwise(
    tmp_path: Path, state: Any, event: str
) -> None:
    store = Store(tmp_path)
    environments = Environments(store)
    environment = environments.add(NAME, bucket="b", account="a@acme-data.iam.gserviceaccount.com")
    environment.state = state
    environments.put(environment)
    if (state, event) in TRANSITIONS:
        assert environments.change(str(NAME), event).state == TRANSITIONS[state, event]
    else:
        with pytest.raises(ApiError, match=f"Cannot [a-z_]+ environment in state {state.name}. ") as refused:
            environments.change(str(NAME), event)
        assert refused.value.code == "FAILED_PRECONDITION"
        assert environments.get(str(NAME)).state == state
    store.close()


MAJOR, MINOR, PATCH = base_airflow().split(".")


@pytest.mark.parametrize(
    "asked",
    [
        image_version(),
        f"composer-3-airflow-{MAJOR}",
        f"composer-3-airflow-{MAJOR}.{MINOR}",
        f"composer-3-airflow-{MAJOR}.{MINOR}.{PATCH}",
        f"latest-airflow-{MAJOR}".replace("latest", "composer-latest"),
    ],
)
def test_an_alias_of_the_image_version_is_resolved(asked: str) -> None:
    assert resolved_image_version(asked) == image_version()


@pytest.mark.parametrize("asked", [f"composer-2.9.0-airflow-{MAJOR}", f"composer-2-airflow-{MAJOR}.{MINOR}"])
def test_an_image_of_composer_2_has_the_same_airflow(asked: str) -> None:
    assert re.fullmatch(rf"composer-2\.\d+\.0-airflow-{re.escape(base_airflow())}", resolved_image_version(asked))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("composer-3-airflow-1", "not one that this sandbox has"),
        (f"composer-3-airflow-{MAJOR}.{MINOR}.{PATCH}1", "not one that this sandbox has"),
        (f"composer-1.20.0-airflow-{MAJOR}", "not one that this sandbox has"),
        ("airflow-3", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_another_image_version_is_refused(asked: str, message: str) -> None:
    with pytest.raises(ApiError, match=message) as refused:
        resolved_image_version(asked)
    assert refused.value.code == "INVALID_ARGUMENT"


def test_a_virtual_clock_stands_still_until_it_is_moved() -> None:
    async def scene() -> None:
        clock = Clock()
        clock.set_virtual(True)
        start = clock.now()
        waiting = asyncio.create_task(clock.until(start + timedelta(seconds=60)))
        clock.move_to(start + timedelta(seconds=59))
        await asyncio.sleep(0)
        assert (clock.now(), waiting.done()) == (start + timedelta(seconds=59), False)
        clock.move_to(start + timedelta(seconds=60))
        await asyncio.wait_for(waiting, 5)
        clock.move_to(start)
        assert clock.now() == start + timedelta(seconds=60)
        clock.set_virtual(False)
        assert abs(clock.now() - wall_clock()) < timedelta(seconds=5)
        with pytest.raises(ValueError, match="Only a virtual clock"):
            clock.move_to(start)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "Send an object"),
        ({}, "Send an object"),
        ({"speed": 2}, "Send an object"),
        ({"advance": 5}, "Only a virtual clock"),
        ({"advance": -1, "virtual": True}, "0 or more"),
        ({"operation_seconds": "5"}, "0 or more"),
        ({"operation_seconds": float("nan")}, "0 or more"),
        ({"operation_seconds": 7, "virtual": 1}, "true or false"),
    ],
)
def test_nonsense_leaves_the_clock_as_it_is(value: object, message: str) -> None:
    clock = Clock()
    with pytest.raises(ValueError, match=message):
        clock.configure(value)
    assert (clock.operation_seconds, clock.virtual) == (0.0, False)
