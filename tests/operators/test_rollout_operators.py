"""The operators of a rollout: what they tell, and how they end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gar_provider.compat import AirflowFailException, AirflowSkipException
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Identity, Stage
from airflow_gar_provider.core.plan import Change, Item, Plan
from airflow_gar_provider.core.rollout import StageVerdict, Verdict
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.operators import (
    BeginStageOperator,
    BeginUndoOperator,
    ReportRolloutOperator,
    RollOutEnvironmentOperator,
    RolloutOutcomeOperator,
)
from airflow_gar_provider.steps.fleet_state import FleetState
from tests.conftest import LOCATION, Running
from tests.operators.conftest import Ti
from tests.tables import squeezed

ROLLOUT = "dag/run"


@pytest.fixture
def state(sandbox: Running, cloud: Cloud, project: str, conn: None) -> FleetState:
    sandbox.setup(buckets=[f"{project}/{project}-state"])
    return FleetState(cloud.storage, f"gs://{project}-state/gar", ROLLOUT)


@pytest.fixture
def plan(state: FleetState, project: str) -> Plan:
    """Two environments of one stage; the second has an identity of its own."""
    changes = (Change("lib", "upgrade", "==1.0", "==1.1"),)
    parent = f"projects/{project}/locations/{LOCATION}/environments"
    names = [EnvironmentName.parse(f"{parent}/{name}") for name in ("one", "two")]
    who = [Identity(), Identity("other", ("a@x", "b@x"))]
    items = tuple(
        Item(name, "dev", "change", None, changes, False, (), identity, "f" * 16)
        for name, identity in zip(names, who, strict=True)
    )
    repository = f"projects/{project}/locations/{LOCATION}/repositories/python"
    return state.write_plan(Plan(ROLLOUT, "2026-11-22T12:00:00+00:00", repository, "one", (Stage("dev"),), items, {}))


def uri(project: str) -> str:
    return f"gs://{project}-state/gar"


def test_a_stage_begins_with_its_environments(plan: Plan, project: str, context: Any) -> None:
    """Each with its own identity, else with the operator's; less than 2 KB; nothing in a dry run."""
    begin = BeginStageOperator(
        task_id="t", stage="dev", state=uri(project), rollout=ROLLOUT, digest=plan.digest, impersonation_chain=None
    )
    found = begin.execute(context)
    assert [(item["environment"].rsplit("/", 1)[1], item["gcp_conn_id"]) for item in found] == [
        ("one", "google_cloud_default"),
        ("two", "other"),
    ]
    assert [item["impersonation_chain"] for item in found] == [None, ["a@x", "b@x"]]
    assert max(len(json.dumps(item)) for item in found) < 2048
    begin.planned_only = "True"
    assert begin.execute(context) == []


def test_another_plan_than_the_reviewed_one_is_refused(plan: Plan, project: str, context: Any) -> None:
    """The digest of the plan in the bucket has to be the one that the plan task returned."""
    begin = BeginStageOperator(task_id="t", stage="dev", state=uri(project), rollout=ROLLOUT, digest="0" * 64)
    with pytest.raises(AirflowFailException, match="the plan is not the one that was reviewed"):
        begin.execute(context)


def test_the_own_environment_comes_last(
    plan: Plan, project: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside Composer a task knows where it runs: its own environment's update may end it."""
    for name, value in (
        ("GCP_PROJECT", project),
        ("COMPOSER_LOCATION", LOCATION),
        ("COMPOSER_ENVIRONMENT", "one"),
    ):
        monkeypatch.setenv(name, value)
    found = BeginStageOperator(task_id="t", stage="dev", state=uri(project), rollout=ROLLOUT).execute(context)
    assert [item["environment"].rsplit("/", 1)[1] for item in found] == ["two", "one"]


def test_a_report_tells_keeps_and_notifies(
    plan: Plan, state: FleetState, cloud: Cloud, project: str, context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, the ledger, the notifier; a notifier that fails is a line of the log."""
    one, two = (str(item.environment) for item in plan.items)
    packages = ({"package": "lib", "before": "1.0", "after": "1.1"},)
    state.put_verdict(Verdict(one, "dev", "installed", packages=packages, seconds=90))
    state.put_verdict(Verdict(two, "dev", "failed", "no access", "no_access"))
    state.judge(StageVerdict("dev", passed=False, why="1 failed (two), 0 may"))
    told: list[dict[str, Any]] = []
    report = ReportRolloutOperator(
        task_id="t", state=uri(project), rollout=ROLLOUT, notify=told.append, approval={"by": "ada"}
    )
    result = report.execute(context)
    assert told == [result]
    assert result["outcome"] == "failed"
    assert result["complaints"] == ["two (dev): failed: no access", "stage dev: 1 failed (two), 0 may"]
    assert squeezed(result["table"].splitlines()[2]).startswith("| `two` | `dev` | `lib` |")
    bucket, _, name = result["ledger"].removeprefix("gs://").partition("/")
    found = cloud.storage.read(bucket, name)
    assert found is not None
    entry = json.loads(found[0])
    assert entry["approval"] == {"by": "ada"}
    assert [environment["outcome"] for environment in entry["environments"]] == ["failed", "installed"]

    def broken(_: dict[str, Any]) -> None:
        raise RuntimeError("the chat is down")

    report.notify = broken
    assert report.execute(context)["outcome"] == "failed"
    assert "the notifier failed" in capsys.readouterr().out
    with pytest.raises(AirflowFailException) as caught:
        RolloutOutcomeOperator(task_id="t", state=uri(project), rollout=ROLLOUT).execute(context)
    assert "two (dev): failed: no access" in str(caught.value)
    undo = BeginUndoOperator(task_id="t", state=uri(project), rollout=ROLLOUT, only_after_abort=True)
    assert [item["environment"] for item in undo.execute(context)] == [one]


def test_a_dry_run_reports_the_plan(plan: Plan, project: str, context: Any) -> None:
    """Nothing was begun, so nothing is missing, and the ledger gets no entry."""
    values: dict[str, Any] = {"task_id": "t", "state": uri(project), "rollout": ROLLOUT, "planned_only": "true"}
    result = ReportRolloutOperator(**values).execute(context)
    assert result["outcome"] == "planned"
    assert result["table"] == plan.markdown()
    assert "ledger" not in result
    assert "dry run" in RolloutOutcomeOperator(**values).execute(context)


def test_an_environment_that_is_not_started_is_skipped(
    plan: Plan, state: FleetState, project: str, context: Any, ti: Ti
) -> None:
    """Too many others failed: the task is skipped, its verdict is kept, and its result says why."""
    one, two = (str(item.environment) for item in plan.items)
    state.put_verdict(Verdict(one, "dev", "failed", "no access"))
    roll_out = RollOutEnvironmentOperator(task_id="t", environment=two, state=uri(project), rollout=ROLLOUT)
    with pytest.raises(AirflowSkipException, match=r"not started: 1 of stage dev failed \(one\), 0 may"):
        roll_out.execute(context)
    assert ti.pushed["return_value"]["outcome"] == "not_started"
    verdict = state.verdict(EnvironmentName.parse(two))
    assert verdict is not None
    assert verdict.outcome == "not_started"


def test_an_environment_that_has_failed_before_stays_failed(
    plan: Plan, state: FleetState, project: str, context: Any
) -> None:
    """A cleared task of a rollout that has its verdict does not begin it again: a new rollout does."""
    one = str(plan.items[0].environment)
    state.put_verdict(Verdict(one, "dev", "failed", "no access"))
    roll_out = RollOutEnvironmentOperator(task_id="t", environment=one, state=uri(project), rollout=ROLLOUT)
    with pytest.raises(AirflowFailException, match="it has ended before: failed: no access"):
        roll_out.execute(context)
