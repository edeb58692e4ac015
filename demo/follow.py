"""Follows one DAG run over the REST API, and tells its changes as they happen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from demo import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.airflow_client import TaskInstance

HEARTBEAT_SECONDS = 10.0
BUSY = {"running", "deferred"}
RESUMED = {"scheduled", "queued", "running"}
FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}


class Runs(Protocol):
    """What is asked of Airflow while a run is followed; `AirflowClient` answers it."""

    def run_state(self, dag_id: str, run_id: str) -> str:
        """The run's state."""

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """All its task instances."""

    def xcom(self, dag_id: str, run_id: str, key: tuple[str, int], name: str = "return_value") -> Any:
        """One XCom."""

    def log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[dict[str, Any]]:
        """A task's log."""


@dataclass(frozen=True)
class Failure:
    """One failed task, for people."""

    name: str
    """``install [dev]``."""
    error: str
    """The exception's type and message."""
    logs: tuple[str, ...]
    """The files with the whole log."""
    operator: str = ""
    """The class name."""


@dataclass
class Road:
    """How a run went."""

    state: str = "queued"
    """The run's last state."""
    results: list[tuple[str, str | None, Any]] = field(default_factory=list)
    """(task id, label, result) of each task that succeeded, in the order of their ends, mapped ones together."""
    failures: list[Failure] = field(default_factory=list)
    """The tasks that failed; those that only repeat it are left out."""
    report: list[dict[str, Any]] = field(default_factory=list)
    """The rows that the task `report` returned, each with the `distance_km` that its environment computed, if it did;
    none when it did not run."""


class Follower:
    """Polls a run until it ends. The clock, the pause and the printing are handed in."""

    def __init__(
        self,
        runs: Runs,
        *,
        page: words.Page,
        say: Callable[[str], None],
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        poll_interval: float = 1.0,
    ) -> None:
        self._runs = runs
        self._page = page
        self._say = say
        self._check = check
        self._clock = clock
        self._sleep = sleep
        self._poll_interval = poll_interval
        self._states: dict[tuple[str, int], str | None] = {}
        self._began: dict[tuple[str, int], float] = {}
        self._resumed: set[tuple[str, int]] = set()
        self._results: dict[tuple[str, int], Any] = {}
        self._start = self._said = clock()

    def follow(self, dag_id: str, run_id: str) -> Road:
        """Tell the run's changes until it has ended; `check` may raise to stop."""
        self._start = self._said = self._clock()
        while True:
            self._check()
            # The state is asked first: when it is final, so are the tasks that are asked after it.
            state = self._runs.run_state(dag_id, run_id)
            tasks = self._runs.task_instances(dag_id, run_id)
            for task in sorted(tasks, key=lambda task: task.moment):
                if task.key not in self._states or self._states[task.key] != task.state:
                    if task.state == "running" and words.label(task, tasks) == str(task.map_index):
                        self._began.setdefault(task.key, self._clock())
                        continue  # what it is about is known in a moment, or with its result
                    self._tell(dag_id, run_id, task, tasks)
                    self._states[task.key] = task.state
            if state in {"success", "failed"}:
                return self._road(dag_id, run_id, state, tasks)
            if self._clock() - self._said >= HEARTBEAT_SECONDS:
                self._line("…", self._heartbeat(tasks), "faint")
            self._sleep(self._poll_interval)

    def _tell(self, dag_id: str, run_id: str, task: TaskInstance, tasks: list[TaskInstance]) -> None:
        if task.state in BUSY:
            self._began.setdefault(task.key, self._clock())
        if task.state == "success":
            self._results[task.key] = self._runs.xcom(dag_id, run_id, task.key)
        resumed = self._states.get(task.key) == "deferred" and task.state in RESUMED
        said = words.state_words(task, self._results.get(task.key), resumed=resumed)
        # After a resume `running` is the second word for the same thing.
        again = task.state == "running" and not resumed and task.key in self._resumed
        if resumed:
            self._resumed.add(task.key)
        elif task.state == "deferred":
            self._resumed.discard(task.key)
        if said is not None and not again:
            self._line(words.name(task, words.label(task, tasks)), *said)

    def _road(self, dag_id: str, run_id: str, state: str, tasks: list[TaskInstance]) -> Road:
        """What is known at the end; only now every label is."""
        road = Road(state)
        by_key = {task.key: task for task in tasks}
        order = {task_id: place for place, (task_id, _) in reversed(list(enumerate(self._results)))}
        for key, result in sorted(self._results.items(), key=lambda item: (order[item[0][0]], item[0][1])):
            road.results.append((key[0], words.label(by_key[key], tasks), result))
        distances = {place: found for _, place, result in road.results if (found := words.distance(result)) is not None}
        told = [result for key, result in self._results.items() if key[0].rpartition(".")[2] == "report"]
        rows = [row for result in told if isinstance(result, dict) for row in result.get("rows", [])]
        road.report = [{**row, "distance_km": distances.get(words.last_part(row["environment"]))} for row in rows]
        for task in sorted(tasks, key=lambda task: task.moment):  # what failed first is the cause of what followed
            if task.state == "failed":
                events = self._runs.log(dag_id, run_id, task)
                logs = tuple(_near(file) for file in words.log_files(events))
                name = words.name(task, words.label(task, tasks))
                road.failures.append(Failure(name, words.error_text(events), logs, task.operator))
        causes = [failure for failure in road.failures if failure.operator not in words.CONSEQUENCES]
        road.failures = causes or road.failures
        return road

    def _heartbeat(self, tasks: list[TaskInstance]) -> str:
        now = self._clock()
        busy = [task for task in tasks if task.key in self._began and task.state not in FINISHED]
        return words.heartbeat([(task, words.label(task, tasks), now - self._began[task.key]) for task in busy])

    def _line(self, name: str, text: str, kind: str) -> None:
        self._said = self._clock()
        self._say(self._page.line(self._said - self._start, name, text, kind))


def _near(file: str) -> str:
    """A path as seen from here, where that is shorter."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
