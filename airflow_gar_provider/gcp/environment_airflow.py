"""The Airflow inside an environment, through the REST API at its `airflowUri`.

The access token is sent as Bearer; the caller needs a role that may open the web UI, such as roles/composer.user
(Google: "Access the Airflow REST API"). Airflow 2 serves /api/v1, Airflow 3 /api/v2; what is used here is the same in
both but for `logical_date`, which v2 wants to be present.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests

from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.core.environment_dag import BrokenFile
from airflow_gar_provider.errors import NotFoundError
from airflow_gar_provider.gcp.session import (
    CALL_TIMEOUT,
    Session,
    error_of_response,
    google_errors,
    read_again,
    understood,
)


class EnvironmentAirflow:
    """One environment's Airflow, as one identity may use it. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session, environment: Environment) -> None:
        self._session = session
        self._environment = environment
        self._v1 = (environment.airflow_version or "").startswith("2")
        self._base = f"{environment.airflow_uri.rstrip('/')}/api/{'v1' if self._v1 else 'v2'}"

    def get_dag(self, dag_id: str) -> dict[str, Any] | None:
        """The DAG as Airflow knows it, or None while it does not."""
        return self._optional("GET", f"/dags/{quote(dag_id, safe='')}", f"look at DAG {dag_id}")

    def unpause(self, dag_id: str) -> None:
        """Let the DAG run."""
        self._call("PATCH", f"/dags/{quote(dag_id, safe='')}", f"unpause DAG {dag_id}", body={"is_paused": False})

    def import_errors(self) -> dict[str, str]:
        """File -> the error that its import ended in."""
        return {broken.file: broken.trace for broken in self.broken_files()}

    def broken_files(self) -> list[BrokenFile]:
        """The files that cannot be imported."""
        found = self._all("/importErrors?", "import_errors", "read import errors")
        return [BrokenFile(error["filename"], error["stack_trace"], _time(error.get("timestamp"))) for error in found]

    def source(self, dag: Mapping[str, Any]) -> str | None:
        """The text that a DAG (as `get_dag` returns it) was parsed from; None where Airflow does not show it."""
        key = dag.get("file_token") if self._v1 else dag["dag_id"]
        found = self._optional("GET", f"/dagSources/{quote(str(key), safe='')}", "read the DAG's source")
        content = (found or {}).get("content")
        return content if isinstance(content, str) and not content.startswith("REDACTED") else None

    def running_tasks(self) -> list[dict[str, Any]]:
        """The task instances of all DAGs that run now: `dag_id`, `dag_run_id`, `task_id`, `map_index`, ..."""
        path = "/dags/~/dagRuns/~/taskInstances?state=running"
        return self._all(path, "task_instances", "list the running tasks")

    def parse_times(self) -> dict[str, datetime | None]:
        """DAG -> when the environment's dag-processor last read its file; None for never."""
        # Both versions leave out DAGs whose files are gone.
        dags = self._all("/dags?", "dags", "list the DAGs")
        return {dag["dag_id"]: _time(dag.get("last_parsed_time")) for dag in dags}

    def ended_runs(self, since: datetime) -> tuple[int, int]:
        """How many runs of all DAGs failed since a moment, and how many ended."""

        def count(state: str) -> int:
            path = f"/dags/~/dagRuns?state={state}&end_date_gte={quote(since.isoformat(), safe='')}&limit=1"
            return int(self._call("GET", path, "count DAG runs")["total_entries"])

        failed = count("failed")
        return failed, failed + count("success")

    def _all(self, path: str, key: str, action: str) -> list[dict[str, Any]]:
        """Every entry of a list that comes in pages."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._call("GET", f"{path}&limit=100&offset={len(found)}", action)
            with understood(action, resource=str(self._environment.name)):
                found += [dict(entry) for entry in page[key]]
                if not page[key] or len(found) >= int(page["total_entries"]):
                    return found

    def start_run(self, dag_id: str, run_id: str, conf: Mapping[str, Any], note: str = "") -> None:
        """Start a run under a name of ours. Raises ConcurrentChangeError when there is one of that name."""
        body: dict[str, Any] = {"dag_run_id": run_id, "conf": dict(conf), "note": note}
        if not self._v1:
            body["logical_date"] = None
        self._call("POST", f"{_runs(dag_id)}", f"start DAG {dag_id}", body=body)

    def get_run(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        """The run, with its `state`; None when there is none."""
        return self._optional("GET", f"{_runs(dag_id)}/{quote(run_id, safe='')}", f"look at the run of DAG {dag_id}")

    def note_run(self, dag_id: str, run_id: str, note: str) -> None:
        """Write a run's note: what people see beside it in the UI."""
        path = f"{_runs(dag_id)}/{quote(run_id, safe='')}{'/setNote' if self._v1 else '?update_mask=note'}"
        self._call("PATCH", path, f"note something on the run of DAG {dag_id}", body={"note": note})

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The tasks of a run, with `task_id`, `map_index`, `rendered_map_index`, `state`, `try_number`."""
        path = f"{_runs(dag_id)}/{quote(run_id, safe='')}/taskInstances?"
        return self._all(path, "task_instances", f"look at the tasks of DAG {dag_id}")

    def task_log(self, dag_id: str, run_id: str, task: Mapping[str, Any]) -> str:
        """The log of one task's last try, as text; empty while Cloud Logging has not caught up."""
        path = (
            f"{_runs(dag_id)}/{quote(run_id, safe='')}/taskInstances/{quote(task['task_id'], safe='')}"
            f"/logs/{task.get('try_number') or 1}?full_content=true&map_index={task.get('map_index', -1)}"
        )
        found = self._optional("GET", path, f"read the log of task {task['task_id']}")
        content = (found or {}).get("content", "")
        if isinstance(content, str):
            return _unwrapped(content)
        return "\n".join(line for entry in content for line in _lines(entry))

    def return_value(self, dag_id: str, run_id: str, task: Mapping[str, Any]) -> Any:
        """What a task returned, or None."""
        path = (
            f"{_runs(dag_id)}/{quote(run_id, safe='')}/taskInstances/{quote(task['task_id'], safe='')}"
            f"/xcomEntries/return_value?deserialize=false&stringify=false&map_index={task.get('map_index', -1)}"
        )
        found = self._optional("GET", path, f"read what task {task['task_id']} returned")
        return None if found is None else found.get("value")

    def _optional(self, method: str, path: str, action: str) -> dict[str, Any] | None:
        try:
            return self._call(method, path, action)
        except NotFoundError:
            return None

    def _call(self, method: str, path: str, action: str, *, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if method == "GET":
            return read_again(lambda: self._once(method, path, action))
        return self._once(method, path, action, body=body)

    def _once(self, method: str, path: str, action: str, *, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        name = str(self._environment.name)
        remedy = "the caller needs a role that may open the environment's Airflow UI (roles/composer.user), and the "
        remedy += "web server's network access control must admit it"
        with google_errors(action, resource=name, remedy=remedy):
            response: requests.Response = self._session.http.request(
                method,
                self._base + path,
                json=body,
                headers={"Accept": "application/json"},
                timeout=CALL_TIMEOUT,
            )
        if response.status_code >= 400:
            # Airflow answers problem+json (`detail`), not Google's error shape; a 409 is told apart by its status.
            raise error_of_response(
                response, action, resource=name, remedy=remedy if response.status_code in (401, 403) else None
            )
        with understood(action, resource=name):
            return dict(response.json())


def _runs(dag_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='')}/dagRuns"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _unwrapped(content: str) -> str:
    """The text of a log as Airflow 2 answers it: the notation of a list of (host, text) pairs, in a JSON string."""
    if content.startswith("[("):
        try:
            content = "\n".join(str(text) for _, text in ast.literal_eval(content))
        except (ValueError, SyntaxError, TypeError):
            return content
    # Marks for folding in the UI, and where the log was read from.
    marks = re.compile(r"\*\*\* .*|.*\bINFO - ::(?:end)?group::.*")
    return "\n".join(line for line in content.splitlines() if not marks.fullmatch(line))


def _lines(entry: Any) -> list[str]:
    """The lines of one entry of a log: Airflow 3 sends strings, or structured messages with exceptions apart."""
    if not isinstance(entry, dict):
        return str(entry).splitlines()
    event = str(entry.get("event", ""))
    if event.startswith("::") or not entry.get("timestamp"):
        return []  # marks for folding in the UI, and where the log was read from
    level = str(entry.get("level", ""))
    lines = [event if level in ("", "info") else f"{level.upper()} {event}"]
    lines += [f"{detail.get('exc_type')}: {detail.get('exc_value')}" for detail in entry.get("error_detail") or []]
    return lines
