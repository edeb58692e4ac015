"""What the demo's driver promises: it tells the road truly, and its exit status is honest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo import road, words
from demo.airflow_client import TaskInstance
from demo.follow import Follower

if TYPE_CHECKING:
    from pathlib import Path

    from demo.airflow_stack import AirflowStack

PREFIX = "projects/p/locations/l/environments/"


def drive(stack: AirflowStack, *arguments: str) -> road.Drive:
    return road.Drive(stack, road.parse(arguments), words.Page(width=100))


def flat(text: str) -> str:
    """The text with single spaces: without its columns and its line breaks."""
    return " ".join(text.split())


@pytest.mark.slow
def test_a_run_is_told_from_start_to_table_and_a_second_one_has_nothing_to_do(
    stack: AirflowStack, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--environments", f"{PREFIX}dev,{PREFIX}prod"]
    assert drive(stack, *arguments).all_environments() == 0
    told = capsys.readouterr().out
    assert "the repository is there now." in told
    assert "installing: waiting for Google (deferred, holds no worker)" in told
    assert "install [prod]" in told
    rows = "dev mypythonlib - 1.0.0 installed 314.4 km 0.2 prod mypythonlib - 1.0.0 installed 314.4 km 0.2"
    assert rows in flat(told)
    changed = "Changed: create_repository created; pip_conf written (dev, prod); install installed (dev, prod)."
    assert changed in flat(told)

    assert drive(stack, *arguments).all_environments() == 0
    told = capsys.readouterr().out
    assert "the repository is there already." in told
    assert "dev mypythonlib 1.0.0 1.0.0 exists 314.4 km 0.2" in flat(told)
    assert told.endswith(f"{words.NOTHING_TO_DO}\n")


@pytest.mark.slow
def test_a_failed_task_is_told_with_its_last_exception_and_its_log(
    stack: AirflowStack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drive(stack, "--environments", f"{PREFIX}broken").all_environments() == 1
    told = capsys.readouterr().out
    assert "install [broken] failed:\n" in told
    assert f"    RuntimeError: cannot install into {PREFIX}broken\n    Ask its owner.\n" in told
    assert "Traceback" not in told
    assert "not run, because an earlier task failed" in told
    assert told.endswith("The run ended as failed.\n")
    log_line = next(line for line in told.splitlines() if "The whole log: " in line)
    with open(log_line.partition("The whole log: ")[2], encoding="utf-8") as log:  # noqa: PTH123
        assert "the disk is gone" in log.read()


@pytest.mark.slow
def test_the_story_fails_first_for_lack_of_access_and_then_installs(
    stack: AirflowStack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drive(stack, "--story", "--environments", f"{PREFIX}story").story() == 0
    told = capsys.readouterr().out
    first, second = told.split("2. With access")
    assert "PermissionError: robot@example.test lacks roles/artifactregistry.reader" in first
    assert "That is the point of this story" in first
    assert "story mypythonlib - 1.0.0 installed 314.4 km 0.2" in flat(second)


@pytest.mark.slow
def test_a_story_that_fails_for_another_reason_is_an_error(
    stack: AirflowStack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drive(stack, "--story", "--environments", f"{PREFIX}broken").story() == 1
    assert "no error names that role" in flat(capsys.readouterr().out)


@pytest.mark.slow
def test_a_run_that_was_interrupted_does_not_go_on_beside_the_new_one(
    stack: AirflowStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.wait_for_dag(road.DAG_ID)
    left = stack.client.trigger(road.DAG_ID, {"environments": [f"{PREFIX}left"]})
    assert drive(stack, "--environments", f"{PREFIX}dev").all_environments() == 0
    assert f"ending the interrupted run {left}" in capsys.readouterr().out
    assert stack.client.run_state(road.DAG_ID, left) == "failed"


class FakeRuns:
    """Plays a run from a list of polls: (run state, task instances)."""

    def __init__(self, polls: list[tuple[str, list[Any]]], results: dict[tuple[str, int], Any]) -> None:
        self.polls = polls
        self.results = results
        self.at = -1

    def run_state(self, dag_id: str, run_id: str) -> str:
        self.at += 1
        return self.polls[self.at][0]

    def task_instances(self, dag_id: str, run_id: str) -> list[Any]:
        return self.polls[self.at][1]

    def xcom(self, dag_id: str, run_id: str, key: tuple[str, int], name: str = "return_value") -> Any:
        return self.results.get(key)

    def log(self, dag_id: str, run_id: str, task: Any) -> list[dict[str, Any]]:
        return []


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_long_wait_has_a_heartbeat_that_says_what_is_going_on() -> None:
    def install(state: str) -> TaskInstance:
        return TaskInstance("roll_out.install", 0, state, 1, "InstallPrivatePackageOperator", "dev", None, "")

    polls = [("running", [install("running")]), *[("running", [install("deferred")])] * 24]
    polls += [("running", [install("queued")]), ("running", [install("running")])]
    runs = FakeRuns([*polls, ("success", [install("success")])], {("roll_out.install", 0): {"outcome": "installed"}})
    clock, said = Clock(), list[str]()
    follower = Follower(runs, page=words.Page(), say=said.append, clock=clock, sleep=clock.sleep)
    assert follower.follow("dag", "run").results == [("roll_out.install", "dev", {"outcome": "installed"})]
    assert [flat(line) for line in said] == [
        "0:00 install [dev] installing",
        "0:01 install [dev] installing: waiting for Google (deferred, holds no worker)",
        "0:11 … dev: installing, 11 s",
        "0:21 … dev: installing, 21 s",
        "0:25 install [dev] resumed, to look at the result",
        "0:27 install [dev] installed",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --environments"),
        (["--environments", " , "], "name at least one environment"),
        (["--environments", "dev,prod,dev"], "named twice: dev"),
        (["--environments", "dev", "--set", "repository"], "not KEY=VALUE: 'repository'"),
    ],
)
def test_bad_options_are_refused_with_a_reason(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        road.parse(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_local_source_is_made_absolute_and_a_uri_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert road._source("lib") == str(tmp_path / "lib")
    assert road._source("gs://bucket/lib.tar.gz") == "gs://bucket/lib.tar.gz"


def test_a_failure_is_told_once_and_a_mapped_task_by_its_name() -> None:
    """What the stage and the outcome repeat is left out; a mapped task waits for its label before it is told."""

    def task(task_id: str, state: str, operator: str, index: int = -1, label: str | None = None) -> TaskInstance:
        return TaskInstance(task_id, index, state, 1, operator, label, None, "")

    unit, verdict = "roll_out.dev.environment", "roll_out.dev.verdict"
    polls = [
        ("running", [task(unit, "running", "RollOutEnvironmentOperator", 0)]),
        ("running", [task(unit, "running", "RollOutEnvironmentOperator", 0, "dev")]),
    ]
    failed = [
        task(unit, "failed", "RollOutEnvironmentOperator", 0, "dev"),
        task(verdict, "failed", "StageVerdictSensor"),
        task("roll_out.report", "success", "ReportRolloutOperator"),
        task("roll_out.outcome", "failed", "RolloutOutcomeOperator"),
    ]
    rows = [{"environment": "dev", "package": "lib", "outcome": "failed"}]
    runs = FakeRuns([*polls, ("failed", failed)], {("roll_out.report", -1): {"outcome": "failed", "rows": rows}})
    clock, said = Clock(), list[str]()
    found = Follower(runs, page=words.Page(), say=said.append, clock=clock, sleep=clock.sleep).follow("dag", "run")
    assert [failure.name for failure in found.failures] == ["environment [dev]"]
    assert found.report == [{**rows[0], "distance_km": None}]
    assert [flat(line) for line in said[:2]] == ["0:01 environment [dev] rolling out", "0:02 environment [dev] FAILED"]
