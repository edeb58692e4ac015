"""Rollouts in a real Airflow (scheduler, triggerer, dag-processor, api-server) over environments of the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_gar_provider.compat import approval_operator
from airflow_gar_provider.core.environment import EnvironmentName
from tests.conftest import Running
from tests.rollout import airflow2
from tests.rollout.conftest import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
with_approvals = pytest.mark.needs_airflow("3.1", "approvals")


def stage(name: str, *environments: str, **limits: object) -> dict[str, object]:
    return {"name": name, "environments": list(environments), **limits}


@pytest.fixture(scope="module")
def fleets(world: World, tmp_path_factory: pytest.TempPathFactory, sandbox: Running) -> Iterator[World]:
    """All fleets, and the Airflow that rolls them out: its start is paid once."""
    # Only one fleet starts its environments' Airflows, to compare import errors: that is most of its time.
    quick = 'skip_checks="import_errors", '
    world.fleet("all_well", [stage("dev", "dev"), stage("prod", "one", "two", "three", max_parallel=2)])
    world.fleet(
        "abort",
        [stage("dev", "dev"), stage("canary", "canary"), stage("prod", "prod")],
        quick + 'on_failure="roll_back"',
        denied=("canary",),
    )
    world.fleet(
        "tolerated",
        [stage("dev", "good", "bad", max_failures=1), stage("prod", "prod")],
        quick,
        denied=("bad",),
    )
    if approval_operator() is not None:
        world.fleet("refused", [stage("dev", "dev"), stage("prod", "prod")], quick + 'approve_before="prod"')
        world.fleet(
            "unanswered",
            [stage("prod", "prod")],
            quick + 'approve_before="prod", approval_timeout=timedelta(seconds=12)',
        )
    base = tmp_path_factory.mktemp("stack")
    with airflow2.start(home=base / "home", dags=world.dags, environ=sandbox.child_env(), parallelism=4) as running:
        world.stack = running
        yield world


def test_all_well(fleets: World, sandbox: Running) -> None:
    """Stage after stage, no more at a time than may; green, reported, in the ledger; again: no change."""
    run = fleets.start("all_well")
    assert run.wait() == "success", run.states()
    assert run.states() == {
        "dev.begin": "success",
        "dev.environment[dev]": "success",
        "dev.verdict": "success",
        "outcome": "success",
        "plan": "success",
        "prod.begin": "success",
        "prod.environment[one]": "success",
        "prod.environment[three]": "success",
        "prod.environment[two]": "success",
        "prod.verdict": "success",
        "report": "success",
    }
    assert set(fleets.declared("all_well").values()) == {"==1.0"}
    assert 1 <= fleets.overlaps("all_well") <= 2
    report = run.report()
    assert report["message"] == "4 of 4 environments were changed; 0 complaints"
    assert run.outcomes() == dict.fromkeys(("dev", "one", "two", "three"), "installed")
    bucket, _, name = report["ledger"].removeprefix("gs://").partition("/")
    found = fleets.cloud.storage.read(bucket, name)
    assert found is not None
    ledger = json.loads(found[0])
    assert ledger["rollout"] == f"all_well/{run.run_id}"
    assert len(ledger["environments"]) == 4
    again = fleets.start("all_well")
    assert again.wait() == "success"
    assert again.report()["message"] == "0 of 4 environments were changed; 0 complaints"
    assert again.states()["prod.environment"] == "skipped"


def test_an_abort_stops_the_rest_and_undoes_what_was_done(fleets: World) -> None:
    """A canary that fails: later stages are not begun, what was done is undone, and the run is failed."""
    run = fleets.start("abort")
    assert run.wait() == "failed"
    states = run.states()
    assert states["dev.environment[dev]"] == "success"
    assert states["canary.environment[canary]"] == "failed"
    assert states["canary.verdict"] == "failed"
    assert states["prod.begin"] == "upstream_failed"
    assert states["undo.environment[dev]"] == "success"
    assert states["report"] == "success"
    assert states["outcome"] == "failed"
    assert set(fleets.declared("abort").values()) == {None}
    outcomes = run.outcomes()
    assert outcomes["canary"] == "failed"
    assert outcomes["prod"] == "not_reached"
    assert outcomes["dev"] == "rolled_back"
    [cause] = [row["cause"] for row in run.report()["rows"] if row["environment"] == "canary"]
    assert "read" in cause or "access" in cause


def test_a_tolerated_failure(fleets: World) -> None:
    """One failure of a stage that may have one: the next stage goes on, and the run says in the end that one failed."""
    run = fleets.start("tolerated")
    assert run.wait() == "failed"
    states = run.states()
    assert states["dev.environment[bad]"] == "failed"
    assert states["dev.verdict"] == "success"
    assert states["prod.environment[prod]"] == "success"
    assert states["outcome"] == "failed"
    assert fleets.declared("tolerated") == {"good": "==1.0", "bad": None, "prod": "==1.0"}
    assert len(run.report()["complaints"]) == 1


@with_approvals
def test_a_refused_approval(fleets: World) -> None:
    """Rejected: the stage is not begun, nothing is changed there, and the run is failed."""
    run = fleets.start("refused")
    run.answer("roll_out.prod.approval", "Reject")
    assert run.wait() == "failed"
    states = run.states()
    assert states["dev.environment[dev]"] == "success"
    assert states["prod.begin"] == "skipped"
    assert states["outcome"] == "failed"
    assert fleets.declared("refused") == {"dev": "==1.0", "prod": None}
    # The refusal stands when its task is cleared, too; and a run with a deadline can be cleared.
    mine = {"dag_run_id": run.run_id, "task_ids": ["roll_out.prod.approval"], "include_downstream": True}
    run.client._call(
        "POST",
        "dags/refused/clearTaskInstances",
        {**mine, "dry_run": False, "only_failed": False, "reset_dag_runs": True},
    )
    assert run.wait() == "failed"
    told = run.client.xcom("refused", run.run_id, ("roll_out.prod.approval", -1))
    assert "nobody is asked: the rollout was stopped: stage prod did not pass: rejected by" in told["message"]
    assert fleets.declared("refused") == {"dev": "==1.0", "prod": None}


@with_approvals
def test_an_approval_that_nobody_gives(fleets: World) -> None:
    """No answer in time is a refusal."""
    run = fleets.start("unanswered")
    assert run.wait() == "failed"
    assert run.states()["prod.begin"] == "skipped"
    assert fleets.declared("unanswered") == {"prod": None}


def test_the_switch_stops_before_the_next_environment(fleets: World) -> None:
    """STOP in the fleet's bucket: nothing is begun, and the report says why."""
    fleets.cloud.storage.write("fleet-all-well-state", "gar/STOP", b"")
    try:
        run = fleets.start("all_well", requirements="acme-lib==1.1")
        assert run.wait() == "failed"
        assert run.states()["dev.environment[dev]"] == "skipped"
        assert run.outcomes()["dev"] == "not_started"
        assert "the fleet's STOP switch is on" in run.report()["table"]
        assert set(fleets.declared("all_well").values()) == {"==1.0"}
    finally:
        fleets.cloud.storage.delete("fleet-all-well-state", "gar/STOP")
    name = EnvironmentName.parse(fleets.environments["all_well"][0])
    assert fleets.cloud.composer.get_environment(name).state == "RUNNING"
