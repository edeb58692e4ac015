"""`roll_out` in a DAG file: its tasks, its gates, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.compat import approval_operator
from airflow_gar_provider.errors import InvalidFleetError, InvalidInputError
from airflow_gar_provider.rollout import Fleet, roll_out
from tests.dag import DAG

HOME = "projects/acme-data/locations/europe-west1/environments"
REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
FLEET = f"""
state: gs://acme-state/gar
impersonation_chain: roller@acme-data.iam.gserviceaccount.com
stages:
  - name: dev
    environments: [{HOME}/dev]
    max_parallel: 4
  - name: prod
    environments: [{HOME}/prod-a, {HOME}/prod-b]
    soak: 600
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    return Fleet.from_file(tmp_path / "fleet.yaml")


def tasks(fleet: Fleet, **options: Any) -> dict[str, Any]:
    with DAG("rollout", schedule=None) as dag:
        roll_out(fleet, repository=REPOSITORY, **options)
    return {task.task_id: task for task in dag.tasks}


def test_stage_after_stage(fleet: Fleet) -> None:
    """A plan, then for each stage: begin, one mapped task for its environments, verdict; report and outcome at last."""
    found = tasks(fleet, requirements="acme-lib==1.0")
    assert list(found) == [
        "roll_out.plan",
        "roll_out.dev.begin",
        "roll_out.dev.environment",
        "roll_out.dev.verdict",
        "roll_out.prod.begin",
        "roll_out.prod.environment",
        "roll_out.prod.verdict",
        "roll_out.report",
        "roll_out.outcome",
    ]
    assert found["roll_out.prod.begin"].upstream_task_ids == {"roll_out.dev.verdict"}
    assert found["roll_out.outcome"].upstream_task_ids == {"roll_out.report"}
    assert found["roll_out.dev.environment"].partial_kwargs["max_active_tis_per_dagrun"] == 4
    assert found["roll_out.prod.verdict"].poke_interval == 60
    chain = ["roller@acme-data.iam.gserviceaccount.com"]
    assert found["roll_out.plan"].impersonation_chain == chain
    assert found["roll_out.dev.environment"].partial_kwargs["state_impersonation_chain"] == chain
    assert all(task.retries >= 2 for task in found.values())


@pytest.mark.needs_airflow("3.1", "approvals")
def test_approval_where_it_is_asked_for(fleet: Fleet) -> None:
    """An approval stands before its stage's begin."""
    found = tasks(fleet, approve_before="prod", approvers=["ada"])
    assert found["roll_out.prod.approval"].upstream_task_ids == {"roll_out.dev.verdict"}
    assert found["roll_out.prod.begin"].upstream_task_ids == {"roll_out.prod.approval"}


def test_undo_where_it_is_asked_for(fleet: Fleet) -> None:
    """Undo comes after the last verdict, and before the report."""
    found = tasks(fleet, on_failure="roll_back")
    assert found["roll_out.undo.begin"].upstream_task_ids == {"roll_out.prod.verdict"}
    assert "roll_out.undo.environment" in found["roll_out.report"].upstream_task_ids
    assert found["roll_out.dev.environment"].partial_kwargs["rollback"] is True


def test_an_airflow_that_cannot_ask_wants_an_approved_plan(fleet: Fleet) -> None:
    """Before 3.1 there is no approval task, so the plan needs one; elsewhere the approval task asks."""
    found = tasks(fleet, approve_before="prod", approval="{{ params.approval }}", approved_plan="{{ params.plan }}")
    plan = found["roll_out.plan"]
    can_ask = approval_operator() is not None
    assert ("roll_out.prod.approval" in found) is can_ask
    assert plan.approve_before == ([] if can_ask else ["prod"])
    assert (plan.approval, plan.approved_plan) == ("{{ params.approval }}", "{{ params.plan }}")


@pytest.mark.needs_airflow("3.1", "approvals")
def test_who_is_asked_how(fleet: Fleet) -> None:
    """The approval task knows all stages that may be asked about, and who must not say yes."""
    approval = tasks(fleet, approve_before=["dev", "prod"], approval="prod", self_approval=False, dry_run="{{ x }}")[
        "roll_out.dev.approval"
    ]
    assert list(approval.approve_before) == ["dev", "prod"]
    assert (approval.approval, approval.self_approval, approval.planned_only) == ("prod", False, "{{ x }}")
    assert approval.response_timeout == timedelta(hours=24)
    assert approval.defaults == ["Reject"]
    assert "body" not in approval.template_fields


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"approve_before": "canary"}, "the fleet has no stage 'canary'"),
        ({"on_failure": "retry"}, "on_failure is one of stop, roll_back"),
    ],
)
def test_what_it_refuses(fleet: Fleet, options: dict[str, Any], message: str) -> None:
    """A word or a stage that there is not is an error when the DAG file is read."""
    with pytest.raises(InvalidInputError, match=message):
        tasks(fleet, **options)


def test_a_fleet_file_that_is_not_there(tmp_path: Path) -> None:
    """The DAG's import error names the file."""
    with pytest.raises(InvalidFleetError, match=r"fleet\.yaml does not describe a fleet"):
        Fleet.from_file(tmp_path / "fleet.yaml")


def test_the_form_has_the_named_environments(fleet: Fleet) -> None:
    """A multi-select of what the file names; anything else is refused by the form's schema."""
    field = fleet.params()["environments"]
    assert field.resolve() == []
    assert fleet.params(default=["dev"])["environments"].resolve() == ["dev"]
    assert field.schema["items"] == {"type": "string", "enum": ["dev", "prod-a", "prod-b"]}
