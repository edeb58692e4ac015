"""What the demo's lines, tables and sentences look like."""

from __future__ import annotations

import io
from typing import Any

import pytest

from demo import words
from demo.airflow_client import TaskInstance
from demo.up import welcome

PAGE = words.Page(width=100)


def task(task_id: str = "install", map_index: int = -1, **fields: Any) -> TaskInstance:
    values = {
        "state": "running",
        "try_number": 1,
        "operator": "X",
        "label": None,
        "environment": None,
        "moment": "",
    } | fields
    return TaskInstance(task_id=task_id, map_index=map_index, **values)


def row(**fields: Any) -> dict[str, Any]:
    return {
        "environment": "projects/p/locations/l/environments/dev",
        "package": "mypythonlib",
        "before": None,
        "after": "1.0.0",
        "outcome": "installed",
        "distance_km": 314.4029,
        "minutes": 1.04,
    } | fields


def test_the_table_aligns_and_shows_a_dash_for_what_is_not_there() -> None:
    rows = [
        row(),
        row(environment="staging", before="==0.9", after=None, outcome="failed", distance_km=None, minutes=None),
    ]
    assert words.table(rows, PAGE).splitlines() == [
        "environment  package      before  after  outcome    distance  minutes",
        "-----------  -----------  ------  -----  ---------  --------  -------",
        "dev          mypythonlib  -       1.0.0  installed  314.4 km      1.0",
        "staging      mypythonlib  0.9     -      failed            -        -",
    ]


def test_a_narrow_page_gets_blocks_and_no_broken_columns() -> None:
    text = words.table([row()], words.Page(width=40))
    assert text.splitlines()[0] == "environment: dev"
    assert all(len(line) <= 40 for line in text.splitlines())


def test_a_long_message_is_wrapped_under_itself_and_a_path_is_not_broken() -> None:
    path = "/" + "x" * 90
    lines = words.Page(width=80).line(75, "publish", f"uploaded: {'word ' * 20}{path}").splitlines()
    assert lines[0].startswith("  1:15  publish")
    assert all(line.startswith(" " * 10) for line in lines[1:])
    assert lines[-1].strip() == path


def test_colours_only_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert words.Page.of(Terminal()).colour
    assert not words.Page.of(io.StringIO()).colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not words.Page.of(Terminal()).colour
    assert words.Page(colour=False).paint("x", "bad") == "x"
    assert words.Page(colour=True).paint("x", "bad") == "\033[31mx\033[0m"


def test_a_mapped_task_is_named_by_what_it_is_about() -> None:
    environment = "projects/p/locations/l/environments/dev"
    known = task("roll_out.install", 0, environment=environment)
    unknown = task("roll_out.deploy", 0)
    other_group = task("elsewhere.deploy", 0)
    assert words.label(known) == "dev"
    assert words.label(unknown, [known, unknown]) == "dev"
    assert words.label(other_group, [known, unknown]) == "0"
    assert words.label(task("roll_out.install", 1, label="prod", environment=environment)) == "prod"
    assert words.label(task("publish")) is None


@pytest.mark.parametrize(
    ("task_id", "label", "name"),
    [
        ("publish", None, "publish"),
        ("roll_out.plan", None, "plan"),
        ("roll_out.prod.verdict", None, "prod.verdict"),
        ("roll_out.prod.environment", "eu-1", "environment [eu-1]"),
        ("use.run_dag", "dev", "run_dag [dev]"),
    ],
)
def test_a_task_has_a_short_name_that_tells_it_from_others(task_id: str, label: str | None, name: str) -> None:
    assert words.name(task(task_id), label) == name


@pytest.mark.parametrize(
    ("operator", "result", "told"),
    [
        ("StageVerdictSensor", None, ("the stage has passed", "good")),
        ("RolloutOutcomeOperator", "3 environments are as planned", ("3 environments are as planned", "")),
        ("PlanRolloutOperator", {"outcome": "plan", "message": "plan of 3"}, ("plan of 3", "")),
        ("_PythonDecoratedOperator", "build", None),
        ("BeginStageOperator", [{"environment": "x"}], None),
    ],
)
def test_what_a_task_of_a_rollout_came_to(operator: str, result: Any, told: tuple[str, str] | None) -> None:
    assert words.state_words(task(state="success", operator=operator), result, resumed=False) == told


@pytest.mark.parametrize(
    ("result", "distance"),
    [
        ({"returned": {"print_distance": {"distance_km": 314.4}}}, 314.4),
        ({"returned": {"other": 1}}, None),
        ({"returned": None}, None),
        ({"outcome": "success"}, None),
        ([1], None),
    ],
)
def test_the_distance_is_what_the_sample_dag_returned(result: Any, distance: float | None) -> None:
    assert words.distance(result) == distance


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        (
            [("publish", None, {"outcome": "exists"}), ("roll_out.report", None, {"outcome": "succeeded"})],
            words.NOTHING_TO_DO,
        ),
        ([("build", None, {"outcome": "built"}), ("run", "dev", {"outcome": "success"})], words.NOTHING_TO_DO),
        ([("g.pip_conf", "dev", {"outcome": "written"})], "Changed: pip_conf written (dev)."),
        ([("publish", None, {"outcome": "something new"})], "Changed: publish something new."),
        (
            [("publish", None, {"outcome": "uploaded"}), *[("g.lib", e, {"outcome": "installed"}) for e in ("a", "b")]],
            "Changed: publish uploaded; lib installed (a, b).",
        ),
    ],
)
def test_the_last_sentence_says_what_changed(results: list[tuple[str, str | None, Any]], sentence: str) -> None:
    assert words.conclusion(results) == sentence


def test_the_error_is_the_last_exception_not_its_cause() -> None:
    events = [
        {"event": "::group::Log message source details"},
        {"event": "/logs/attempt=1.log"},
        {"event": "::endgroup::"},
        {"event": "starting", "level": "info"},
        {
            "event": "Task failed with exception",
            "level": "error",
            "error_detail": [
                {"exc_type": "NoAccess", "exc_value": "grant it", "is_cause": False},
                {"exc_type": "OSError", "exc_value": "403", "is_cause": True},
            ],
        },
        {"event": "bye", "level": "info"},
    ]
    assert words.error_text(events) == "NoAccess: grant it"
    assert words.log_files(events) == ["/logs/attempt=1.log"]
    assert words.error_text([{"event": "killed", "level": "critical"}]) == "killed"
    assert words.error_text([]) == "its log names no error; the scheduler's log may say why it ended"


def test_the_welcome_names_address_login_and_what_to_do() -> None:
    text = welcome("http://127.0.0.1:1234", "admin", "pa55", "publish_and_roll_out", PAGE)
    assert "http://127.0.0.1:1234/dags/publish_and_roll_out" in text
    assert "admin with the password pa55" in text
    assert "Ctrl-C" in text
