"""The approval of a stage, as its task sees it: when nobody is asked, and what becomes of an answer."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core.approval import Approval
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Identity, Stage
from airflow_gar_provider.core.plan import Change, Item, Plan
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.operators import ReportRolloutOperator
from airflow_gar_provider.steps.fleet_state import FleetState
from airflow_gar_provider.steps.roll_out import judge
from tests.conftest import LOCATION, Running
from tests.operators.conftest import Ti

pytestmark = pytest.mark.needs_airflow("3.1", "approvals")
ROLLOUT = "dag/run"
AT = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


@pytest.fixture
def state(sandbox: Running, cloud: Cloud, project: str, conn: None) -> FleetState:
    """The state of a rollout whose plan changes prod, and has nothing for dev."""
    sandbox.setup(buckets=[f"{project}/{project}-state"])
    state = FleetState(cloud.storage, f"gs://{project}-state/gar", ROLLOUT)
    change = (Change("lib", "upgrade", "==1.0", "==1.10"),)
    items = tuple(
        Item(
            EnvironmentName.parse(f"projects/{project}/locations/{LOCATION}/environments/{name}"),
            name,
            outlook,
            None,
            change,
            False,
            (),
            Identity(),
            "f",
        )
        for name, outlook in (("dev", "nothing"), ("prod", "change"))
    )
    repository = f"projects/{project}/locations/{LOCATION}/repositories/python"
    state.write_plan(Plan(ROLLOUT, AT.isoformat(), repository, "one", (Stage("dev"), Stage("prod")), items, {}))
    return state


def approval(project: str, **values: Any) -> Any:
    from airflow_gar_provider.operators import ApproveStageOperator

    defaults: dict[str, Any] = {"task_id": "approval", "stage": "prod", "approve_before": ["dev", "prod"]}
    return ApproveStageOperator(state=f"gs://{project}-state/gar", rollout=ROLLOUT, **{**defaults, **values})


def answer(option: str, by: str | None = "ada", **more: Any) -> dict[str, Any]:
    user = {"id": by, "name": by} if by else None
    event = {"chosen_options": [option], "params_input": {}, "responded_at": AT, "responded_by_user": user}
    return {**event, "timedout": False, **more}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"planned_only": "True"}, "nobody is asked: it is a dry run"),
        ({"approval": "none"}, "nobody is asked: no approval was wanted"),
        ({"approval": "dev"}, "nobody is asked: no approval was wanted"),
        ({"stage": "dev"}, "nobody is asked: the plan changes nothing in this stage"),
    ],
)
def test_nobody_is_asked_where_there_is_nothing_to_ask(
    state: FleetState, project: str, context: Any, values: dict[str, Any], message: str
) -> None:
    """The task succeeds, and says so."""
    stage = values.get("stage", "prod")
    assert approval(project, **values).execute(context) == {"outcome": "not_asked", "message": message, "stage": stage}
    assert state.approvals() == []


def test_nobody_is_asked_when_the_fleet_is_stopped(state: FleetState, cloud: Cloud, project: str, context: Any) -> None:
    """An approval of what will not be begun would be a lie."""
    cloud.storage.write(f"{project}-state", "gar/STOP", b"")
    assert "the fleet's STOP switch is on" in approval(project).execute(context)["message"]


def test_a_name_that_cannot_be_asked_about_is_refused(state: FleetState, project: str, context: Any) -> None:
    """A form's value that is no stage must not mean: do not ask."""
    with pytest.raises(AirflowFailException, match="nobody can be asked before production"):
        approval(project, approval="production").execute(context)


def test_a_yes_is_kept_and_not_asked_for_twice(state: FleetState, project: str, context: Any, ti: Ti) -> None:
    """A try that dies after the answer finds it; the report and the ledger have it."""
    context["dag_run"] = SimpleNamespace(triggering_user_name="ada")
    told = approval(project).execute_complete(context, answer("Approve"))
    message = "stage prod: approved by ada (2026-11-23T12:00:00+00:00)"
    assert told == {"stage": "prod", "outcome": "approved", "by": "ada", "at": AT.isoformat(), "message": message}
    assert approval(project).execute(context) == told
    report = ReportRolloutOperator(task_id="t", state=f"gs://{project}-state/gar", rollout=ROLLOUT).execute(context)
    assert report["approvals"] == [{"stage": "prod", "outcome": "approved", "by": "ada", "at": AT.isoformat()}]
    assert f"Stage prod: `approved by ada ({AT.isoformat()})`" in report["table"]


@pytest.mark.parametrize(
    ("tries", "most", "warned"),
    [
        pytest.param(1, 2, False, id="the first try"),
        pytest.param(2, 2, True, id="Airflow's retry"),
        pytest.param(2, 3, False, id="somebody cleared the task"),
    ],
)
def test_a_retry_says_that_an_answer_was_lost(
    state: FleetState,
    project: str,
    context: Any,
    ti: Ti,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tries: int,
    most: int,
    warned: bool,
) -> None:
    """Airflow loses an answer that comes too soon; who has answered must learn why the question is there again."""
    ti.try_number, ti.max_tries = tries, most
    asking = SimpleNamespace(execute=lambda operator, context: operator.body)
    monkeypatch.setattr("airflow_gar_provider.operators.approve_stage._Approval", asking)
    text = approval(project, retries=2).execute(context)
    assert f"Plan `{state.read_plan().content_digest}`. Asked `20" in text
    assert ("whoever has answered already must do so once more" in capsys.readouterr().out) == warned


@pytest.mark.parametrize(
    ("event", "outcome", "sentence"),
    [
        (answer("Reject"), "rejected", "rejected by ada"),
        (answer("Reject", None, timedout=True), "not_answered", "nobody approved it in time"),
    ],
)
def test_a_no_is_kept_and_is_why_the_stage_did_not_pass(
    state: FleetState, cloud: Cloud, project: str, context: Any, event: dict[str, Any], outcome: str, sentence: str
) -> None:
    """The stage's verdict, the report's complaints and the ledger say who, not that a task left no verdict."""
    assert approval(project).execute_complete(context, event)["outcome"] == "rejected"
    verdict = judge(state, state.read_plan(), "prod")
    assert not verdict.passed
    assert verdict.why is not None
    assert verdict.why.startswith(sentence)
    report = ReportRolloutOperator(task_id="t", state=f"gs://{project}-state/gar", rollout=ROLLOUT).execute(context)
    assert report["outcome"] == "failed"
    bucket, _, name = report["ledger"].removeprefix("gs://").partition("/")
    found = cloud.storage.read(bucket, name)
    assert found is not None
    assert [entry["outcome"] for entry in json.loads(found[0])["approval"]] == [outcome]


def test_a_no_is_not_asked_for_twice_unless_the_task_is_cleared(
    state: FleetState, project: str, context: Any, ti: Ti, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that dies after the answer is kept ends as the answer wants it; somebody who clears the task is asked."""
    ti.max_tries = 2
    task = approval(project, retries=2)
    told = task.execute_complete(context, answer("Reject"))
    ti.try_number = 2
    assert task.execute(context) == told
    context["dag_run"] = SimpleNamespace(triggering_user_name="ada")
    mine = approval(project, retries=2, self_approval=False)
    for once_more in (lambda: mine.execute_complete(context, answer("Approve")), lambda: mine.execute(context)):
        with pytest.raises(AirflowFailException, match="somebody else has to approve it"):
            once_more()
    ti.max_tries = 3
    asking = SimpleNamespace(execute=lambda operator, context: "asked")
    monkeypatch.setattr("airflow_gar_provider.operators.approve_stage._Approval", asking)
    assert task.execute(context) == "asked"


def test_an_own_yes_is_a_refusal_where_four_eyes_are_wanted(
    state: FleetState, project: str, context: Any, ti: Ti
) -> None:
    """It fails the task, says who has to answer, and is kept; somebody else's yes is one."""
    context["dag_run"] = SimpleNamespace(triggering_user_name="ada")
    with pytest.raises(AirflowFailException, match="ada triggered this run, so somebody else has to approve it"):
        approval(project, self_approval=False).execute_complete(context, answer("Approve"))
    assert ti.pushed["return_value"]["error"] == "NotApprovedError"
    assert state.approval("prod") == Approval("prod", "own_run", "ada", AT.isoformat())
    told = approval(project, self_approval=False).execute_complete(context, answer("Approve", "grace"))
    assert told["outcome"] == "approved"
