"""Every example is a DAG that Airflow can read, says what it is for, and is packed into the wheel."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tests.dag import DAG

FOLDER = Path(__file__).parents[2] / "example_dags"
# haversine_distance is what the environments run; it has a test of its own.
EXAMPLES = [path for path in sorted(FOLDER.glob("*.py")) if path.stem != "haversine_distance"]
ROLLOUTS = ("nightly_rollout", "publish_and_roll_out", "roll_out_on_publish")


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


def example(name: str) -> DAG:
    return load(FOLDER / f"{name}.py")


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_rollout_has_every_stage_of_the_fleet_file(name: str) -> None:
    """The fleet's file beside the DAGs is read: dev, staging and prod are task groups."""
    dag = example(name)
    for stage in ("dev", "staging", "prod"):
        assert f"roll_out.{stage}.environment" in dag.task_ids


@pytest.mark.parametrize("name", ROLLOUTS)
def test_the_state_of_the_run_is_the_outcome(name: str) -> None:
    """Nothing ends after the outcome, or beside it, that could be green when it is red."""
    dag = example(name)
    outcome = dag.get_task("roll_out.outcome")
    after = outcome.get_flat_relative_ids(upstream=False)
    assert {leaf.task_id for leaf in dag.leaves} <= {outcome.task_id, *after}
    assert {dag.get_task(task_id).trigger_rule for task_id in after} <= {"all_success"}


def test_the_form_has_sections_titles_and_words_for_every_field() -> None:
    """Somebody who has never seen it can fill it in; what it may ask for is in it."""
    dag = example("publish_and_roll_out")
    sections: dict[str, list[str]] = {}
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert schema["title"], name
        assert schema["description_md"].endswith("."), name
        sections.setdefault(schema.get("section", "open at once"), []).append(name)
    assert sections == {
        "open at once": ["requirement", "environments", "approval", "dry_run"],
        "Package": ["source", "wheels"],
        "Rollout": ["strategy", "grant_access", "approved_plan"],
    }
    assert dag.params["environments"] == ["dev"]
    assert dag.params["approval"] == "prod"
    assert dag.params["dry_run"] is False


def test_a_version_of_the_form_stays_text() -> None:
    """Native rendering would make the number 1.1 of the version 1.10."""
    dag = example("publish_and_roll_out")
    assert dag.render_template_as_native_obj is False
    context = {"params": {"requirement": "mypythonlib==1.10", "source": None, "wheels": None, "environments": ["dev"]}}
    check = dag.get_task("check_form")
    check.render_template_fields(context)
    assert check.requirements == "mypythonlib==1.10"
    assert check.execute({"ti": None})["requirements"] == ["mypythonlib==1.10"]


def test_the_form_is_for_named_roles_and_checked_first() -> None:
    """A role that may look may not trigger; whatever a trigger sends, the first task holds it against the lists."""
    dag = example("publish_and_roll_out")
    access = dag.access_control
    assert access["Viewer"] == {"DAGs": {"can_read"}, "DAG Runs": {"can_read"}}
    assert access["Op"]["DAG Runs"] == {"can_read", "can_create"}
    assert [root.task_id for root in dag.roots] == ["check_form"]
    for task_id in ("check_form", "build", "publish"):
        assert dag.get_task(task_id).allowed_sources
    for task_id in ("check_form", "publish", "roll_out.plan"):
        assert dag.get_task(task_id).allowed_prefixes == ["mypythonlib", "acme-"]
