"""Running a DAG in an environment: when it is started, what is shown, what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.environment_dag import BrokenFile, DagOrder
from airflow_gar_provider.errors import AccessDeniedError, ConcurrentChangeError, EnvironmentDagError, UnavailableError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
from airflow_gar_provider.steps.dag_outcome import end_run
from airflow_gar_provider.steps.deploy_dag import deploy_dags
from airflow_gar_provider.steps.environment_dag import run_environment_dag, start_run, wait_for_run
from tests.steps.conftest import QuickClock

NUMBERS = """
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow.decorators import task
    from airflow.models.dag import DAG
with DAG("numbers", schedule=None):
    @task
    def add(params=None, dag_run=None):
        conf = dag_run.conf or {}
        if conf.get("fail"):
            raise ValueError("as asked")
        print("adding for", conf, "at https://me:hunter22@example.com/")
        return {"sum": 1 + conf["n"], "url": "https://me:hunter22@example.com/"}
    @task(map_index_template="{{ name }}")
    def each(name):
        from airflow.operators.python import get_current_context
        get_current_context()["name"] = name
        return name
    add() >> each.expand(name=["x", "y"])
"""
BROKEN = "# the DAG 'broken', for airflow\nimport not_there\n"


@pytest.mark.slow
def test_run_in_an_environment(
    cloud: Cloud, environment: EnvironmentName, tmp_path: Path, clock: QuickClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs there, its log is shown here, what it returned comes back; a failure names the task and its error; a
    file that was deployed a moment ago is the one that runs; credentials are hidden."""
    found = cloud.composer.get_environment(environment)
    airflow = cloud.airflow_of(found)
    (tmp_path / "numbers.py").write_text(NUMBERS)
    (tmp_path / "other_name.py").write_text(BROKEN)
    deploy_dags(cloud.storage, found, str(tmp_path / "*.py"))

    def run(dag_id: str, run_id: str, timeout: float = 3000, **conf: object) -> dict[str, Any]:
        return run_environment_dag(
            airflow, found, dag_id, run_id=run_id, conf=conf, timeout=timeout, clock=clock, storage=cloud.storage
        )

    caplog.set_level("INFO")
    result = run("numbers", "r1", n=2)
    assert result["outcome"] == "success"
    hidden = "https://****@example.com/"
    assert result["returned"] == {"add": {"sum": 3, "url": hidden}, "each[x]": "x", "each[y]": "y"}
    assert f"adding for {{'n': 2}} at {hidden}" in caplog.text
    assert "task each[y] (success) of DAG numbers says:" in caplog.text
    assert "hunter22" not in caplog.text
    # The same run again, as a retry of a lost answer would ask: it is followed, not run twice.
    assert run("numbers", "r1", n=2)["run_id"] == "r1"
    assert "started from outside by airflow-gar-provider; its outcome was read" in str(airflow.get_run("numbers", "r1"))
    with pytest.raises(EnvironmentDagError, match="task add: ValueError: as asked"):
        run("numbers", "r2", fail=True)
    with pytest.raises(
        EnvironmentDagError,
        match=r"cannot be imported in dev: other_name\.py: ModuleNotFoundError: No module named 'not_there'",
    ):
        run("broken", "r1")
    with pytest.raises(
        EnvironmentDagError, match=r"does not know DAG nobody yet after 1 s; files .*: other_name\.py: ModuleNotFound"
    ):
        run("nobody", "r", timeout=1)
    # Deployed anew: the run is that of the new file.
    (tmp_path / "numbers.py").write_text(NUMBERS.replace("1 + conf", "10 + conf"))
    deploy_dags(cloud.storage, found, str(tmp_path / "numbers.py"))
    assert run("numbers", "r3", n=2)["returned"]["add"]["sum"] == 12
    # Paused: an error, or unpaused.
    airflow._call("PATCH", "/dags/numbers", "pause", body={"is_paused": True})
    with pytest.raises(EnvironmentDagError, match="DAG numbers is paused in dev: its run would wait for ever"):
        run("numbers", "r4", n=1)
    assert airflow.get_run("numbers", "r4") is None
    order = DagOrder("numbers", "r5", conf={"n": 1}, unpause=True)
    assert start_run(airflow, cloud.storage, found, order, timeout=100, clock=clock) == "r5"
    # A broken new version of a DAG that is known: its own error, not a run of the old one.
    (tmp_path / "numbers.py").write_text("import not_there_either\n" + NUMBERS)
    deploy_dags(cloud.storage, found, str(tmp_path / "numbers.py"))
    with pytest.raises(
        EnvironmentDagError, match=r"numbers\.py: ModuleNotFoundError: No module named 'not_there_either'"
    ):
        run("numbers", "r6", n=1)


NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
FOUND = Environment(
    name=EnvironmentName.parse("projects/acme-data/locations/europe-west1/environments/dev"),
    state="RUNNING",
    bucket="b",
    service_account="",
    airflow_uri="https://airflow.example",
    image_version="composer-3-airflow-3.3.1-build.0",
)


class FakeAirflow:
    """An environment's Airflow whose answers are lists: the last one stays."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, list[Any]] = {
            "get_dag": [{"dag_id": "d", "is_paused": False, "fileloc": "/home/airflow/gcs/dags/team/d.py"}],
            "source": ["new"],
            "broken_files": [[]],
            "start_run": [None],
            "note_run": [None],
            "task_instances": [[]],
            "task_log": [""],
            "return_value": [None],
            **answers,
        }
        self.runs: dict[str, Any] = {}
        self.calls: list[tuple[str, ...]] = []

    def get_run(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        answers = self.runs.get(run_id)
        if isinstance(answers, list):
            return answers.pop(0) if len(answers) > 1 else answers[0]
        return answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls.append((name, *[str(argument) for argument in arguments]))
            answers = self.answers[name]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return call

    def called(self, name: str) -> list[tuple[str, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]


class FakeStorage:
    """One file of the bucket, or why it may not be read."""

    def __init__(self, content: bytes | Exception | None = b"new", written: datetime | None = NOW) -> None:
        self.content = content
        self.when = written

    def read(self, bucket: str, name: str) -> tuple[bytes, int] | None:
        if isinstance(self.content, Exception):
            raise self.content
        return None if self.content is None else (self.content, 1)

    def written(self, bucket: str, name: str) -> datetime | None:
        return self.when


def start(airflow: Any, storage: Any, clock: QuickClock, timeout: float = 60, **order: Any) -> str:
    return start_run(airflow, storage, FOUND, DagOrder("d", "r.try3", **order), timeout=timeout, clock=clock)


@pytest.mark.parametrize(
    ("stored", "parsed", "waits"),
    [
        (b"new", ["new"], 0),
        (b"new", ["old", "old", "new"], 2),
        (b"new\r\n", ["old", "new"], 1),
        (None, ["anything"], 0),  # an archive, or a file that is gone: nothing to compare with
        (b"new", [None], 0),  # Airflow does not show it
        (b"new", [AccessDeniedError("no")], 0),
        (AccessDeniedError("no"), ["old"], 0),
    ],
)
def test_it_waits_until_the_new_file_is_parsed(stored: Any, parsed: list[Any], waits: int, clock: QuickClock) -> None:
    """The source that Airflow parsed is compared with the bucket's; where that cannot be, what it has must do."""
    airflow = FakeAirflow(source=parsed)
    assert start(airflow, FakeStorage(stored), clock) == "r.try3"
    assert clock.slept == 5 * waits
    assert airflow.called("start_run")[0][:2] == ("d", "r.try3")


DAG = {"dag_id": "d", "is_paused": False, "relative_fileloc": "team/d.py"}


@pytest.mark.parametrize(
    "unknown", [None, {**DAG, "is_stale": True}, {**DAG, "is_active": False}], ids=["unknown", "stale", "inactive"]
)
def test_it_waits_until_the_dag_is_known(unknown: Any, clock: QuickClock) -> None:
    """A DAG whose file was deleted stays known to Airflow, marked: it does not count."""
    start(FakeAirflow(get_dag=[unknown, unknown, DAG]), FakeStorage(), clock)
    assert clock.slept == 10


def broken(file: str = "/dags/team/d.py", when: datetime | None = NOW) -> BrokenFile:
    return BrokenFile(f"/home/airflow/gcs{file}", "Traceback\n  line\nKeyError: 'x'\n", when)


@pytest.mark.parametrize(
    ("errors", "order", "content"),
    [
        ([broken()], {"file": "team/d.py"}, b"anything"),
        ([broken()], {"file": "gs://b/dags/team/d.py"}, b"anything"),
        ([broken("/dags/other.py")], {}, b'with DAG("d"):'),
        ([broken("/dags/other.py")], {}, b"@dag\ndef d():"),
        ([broken("/dags/my_d_file.py", None)], {}, None),
        ([broken("/dags/d.py")], {}, AccessDeniedError("no")),
    ],
)
def test_an_import_error_of_its_file(
    errors: list[BrokenFile], order: dict[str, Any], content: Any, clock: QuickClock
) -> None:
    """It is found by the file, where that is known, else by its name or by the DAG's id in it."""
    airflow = FakeAirflow(get_dag=[None], broken_files=[errors])
    with pytest.raises(
        EnvironmentDagError, match=r"the file of DAG d cannot be imported in dev: .*\.py: KeyError: 'x'"
    ):
        start(airflow, FakeStorage(content), clock, **order)
    assert airflow.called("start_run") == []


@pytest.mark.parametrize(
    ("errors", "order"),
    [
        ([broken("/dags/team/e.py")], {}),  # another file
        ([broken("/dags/x/d.py")], {"file": "team/d.py"}),  # another folder
        ([broken(when=NOW - timedelta(seconds=1))], {"file": "team/d.py"}),  # of an older version of the file
    ],
)
def test_an_import_error_that_is_not_its_own(
    errors: list[BrokenFile], order: dict[str, Any], clock: QuickClock
) -> None:
    """It does not end the wait; at the timeout it is shown."""
    airflow = FakeAirflow(get_dag=[None], broken_files=[errors])
    with pytest.raises(
        EnvironmentDagError, match=r"dev does not know DAG d yet after 60 s; files that .* there: .*\.py: KeyError: 'x'"
    ):
        start(airflow, FakeStorage(b"nothing"), clock, **order)


def test_a_new_version_that_is_never_parsed(clock: QuickClock) -> None:
    """The timeout says which file was waited for, and no run of the old one was started."""
    airflow = FakeAirflow(source=["old"])
    with pytest.raises(EnvironmentDagError, match=r"has not parsed the newest version of team/d\.py yet after 60 s"):
        start(airflow, FakeStorage(), clock)
    assert airflow.called("start_run") == []


RUNNING = {"state": "running"}
READ = {"state": "success", "note": "started by x; its outcome was read"}


@pytest.mark.parametrize(
    ("runs", "followed"),
    [
        ({}, "r.try3"),
        ({"r.try2": RUNNING}, "r.try2"),
        ({"r.try1": {"state": "queued"}}, "r.try1"),  # the second try followed the first one's
        ({"r.try2": {"state": "success", "note": None}}, "r.try2"),  # the worker died before it could read it
        ({"r.try2": READ}, "r.try3"),  # cleared by somebody who wants another run
        ({"r.try2": {"state": "failed"}}, "r.try3"),
        ({"r.try2": {"state": "failed"}, "r.try1": RUNNING}, "r.try3"),  # try 2 gave up on it
    ],
)
def test_a_try_follows_the_run_of_an_earlier_one(runs: dict[str, Any], followed: str, clock: QuickClock) -> None:
    """What runs is followed, what ended unseen is taken, what failed is run again."""
    airflow = FakeAirflow()
    airflow.runs = runs
    assert start(airflow, FakeStorage(), clock, earlier=("r.try2", "r.try1")) == followed
    assert bool(airflow.called("start_run")) is (followed == "r.try3")


def test_a_run_that_exists_already(clock: QuickClock) -> None:
    """A conflict about the run's own name is an answer that was lost; any other one is shown."""
    airflow = FakeAirflow(start_run=[ConcurrentChangeError("could not start DAG d", message="exists")])
    airflow.runs = {"r.try3": [RUNNING]}
    assert start(airflow, FakeStorage(), clock) == "r.try3"
    airflow.runs = {}
    with pytest.raises(ConcurrentChangeError, match="exists"):
        start(airflow, FakeStorage(), clock)


def test_waiting(clock: QuickClock) -> None:
    """Until it has ended, or is gone for three looks, or the time is over."""
    airflow: Any = FakeAirflow()

    def wait(timeout: float = 1000) -> None:
        wait_for_run(airflow, FOUND, "d", "r", timeout=timeout, poll_interval=10, clock=clock)

    airflow.runs = {"r": [RUNNING, None, RUNNING, {"state": "success"}]}
    wait()
    airflow.runs = {"r": [RUNNING, None]}
    wait()
    airflow.runs = {"r": [RUNNING]}
    with pytest.raises(EnvironmentDagError, match="DAG d is still running in dev when the timeout ends"):
        wait(30)


def task(task_id: str, state: str = "success", map_index: int = -1, label: str | None = None) -> dict[str, Any]:
    return {"task_id": task_id, "state": state, "map_index": map_index, "rendered_map_index": label, "try_number": 1}


def end(airflow: FakeAirflow, clock: QuickClock, state: str = "success") -> dict[str, Any]:
    airflow.runs = {"r": {"state": state}} if state else {}
    return end_run(airflow, FOUND, DagOrder("d", "r"), "r", clock)  # type: ignore[arg-type]


def test_what_comes_back_is_bounded(clock: QuickClock, caplog: pytest.LogCaptureFixture) -> None:
    """The last 200 lines of a log, each of bounded length, without control characters; 50 logs; small values."""
    log = "\n".join(["\x1b[31mred\x1b[0m\x07", "x" * 5000, *[f"line {n}" for n in range(199)]])
    tasks = [task("t", map_index=n) for n in range(300)]
    airflow = FakeAirflow(task_instances=[tasks], task_log=[log], return_value=["y" * 20_000, "small"])
    caplog.set_level("INFO")
    result = end(airflow, clock)
    assert result["returned"]["t[0]"] == {"omitted": "20002 bytes; at most 16384 are kept"}
    assert result["returned"]["t[1]"] == "small"
    assert len(result["returned"]) == 100
    assert len(result["message"]) < 400
    assert "\x1b" not in caplog.text
    assert max(len(record.getMessage()) for record in caplog.records) < 2100
    assert "  | ... 1 lines before these are not shown" in caplog.text
    assert "the logs of 250 more tasks are not shown" in caplog.text


def test_labels_of_mapped_tasks(clock: QuickClock) -> None:
    """As Airflow's UI shows them; where two are the same, with their index."""
    tasks = [task("a"), task("m", map_index=0, label="eu"), task("m", map_index=1, label="eu"), task("m", map_index=2)]
    airflow = FakeAirflow(task_instances=[tasks], return_value=[1])
    assert list(end(airflow, clock)["returned"]) == ["a", "m[eu] (0)", "m[eu] (1)", "m[2]"]


def test_a_failure_names_each_task(clock: QuickClock, caplog: pytest.LogCaptureFixture) -> None:
    """With the line that says why; logs of failed tasks come first; one that comes late is waited for."""
    tasks = [task("good"), task("bad", "failed"), task("after", "upstream_failed"), task("worse", "failed")]
    airflow = FakeAirflow(
        task_instances=[tasks], task_log=["", "doing\nValueError: as asked\n", "no reason given", "fine"]
    )
    caplog.set_level("INFO")
    with pytest.raises(EnvironmentDagError) as caught:
        end(airflow, clock, "failed")
    assert caught.value.what == (
        "DAG d ended failed in dev: task bad: ValueError: as asked; task worse: no reason given"
    )
    assert clock.slept == 5
    shown = [record.getMessage() for record in caplog.records if "says:" in record.getMessage()]
    assert shown == [f"task {name} of DAG d says:" for name in ("bad (failed)", "worse (failed)", "good (success)")]
    assert airflow.called("note_run") == [
        ("d", "r", "started from outside by airflow-gar-provider; its outcome was read")
    ]


def test_a_run_that_was_deleted(clock: QuickClock) -> None:
    """It is an error that says so."""
    with pytest.raises(EnvironmentDagError, match="DAG d ended by being deleted in dev"):
        end(FakeAirflow(), clock, "")


def test_a_run_that_may_not_be_marked(clock: QuickClock) -> None:
    """The note is for a later try; without the right to write it the outcome is what it is."""
    assert end(FakeAirflow(note_run=[AccessDeniedError("no")]), clock)["outcome"] == "success"


def test_an_airflow_that_is_away_for_a_moment(clock: QuickClock) -> None:
    """Composer restarts its web server at every update: looks that fail are made again, until the timeout."""
    away = UnavailableError("could not look at DAG d", message="502")
    airflow: Any = FakeAirflow(get_dag=[away, DAG])
    assert start(airflow, FakeStorage(), clock) == "r.try3"
    airflow.runs = {"r": [RUNNING, {"state": "success"}]}
    looks, get_run = [away], airflow.get_run
    airflow.get_run = lambda *arguments: _raise(looks.pop()) if looks else get_run(*arguments)
    wait_for_run(airflow, FOUND, "d", "r", timeout=100, poll_interval=10, clock=clock)
    with pytest.raises(EnvironmentDagError, match="cannot be asked: could not look at DAG d after 60 s"):
        start(FakeAirflow(get_dag=[away]), FakeStorage(), clock)


def _raise(error: Exception) -> Any:
    raise error


class FakeHttp:
    """Answers every request with one JSON value; keeps what was asked."""

    def __init__(self, value: Any) -> None:
        self.http = self
        self.value = value
        self.asked: list[str] = []

    def request(self, method: str, url: str, **_: Any) -> Any:
        self.asked.append(f"{method} {url}")
        return self

    status_code = 200

    def json(self) -> Any:
        return self.value


def airflow_2(value: Any) -> tuple[EnvironmentAirflow, FakeHttp]:
    http = FakeHttp(value)
    return EnvironmentAirflow(http, replace(FOUND, image_version="composer-3-airflow-2.11.1-build.0")), http  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        # As Airflow 2.11 answers: the notation of a list of pairs, inside a JSON string.
        ("[('host', ' INFO - ::group::Log message source details\\n*** Found local files:\\none\\ntwo')]", "one\ntwo"),
        ("[('a', 'one'), ('b', 'two')]", "one\ntwo"),
        ("[('a', 'cut off", "[('a', 'cut off"),
        ("plain\n*** read from x\n[2026] {x.py:1} INFO - ::endgroup::\nend", "plain\nend"),
        ("", ""),
    ],
)
def test_logs_of_airflow_2(content: str, text: str) -> None:
    """The text itself, without where it was read from and the marks for folding."""
    airflow, http = airflow_2({"content": content})
    assert airflow.task_log("d", "r/1", {"task_id": "t", "try_number": 2, "map_index": 3}) == text
    assert http.asked == [
        "GET https://airflow.example/api/v1/dags/d/dagRuns/r%2F1/taskInstances/t/logs/2?full_content=true&map_index=3"
    ]


def test_what_differs_in_airflow_2() -> None:
    """The source is asked for by the file's token, and a note has a method of its own."""
    airflow, http = airflow_2({"content": "text"})
    assert airflow.source({"dag_id": "d", "file_token": "abc.def"}) == "text"
    airflow.note_run("d", "r", "note")
    assert http.asked == [
        "GET https://airflow.example/api/v1/dagSources/abc.def",
        "PATCH https://airflow.example/api/v1/dags/d/dagRuns/r/setNote",
    ]
    assert EnvironmentAirflow(FakeHttp({"content": "REDACTED - no"}), FOUND).source({"dag_id": "d"}) is None  # type: ignore[arg-type]
