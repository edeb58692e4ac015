"""What no form can get past: lists that are no template fields, and plans that somebody has looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Fleet, Member, Stage
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.operators import (
    BuildWheelOperator,
    CheckRolloutOperator,
    PlanRolloutOperator,
    PublishWheelOperator,
    ReportRolloutOperator,
    RolloutOutcomeOperator,
)
from airflow_gar_provider.steps.fleet_state import FleetState
from tests.conftest import LOCATION, Running
from tests.operators.conftest import Ti
from tests.steps.installing import Site
from tests.wheels import make_wheel

REPOSITORY = f"projects/acme-data/locations/{LOCATION}/repositories/python"
FLEET = Fleet(
    "gs://s/gar",
    (Stage("dev", (Member(EnvironmentName.parse(f"projects/acme-data/locations/{LOCATION}/environments/dev")),)),),
)
SOURCES = ["gs://ci/wheels"]
PREFIXES = ["acme-"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BuildWheelOperator(
                task_id="t", source="/etc", destination="gs://ci/wheels", allowed_sources=SOURCES
            ),
            "the source '/etc' is not below an allowed place; allowed: gs://ci/wheels",
        ),
        (
            lambda: PublishWheelOperator(
                task_id="t", wheels="gs://ci/wheels/*.whl, gs://ci/*", repository=REPOSITORY, allowed_sources=SOURCES
            ),
            "the source 'gs://ci/*' is not below an allowed place; allowed: gs://ci/wheels",
        ),
        (
            lambda: PlanRolloutOperator(
                task_id="t",
                fleet=FLEET,
                repository=REPOSITORY,
                requirements="acme-lib==1.0, requests==2",
                rollout="dag/run",
                allowed_prefixes=PREFIXES,
            ),
            "the package 'requests' begins with none of the allowed prefixes; allowed: acme-",
        ),
        (
            lambda: CheckRolloutOperator(
                task_id="t",
                fleet=FLEET,
                source="gs://ci/sources/x.tar.gz",
                requirements="acme-lib==1.0",
                environments="prod",
                allowed_sources=SOURCES,
                allowed_prefixes=PREFIXES,
            ),
            "the fleet has no environment 'prod'; allowed: dev",
        ),
    ],
)
def test_what_is_off_the_lists_is_refused_before_google_is_asked(
    make: Callable[[], Any], message: str, context: Any, ti: Ti
) -> None:
    """There is no connection here at all: a call would be another error."""
    with pytest.raises(AirflowFailException) as caught:
        make().execute(context)
    assert f"  - {message}" in str(caught.value).splitlines()
    assert ti.pushed["return_value"]["error"] == "NotAllowedError"


@pytest.mark.parametrize(
    "operator", [BuildWheelOperator, PublishWheelOperator, PlanRolloutOperator, CheckRolloutOperator]
)
def test_the_lists_are_no_template_fields(operator: type[Any]) -> None:
    """What a form says is rendered into template fields only."""
    assert {"allowed_sources", "allowed_prefixes", "approve_before", "fleet"}.isdisjoint(operator.template_fields)


def test_a_request_that_is_allowed(context: Any) -> None:
    """The environments as resource names, for the tasks to come."""
    check = CheckRolloutOperator(task_id="t", fleet=FLEET, requirements="Acme_Lib==1.10", environments="['dev']")
    assert check.execute(context) == {
        "outcome": "allowed",
        "message": "everything that was asked for is allowed",
        "environments": [str(FLEET.stages[0].members[0].name)],
        "requirements": ["acme-lib==1.10"],
    }


@pytest.fixture
def plan_with(sandbox: Running, project: str, site: Site, conn: None, context: Any) -> Callable[..., Any]:
    """Plan for one environment, each time as another run."""
    site.published(make_wheel(site.folder, "mypythonlib", "1.0.0"))
    sandbox.setup(buckets=[f"{project}/{project}-state"])
    fleet = Fleet(f"gs://{project}-state/gar", (Stage("prod", (Member(site.environment),)),))
    numbers = iter(range(100))

    def plan(requirement: str = "mypythonlib==1.0.0", **more: Any) -> Any:
        return PlanRolloutOperator(
            task_id="plan",
            fleet=fleet,
            repository=str(site.repository),
            requirements=requirement,
            rollout=f"dag/{next(numbers)}",
            **more,
        ).execute(context)

    return plan


def test_a_plan_is_applied_as_it_was_approved(plan_with: Callable[..., Any], context: Any) -> None:
    """A dry run shows a digest; with it another run gets the same plan, and a plan that differs is refused by name."""
    dry = plan_with(planned_only=True)
    digest = dry["content_digest"]
    same = plan_with(approved_plan=f" {digest.upper()}\n")
    assert same["content_digest"] == digest
    assert same["digest"] != dry["digest"]
    with pytest.raises(AirflowFailException) as caught:
        plan_with("mypythonlib", absent=["old-lib"], approved_plan=digest)
    assert f"the plan is not the one that was approved ({digest}); now it is" in str(caught.value)
    assert "old-lib absent -> absent (nothing)" in str(caught.value)
    with pytest.raises(AirflowFailException, match="no plan with that digest was shown for this fleet"):
        plan_with(approved_plan="0" * 64)


def test_a_stage_that_wants_approval_is_not_changed_without_one(plan_with: Callable[..., Any]) -> None:
    """Where Airflow can ask nobody: the error names the digest to give; a dry run and other stages need none."""
    needed: dict[str, Any] = {"approve_before": ["prod"], "approval": "prod"}
    with pytest.raises(AirflowFailException, match="stage prod is not approved") as caught:
        plan_with(**needed)
    digest = str(caught.value).rpartition("approved_plan=")[2]
    assert plan_with(**needed, approved_plan=digest)["content_digest"] == digest
    assert plan_with(**needed, planned_only="True")["content_digest"] == digest
    assert plan_with(approve_before=["prod"], approval="none")["content_digest"] == digest


def test_a_rollout_without_a_plan_is_told_and_failed(
    sandbox: Running, project: str, conn: None, cloud: Cloud, context: Any
) -> None:
    """What was refused before it was planned: the report says so, and the last task fails."""
    sandbox.setup(buckets=[f"{project}/{project}-state"])
    values: dict[str, Any] = {"task_id": "t", "state": f"gs://{project}-state/gar", "rollout": "dag/none"}
    told = ReportRolloutOperator(**values).execute(context)
    assert told == {"outcome": "failed", "message": "there is no plan, so nothing was rolled out", "table": ""}
    with pytest.raises(AirflowFailException, match="look at the first task that failed"):
        RolloutOutcomeOperator(**values).execute(context)
    assert FleetState(cloud.storage, values["state"], "dag/none").find_plan() is None
