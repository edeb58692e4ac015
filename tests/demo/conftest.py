"""One Airflow for all tests of the demo: its start takes ten seconds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.airflow_stack import AirflowStack

if TYPE_CHECKING:
    from collections.abc import Iterator


def stand_in_dags(folder: Path) -> Path:
    """A folder with the stand-in for the management DAG."""
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("stand_in_dag.py"), folder / "publish_and_roll_out.py")
    return folder


@pytest.fixture(scope="session")
def stand_in_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that plays Google for the stand-in DAG."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, stand_in_state: Path) -> Iterator[AirflowStack]:
    """A running Airflow with the stand-in DAG."""
    base = tmp_path_factory.mktemp("airflow")
    with AirflowStack(
        home=base / "home",
        dags=stand_in_dags(base / "dags"),
        environ={**os.environ, "STAND_IN_STATE": str(stand_in_state), "AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor"},
    ) as running:
        yield running
