"""What the UI shows of every example DAG: names and documentation for people, whom to ask, and a label on each task."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from airflow_gar_provider.rollout import LABEL
from tests.dag import DAG

FOLDER = Path(__file__).parents[2] / "example_dags"
EXAMPLES = sorted(FOLDER.glob("*.py"))
NAMED = [path for path in EXAMPLES if "rollout" not in path.stem and "roll_out" not in path.stem]


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def dag(request: pytest.FixtureRequest) -> DAG:
    """Every DAG of the folder, also those to come."""
    spec = spec_from_file_location(f"shown_{request.param.stem}", request.param)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: DAG = module.dag
    assert found.dag_id == request.param.stem
    return found


def test_a_dag_is_named_and_explained(dag: DAG) -> None:
    """A display name, one line of description, documentation of more than a line, and tags to find it by."""
    assert dag.dag_display_name != dag.dag_id
    assert re.fullmatch(r"[A-Z][^_]*[^.]", dag.dag_display_name), dag.dag_display_name
    assert dag.description
    assert dag.doc_md is not None
    assert len(dag.doc_md.strip().splitlines()) >= 3
    assert any("private package" in tag for tag in dag.tags)


def test_a_dag_says_whom_to_ask(dag: DAG) -> None:
    """Every task has an owner that is not Airflow's default, and the owner is a link."""
    owners = {task.owner for task in dag.tasks}
    assert owners == set(dag.owner_links)
    assert "airflow" not in owners
    for link in dag.owner_links.values():
        assert urlsplit(link).scheme in ("https", "mailto"), link


def test_each_instance_of_a_mapped_task_has_a_label(dag: DAG) -> None:
    """The environment's own id, from whatever names it."""
    for task in dag.tasks:
        if task.get_closest_mapped_task_group() is not None or type(task).__name__ == "MappedOperator":
            assert task.map_index_template == LABEL, task.task_id


@pytest.mark.parametrize("dag", NAMED, ids=lambda path: path.stem, indirect=True)
def test_tasks_have_names_for_people(dag: DAG) -> None:
    """In an example of single operators every task says what it is for."""
    names = [task.task_display_name for task in dag.tasks]
    assert not set(names) & set(dag.task_ids)
    assert all(re.fullmatch(r"[A-Z][^_]*[^.]", name) for name in names), names
    assert len(set(names)) == len(names)
