"""Every example is a DAG that Airflow can read, says what it is for, and is packed into the wheel."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from airflow.sdk import DAG

FOLDER = Path(__file__).parents[2] / "example_dags"
# haversine_distance is what the environments run; it has a test of its own.
EXAMPLES = [path for path in sorted(FOLDER.glob("*.py")) if path.stem != "haversine_distance"]
ROLLOUTS = ("nightly_rollout", "roll_out_on_publish")


def load(path: Path) -> DAG:
    spec = spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: DAG = module.dag
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_dag(path: Path) -> None:
    """Its id is its file's name, it is documented, runs one at a time, and every task of ours may be tried again."""
    dag = load(path)
    assert dag.dag_id == path.stem
    assert dag.doc_md
    assert dag.description
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    for task in dag.tasks:
        if type(task).__module__.startswith("airflow_gar_provider"):
            assert task.retries >= 2, task.task_id


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_rollout_has_every_stage_of_the_fleet_file(name: str) -> None:
    """The fleet's file beside the DAGs is read: dev, staging and prod are task groups."""
    dag = load(next(path for path in EXAMPLES if path.stem == name))
    for stage in ("dev", "staging", "prod"):
        assert f"roll_out.{stage}.environment" in dag.task_ids
    assert dag.task_ids[-1] == "roll_out.outcome"
