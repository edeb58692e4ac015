"""Approvals in a real Airflow, between people; and what its API lets nobody ask of the form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.airflow_client import AirflowApiError, AirflowClient
from demo.airflow_stack import AirflowStack
from tests.conftest import Running
from tests.rollout.conftest import Run, World
from tests.tables import squeezed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.needs_airflow("3.1", "approvals"),
]

EXAMPLES = Path(__file__).parents[2] / "example_dags"
FLEET = "approvals"
PROD = "roll_out.prod.approval"


@pytest.fixture(scope="module")
def people(world: World, tmp_path_factory: pytest.TempPathFactory, sandbox: Running) -> Iterator[World]:
    """A fleet whose prod needs approval by somebody else, the example's form, and two people besides the admin."""
    stages = [{"name": name, "environments": [name]} for name in ("dev", "prod")]
    world.fleet(FLEET, stages, 'skip_checks="import_errors", approve_before="prod", self_approval=False')
    for name in ("publish_and_roll_out.py", "haversine_distance.py", "fleet.yaml"):
        (world.dags / name).symlink_to(EXAMPLES / name)
    base = tmp_path_factory.mktemp("people")
    with AirflowStack(
        home=base / "home",
        dags=world.dags,
        environ=sandbox.child_env(),
        parallelism=4,
        timeout=300,
        users={"ada": "op", "grace": "op"},
    ) as stack:
        world.stack = stack
        yield world


def start(world: World, who: str) -> Run:
    """A run that one of them triggers, to a version that must stay text."""
    world.stack.wait_for_dag(FLEET)
    return Run(world, FLEET, world.stack.client_of(who).trigger(FLEET, {"requirements": "acme-lib==1.10"}))


def asked(run: Run, client: AirflowClient) -> dict[str, Any]:
    """Wait until the question is there; what it says."""
    run.world.stack.wait_for_question(run.dag_id, run.run_id, PROD)
    return dict(client._call("GET", _question(run)))


def approve(run: Run, client: AirflowClient) -> None:
    """Answer what was asked."""
    client._call("PATCH", _question(run), {"chosen_options": ["Approve"], "params_input": {}})


def _question(run: Run) -> str:
    return f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{PROD}/-1/hitlDetails"


def ledger(run: Run) -> dict[str, Any]:
    """The record that outlives Airflow's database."""
    bucket, _, name = run.report()["ledger"].removeprefix("gs://").partition("/")
    found = run.world.cloud.storage.read(bucket, name)
    assert found is not None
    return dict(json.loads(found[0]))


def test_who_triggered_a_run_may_not_approve_it_but_somebody_else_may(people: World) -> None:
    """Ada's own yes is a refusal that says why; in her next run Grace says yes; a third run has nothing to ask."""
    ada, grace = (people.stack.client_of(name) for name in ("ada", "grace"))
    first = start(people, "ada")
    body = asked(first, ada)["body"]
    assert "| `prod` | `prod` | change | `acme-lib` `absent` → `==1.10`; pip.conf |" in squeezed(body)
    assert "| `dev` | `dev` | `acme-lib` | `absent` → `1.10` | installed |" in squeezed(body)
    assert "- dev: passed" in body
    approve(first, ada)
    assert first.wait() == "failed"
    assert first.states()["prod.approval"] == "failed"
    assert first.states()["prod.begin"] == "upstream_failed"
    refused = first.client.xcom(FLEET, first.run_id, (PROD, -1))
    assert refused["error"] == "NotApprovedError"
    assert "ada triggered this run, so somebody else has to approve it" in refused["message"]
    assert people.declared(FLEET) == {"dev": "==1.10", "prod": None}
    [approval] = ledger(first)["approval"]
    assert (approval["stage"], approval["outcome"], approval["by"]) == ("prod", "own_run", "ada")
    assert any("somebody else has to approve it" in line for line in first.report()["complaints"])

    second = start(people, "ada")
    assert "- dev: nothing was to be done" in asked(second, grace)["body"]
    approve(second, grace)
    assert second.wait() == "success", second.states()
    assert people.declared(FLEET) == {"dev": "==1.10", "prod": "==1.10"}
    [approval] = second.report()["approvals"]
    assert (approval["outcome"], approval["by"]) == ("approved", "grace")
    assert "Stage prod: `approved by grace (" in second.report()["table"]
    assert ledger(second)["triggered_by"] == "ada"

    third = start(people, "ada")
    assert third.wait() == "success", third.states()
    told = third.client.xcom(FLEET, third.run_id, (PROD, -1))
    assert told["message"] == "nobody is asked: the plan changes nothing in this stage"
    assert third.report()["approvals"] == []


def test_a_trigger_through_the_api_cannot_ask_for_more_than_the_form(people: World, sandbox: Running) -> None:
    """What the form's schema knows is refused at once; the rest ends the run before anything is written to Google."""
    client: AirflowClient = people.stack.client_of("ada")
    dag_id = "publish_and_roll_out"
    people.stack.wait_for_dag(dag_id)
    for conf in ({"environments": ["mallory"]}, {"approval": "dev"}, {"requirement": ["requests"]}):
        with pytest.raises(AirflowApiError) as caught:
            client.trigger(dag_id, conf)
        assert caught.value.status == 400
    mark = sandbox.mark()
    conf = {"source": None, "wheels": "gs://acme-packages-builds/wheels/../evil/*.whl", "requirement": "requests==2.0"}
    run = Run(people, dag_id, client.trigger(dag_id, conf))
    assert run.wait() == "failed"
    assert run.states()["check_form"] == "failed"
    assert run.states()["create_repository"] == "upstream_failed"
    told = client.xcom(dag_id, run.run_id, ("check_form", -1))
    assert told["error"] == "NotAllowedError"
    assert "is not below an allowed place; allowed: gs://acme-packages-builds/wheels" in told["message"]
    assert (
        "the package 'requests' begins with none of the allowed prefixes; allowed: mypythonlib, acme-"
        in told["message"]
    )
    reads = ("storage.objects.get", "storage.objects.list", "storage.buckets.get")
    assert {call["method"] for call in sandbox.calls("acme-", mark)} <= set(reads)
