"""Deploying a DAG and running it, from a task."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.environment_dag import run_ids
from airflow_gar_provider.errors import UnavailableError
from airflow_gar_provider.operators import DeployDagOperator, RunEnvironmentDagOperator
from tests.operators.conftest import Ti
from tests.triggers.virtual import run

DAG = """
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow.decorators import task
    from airflow.models.dag import DAG
with DAG("numbers", schedule=None):
    @task
    def add(dag_run=None):
        return 1 + (dag_run.conf or {})["n"]
    add()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("conn")
def test_deploy_and_run(context: Any, ti: Ti, environment: EnvironmentName, tmp_path: Path) -> None:
    """Both modes end alike; the result of the first names the file that the second looks for; a second try of a task
    takes the run of the first."""
    (tmp_path / "numbers.py").write_text(DAG)
    deploy = DeployDagOperator(
        task_id="d", environment=str(environment), files=str(tmp_path / "*.py"), destination="team"
    )
    deployed = deploy.execute(context)
    assert deployed["outcome"] == "written"
    assert deployed["files"][0].endswith("/dags/team/numbers.py")

    def operator(deferrable: bool, **options: Any) -> RunEnvironmentDagOperator:
        return RunEnvironmentDagOperator(
            task_id="r",
            environment=str(environment),
            environment_dag_id="numbers",
            conf={"n": 2},
            file=deployed["files"][0],
            deferrable=deferrable,
            timeout=250,
            **options,
        )

    with pytest.raises(BaseException) as deferred:
        operator(True).execute(context)
    assert type(deferred.value).__name__ == "TaskDeferred"
    trigger = deferred.value.trigger  # type: ignore[attr-defined]
    running = {"status": "lost", "run_id": trigger.environment_run_id, "message": "the triggerer stopped"}

    async def fired() -> list[dict[str, Any]]:
        return [event.payload async for event in type(trigger)(**trigger.serialize()[1]).run()]

    [event] = run(fired(), pace=0.1)
    assert (event["status"], event["message"]) == ("ended", "success")
    result = operator(True).execute_complete(context, event)
    assert result["returned"] == {"add": 3}
    assert result["run_id"] == "dag.run.task.try1"
    # What the trigger did not see is looked at by the task.
    assert operator(True).execute_complete(context, running) == result
    # The same try again finds its run; the next try, after somebody cleared the task, makes a run of its own.
    assert operator(False).execute(context)["run_id"] == "dag.run.task.try1"
    ti.try_number = 2  # type: ignore[misc]
    assert operator(False, poll_interval=1).execute(context)["run_id"] == "dag.run.task.try2"
    deploy.delete = True
    assert deploy.execute(context)["outcome"] == "deleted"
    assert ti.pushed["gar_environment_link"].startswith("https://console.cloud.google.com/composer/")


@pytest.mark.parametrize(
    ("run_name", "attempt", "ids"),
    [
        ("dag/run/task", 1, ["dag.run.task.try1"]),
        ("dag/manual__2026-11-22T00:00:00+00:00/group.task/3", 3, None),
        (
            "dag/run with ä and spaces/task",
            2,
            ["dag.run_with___and_spaces.task.try2", "dag.run_with___and_spaces.task.try1"],
        ),
        ("d" * 300, 1, None),
    ],
)
def test_names_of_runs(run_name: str, attempt: int, ids: list[str] | None) -> None:
    """One for each try; only what Airflow 3 allows in a run's id, and not too long."""
    made = run_ids(run_name, attempt)
    assert len(made) == attempt
    assert len(set(made)) == attempt
    assert all(re.fullmatch(r"[A-Za-z0-9_.~:+-]{1,250}", name) for name in made)
    if ids is not None:
        assert list(made) == ids
    assert run_ids("d" * 300, 1) != run_ids("d" * 299 + "e", 1)
    assert len(run_ids("x", 50)) == 11


class Away:
    """An environment whose run goes on."""

    def __init__(self) -> None:
        self.composer = self

    def get_environment(self, name: Any) -> Any:
        from airflow_gar_provider.core.environment import Environment

        return Environment(name, "RUNNING", "b", "", "https://airflow.example", "composer-3-airflow-3.3.1-build.0")

    def airflow_of(self, _: Any) -> Any:
        return self

    def get_run(self, *_: str) -> dict[str, str]:
        return {"state": "running"}


class OnIt(RunEnvironmentDagOperator):
    """The operator with the cloud handed in."""

    def cloud(self) -> Any:
        return Away()


def test_a_wait_that_did_not_see_the_end(context: Any) -> None:
    """At the deadline the task fails for good; without an answer it may be tried again, and follows the run."""
    environment = "projects/acme-data/locations/europe-west1/environments/dev"
    task = OnIt(task_id="r", environment=environment, environment_dag_id="d")
    with pytest.raises(AirflowFailException, match="DAG d is still running in dev when the timeout ends"):
        task.execute_complete(context, {"status": "timed_out", "run_id": "r", "message": ""})
    with pytest.raises(UnavailableError, match="the wait ended without an answer: no client"):
        task.execute_complete(context, {"status": "lost", "run_id": "r", "message": "no client"})
