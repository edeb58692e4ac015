"""Airflow's REST API (v2) over loopback, as far as the demo needs it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from typing import Any

PAGE = 100  # the API's own maximum


class AirflowApiError(Exception):
    """The API answered with an error; `status` is HTTP's."""

    def __init__(self, status: int, method: str, path: str, answer: str) -> None:
        super().__init__(f"Airflow answered {status} to {method} {path}: {answer}")
        self.status = status


@dataclass(frozen=True)
class TaskInstance:
    """One task of a run, or one of the instances of a mapped task."""

    task_id: str
    """With its groups: ``roll_out.install``."""
    map_index: int
    """-1 for a task that is not mapped."""
    state: str | None
    """Airflow's word; None before the scheduler has seen it."""
    try_number: int
    """Counts from 1; 0 before the first try."""
    operator: str
    """The class name, such as ``InstallPrivatePackageOperator``."""
    label: str | None
    """The rendered map index, where the DAG gives one."""
    environment: str | None
    """The rendered template field `environment`, where the operator has one."""
    moment: str
    """When it came into this state, as far as Airflow says: its end or its start, ISO 8601; empty before both."""

    @classmethod
    def from_api(cls, answer: dict[str, Any]) -> TaskInstance:
        """Read the API's TaskInstanceResponse."""
        environment = (answer.get("rendered_fields") or {}).get("environment")
        return cls(
            task_id=answer["task_id"],
            map_index=answer["map_index"],
            state=answer["state"],
            try_number=answer["try_number"],
            operator=answer.get("operator_name") or answer.get("operator") or "",
            label=answer.get("rendered_map_index"),
            environment=environment if isinstance(environment, str) else None,
            moment=answer.get("end_date") or answer.get("start_date") or "",
        )

    @property
    def key(self) -> tuple[str, int]:
        """What tells it apart from the others of its run."""
        return (self.task_id, self.map_index)


class AirflowClient:
    """Calls the API as one user; the token is fetched when it is needed, and again when it has expired."""

    def __init__(self, url: str, user: str, password: str, *, timeout: float = 30) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._timeout = timeout
        self._token: str | None = None
        # Never through a proxy, whatever the environment says: it is our own machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def health(self) -> dict[str, Any]:
        """The components' states; needs no login."""
        answer: dict[str, Any] = self._send("GET", "/api/v2/monitor/health", None, None)
        return answer

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """One DAG, or None when Airflow does not know it (yet)."""
        try:
            answer: dict[str, Any] = self._call("GET", f"dags/{_quoted(dag_id)}")
        except AirflowApiError as error:
            if error.status == 404:
                return None
            raise
        return answer

    def unpause(self, dag_id: str) -> None:
        """Let the DAG's runs start: a run of a paused DAG stays queued for ever."""
        self._call("PATCH", f"dags/{_quoted(dag_id)}?update_mask=is_paused", {"is_paused": False})

    def import_errors(self) -> list[dict[str, Any]]:
        """DAG files that could not be read: `filename` and `stack_trace`."""
        answer: list[dict[str, Any]] = self._call("GET", "importErrors")["import_errors"]
        return answer

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run; returns its id."""
        run_id: str = self._call("POST", f"dags/{_quoted(dag_id)}/dagRuns", {"logical_date": None, "conf": conf})[
            "dag_run_id"
        ]
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        state: str = self._call("GET", _run(dag_id, run_id))["state"]
        return state

    def unfinished_runs(self, dag_id: str) -> list[str]:
        """The ids of runs that are queued or running."""
        answer = self._call("GET", f"dags/{_quoted(dag_id)}/dagRuns?state=queued&state=running&limit={PAGE}")
        return [run["dag_run_id"] for run in answer["dag_runs"]]

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, and end what it still does."""
        self._call("PATCH", f"{_run(dag_id, run_id)}?update_mask=state", {"state": "failed"})

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """All task instances of a run."""
        found: list[TaskInstance] = []
        while True:
            path = f"{_run(dag_id, run_id)}/taskInstances?limit={PAGE}&offset={len(found)}"
            page = self._call("GET", path)["task_instances"]
            found += [TaskInstance.from_api(answer) for answer in page]
            if len(page) < PAGE:
                return found

    def xcom(self, dag_id: str, run_id: str, key: tuple[str, int], name: str = "return_value") -> Any:
        """One XCom of a task instance, or None when there is none."""
        task_id, map_index = key
        path = f"{_run(dag_id, run_id)}/taskInstances/{_quoted(task_id)}/xcomEntries/{_quoted(name)}"
        try:
            value = self._call("GET", f"{path}?map_index={map_index}&deserialize=true")["value"]
        except AirflowApiError as error:
            if error.status == 404:
                return None
            raise
        return value

    def log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[dict[str, Any]]:
        """The log of the task's last try, as events (`event`, `level`, `error_detail`, …)."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{_quoted(task.task_id)}/logs/{task.try_number}"
        content = self._call("GET", f"{path}?map_index={task.map_index}&full_content=true")["content"]
        return [entry if isinstance(entry, dict) else {"event": str(entry)} for entry in content]

    def parsed_at(self, dag_id: str) -> datetime | None:
        """When the DAG's file was last read, or None when Airflow does not know the DAG."""
        found = self.dag(dag_id)
        text = found.get("last_parsed_time") if found else None
        return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        for attempt in (1, 2):
            if self._token is None:
                self._token = self._send("POST", "/auth/token", self._login, None)["access_token"]
            try:
                return self._send(method, f"/api/v2/{path}", body, self._token)
            except AirflowApiError as error:
                if error.status != 401 or attempt == 2:
                    raise
                self._token = None
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _send(self, method: str, path: str, body: Any, token: str | None) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the URL is our own http://127.0.0.1
            self.url + path, data=data, headers=headers, method=method
        )
        tries = 3 if method == "GET" else 1  # on a busy machine an answer may take longer than we wait
        for left in reversed(range(tries)):
            try:
                with self._opener.open(request, timeout=self._timeout) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    raise AirflowApiError(error.code, method, path, _detail(error.read())) from None
            except TimeoutError:
                if not left:
                    raise AirflowApiError(0, method, path, f"no answer within {self._timeout:.0f} s") from None
        raise AssertionError("unreachable: the last try returns or raises")


def _run(dag_id: str, run_id: str) -> str:
    return f"dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}"


def _quoted(part: str) -> str:
    return urllib.parse.quote(part, safe="")


def _detail(body: bytes) -> str:
    """The sentence in an error answer: `detail` where the body is Airflow's JSON, else the text's start."""
    text = body.decode(errors="replace")
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return text[:500]
    return detail if isinstance(detail, str) else json.dumps(detail)
