"""A DAG run, as Airflow would do it: task by task, with trigger rules, mapped tasks, retries and templates.

It runs in a process that may be killed at any moment. What Airflow's database would hold is in a journal that outlives
it: a line when a try begins, a line when it ends. A try that began and did not end has died; the next process begins
the task's next try, with its XCom cleared.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from airflow_gar_provider.errors import GarProviderError
from airflow_gar_provider.steps.clock import Clock

RUN_ID = "manual__2026-11-22T12:00:00+00:00"
TRIES = 3
"""Of each task: the first one and two retries, which is what `roll_out` gives its tasks at least."""
DONE = ("success", "failed", "skipped", "upstream_failed")


@dataclass(frozen=True)
class Key:
    """Which task instance."""

    task: str
    index: int = -1
    """Of a mapped task; -1 for one that is not."""

    def __str__(self) -> str:
        return self.task if self.index < 0 else f"{self.task}[{self.index}]"


@dataclass(frozen=True)
class Ended:
    """How a try ended."""

    state: str
    """Of `DONE`, or up_for_retry."""
    tries: int
    result: Any = None
    """Its return value, as XCom holds it."""
    error: str = ""
    """The exception's class; `Untyped` before it for one that is none of the provider's."""
    message: str = ""
    events: tuple[Any, ...] = ()
    """Asset events: (URI, extra)."""


class Journal:
    """What happened so far: a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.ended: dict[Key, Ended] = {}
        self.begun: dict[Key, int] = {}
        """Tries of each task instance so far."""
        self.history: list[tuple[Key, Ended]] = []
        """Every try that ended."""
        for line in path.read_text().splitlines() if path.exists() else ():
            entry = json.loads(line)
            key = Key(entry.pop("task"), entry.pop("index"))
            if "begun" in entry:
                self.begun[key] = entry["begun"]
            else:
                self.ended[key] = Ended(**{**entry, "events": tuple(map(tuple, entry["events"]))})
                self.history.append((key, self.ended[key]))

    def begin(self, key: Key) -> int:
        """A further try of a task; its number."""
        self.begun[key] = self.begun.get(key, 0) + 1
        self._write({"task": key.task, "index": key.index, "begun": self.begun[key]})
        return self.begun[key]

    def end(self, key: Key, ended: Ended) -> None:
        """A try has ended."""
        self.ended[key] = ended
        self._write({"task": key.task, "index": key.index, **vars(ended)})

    def _write(self, entry: Mapping[str, Any]) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(handle, f"{json.dumps(entry)}\n".encode())
        finally:
            os.close(handle)


class VirtualClock(Clock):
    """A wait moves the sandbox's clock instead: what ends in Google meanwhile has ended."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._url = f"http://127.0.0.1:{port}/sandbox/time"
        self._lock = threading.Lock()
        self.slept = 0.0

    def monotonic(self) -> float:
        """As the machine's, and the waits."""
        return super().monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        """Wait."""
        if seconds <= 0:
            return
        with self._lock:
            self.slept += seconds
        body = json.dumps({"advance": seconds}).encode()
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            answer.read()


@dataclass
class Ti:
    """As much of a task instance as operators use."""

    dag_id: str
    task_id: str
    map_index: int
    try_number: int
    pull: Callable[[str], Any]
    run_id: str = RUN_ID
    max_tries: int = TRIES - 1
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep a value, as JSON: what is none must fail."""
        self.pushed[key] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, **_: Any) -> Any:
        """What a task returned."""
        return self.pull(task_ids)

    def get_first_reschedule_date(self, _: Any) -> None:
        """A sensor's: it was not rescheduled."""


class _Events(dict[Any, Any]):
    """`outlet_events` of a context: whatever is added to an alias."""

    def __init__(self) -> None:
        super().__init__()
        self.added: list[tuple[str, Any]] = []

    def __missing__(self, alias: Any) -> _Events:
        return self

    def add(self, asset: Any, extra: Any = None) -> None:
        """An event."""
        self.added.append((asset.uri, extra))


@dataclass(frozen=True)
class _DagRun:
    """The run itself."""

    start_date: datetime
    triggering_user_name: str = "ada"
    run_id: str = RUN_ID


class DagRun:
    """One run of a DAG. `started`: when, by Google's clock."""

    def __init__(self, dag: Any, journal: Journal, started: datetime, port: int) -> None:
        self._dag, self._journal, self._port = dag, journal, port
        self._run = _DagRun(started)

    def go_on(self) -> bool:
        """Begin every task whose turn it is, until all have ended (True) or a try did not succeed (False).

        A further try belongs to a process of its own, as in Airflow.
        """
        for task in self._dag.topological_sort():
            for key, operator in self._instances(task):
                ended = self._journal.ended.get(key)
                if ended is not None and ended.state in DONE:
                    continue
                if not self._try(key, operator):
                    return False
        return True

    def _instances(self, task: Any) -> Iterator[tuple[Key, Callable[[Any], Any]]]:
        """A task's instances, with what makes the operator of each; none for a task that its trigger rule forbids."""
        upstream = [self._state(name) for name in task.upstream_task_ids]
        rule = str(getattr(task.trigger_rule, "value", task.trigger_rule))
        if rule == "all_success" and any(state != "success" for state in upstream):
            state = "upstream_failed" if {"failed", "upstream_failed"} & set(upstream) else "skipped"
            self._settle(Key(task.task_id), state)
            return
        if not isinstance(task, MappedOperator):
            yield Key(task.task_id), lambda context: self._rendered(task, context)
            return
        given: Any = task._get_specified_expand_input().value
        source = given.operator.task_id
        values = self._result(source) or []
        if not values:
            self._settle(Key(task.task_id), "skipped")
        for index, value in enumerate(values):
            yield Key(task.task_id, index), partial(self._unmapped, task, value)

    def _unmapped(self, task: Any, value: Any, context: Any) -> Any:
        return self._rendered(task.unmap(value), context)

    def _rendered(self, operator: Any, context: Any) -> Any:
        operator.render_template_fields({**context, "task": operator}, jinja_env=self._dag.get_template_env())
        if hasattr(operator, "_clock"):
            operator._clock = VirtualClock(self._port)
        return operator

    def _settle(self, key: Key, state: str) -> None:
        if key not in self._journal.ended:
            self._journal.end(key, Ended(state, 0))

    def _state(self, task: str) -> str:
        """Of a task with all its instances: the worst."""
        states = {ended.state for key, ended in self._journal.ended.items() if key.task == task}
        return next((state for state in ("failed", "upstream_failed", "skipped") if state in states), "success")

    def _result(self, task: str) -> Any:
        return self._journal.ended[Key(task)].result

    def _try(self, key: Key, make: Callable[[Any], Any]) -> bool:
        """One try of one task instance; False when another try is to be begun."""
        if self._journal.begun.get(key, 0) >= TRIES:
            self._journal.end(key, Ended("failed", TRIES, error="Killed", message="every try was killed"))
            return True
        number = self._journal.begin(key)
        ti, events = Ti(self._dag.dag_id, key.task, key.index, number, self._result), _Events()
        context: dict[str, Any] = {
            "ti": ti,
            "task_instance": ti,
            "dag": self._dag,
            "dag_run": self._run,
            "run_id": RUN_ID,
            "params": {},
            "outlet_events": events,
        }
        try:
            operator = make(context)
            result = self._execute(operator, context)
            ended = Ended("success", number, json.loads(json.dumps(result)), events=tuple(events.added))
        except AirflowSkipException as error:
            ended = Ended("skipped", number, ti.pushed.get("return_value"), message=str(error))
        except Exception as error:
            ended = _failed(error, number, ti.pushed.get("return_value"))
        self._journal.end(key, ended)
        return ended.state in DONE

    def _execute(self, operator: Any, context: Any) -> Any:
        """`execute`, and what comes after its waits in the triggerer."""
        method: Any = operator.execute
        arguments: dict[str, Any] = {}
        while True:
            try:
                return method(context, **arguments)
            except TaskDeferred as deferred:
                arguments = {**(deferred.kwargs or {}), "event": self._waited(deferred.trigger)}
                method = getattr(operator, deferred.method_name)

    def _waited(self, trigger: Any) -> dict[str, Any]:
        """What the triggerer would say: the wait is over. Its calls are those of another process, and not counted."""
        VirtualClock(self._port).sleep(getattr(trigger, "poll_interval", 30.0))
        own = {name: getattr(trigger, name) for name in ("operation", "ours") if hasattr(trigger, name)}
        return {"status": "ended", "message": "SUCCEEDED", **own}


def _failed(error: Exception, number: int, result: Any) -> Ended:
    """A failure as Airflow sees it. `AirflowFailException` forbids a further try; so does the last one."""
    typed = error if isinstance(error, GarProviderError) else error.__cause__
    known = isinstance(typed, GarProviderError)
    final = isinstance(error, AirflowFailException) or number >= TRIES
    name = type(typed).__name__ if known else f"Untyped {type(error).__name__}"
    return Ended("failed" if final else "up_for_retry", number, result, name, str(error))


def live_by(port: int) -> None:
    """From now on every sleep of this process moves the sandbox's clock: Google's clients wait between retries, too."""
    clock = VirtualClock(port)

    def sleep(seconds: float) -> None:
        with suppress(OSError):
            clock.sleep(seconds)

    time.sleep = sleep  # type: ignore[assignment]
