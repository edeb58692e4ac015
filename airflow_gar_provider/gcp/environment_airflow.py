"""The Airflow inside an environment, through the REST API at its `airflowUri`.

The access token is sent as Bearer; the caller needs a role that may open the web UI, such as roles/composer.user
(Google: "Access the Airflow REST API"). Airflow 2 serves /api/v1, Airflow 3 /api/v2; what is used here is the same in
both but for `logical_date`, which v2 wants to be present.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests

from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.errors import GarProviderError, NotFoundError
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, Session, error_of_response, google_errors


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
        found = self._call("GET", "/importErrors?limit=100", "read import errors")
        return {error["filename"]: error["stack_trace"] for error in found["import_errors"]}

    def start_run(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """Start a run under a name of ours; one of that name that exists already is followed, not started again."""
        body: dict[str, Any] = {"dag_run_id": run_id, "conf": dict(conf)}
        if not self._v1:
            body["logical_date"] = None
        self._call("POST", f"{_runs(dag_id)}", f"start DAG {dag_id}", body=body)

    def get_run(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        """The run, with its `state`; None when there is none."""
        return self._optional("GET", f"{_runs(dag_id)}/{quote(run_id, safe='')}", f"look at the run of DAG {dag_id}")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The tasks of a run, with `task_id`, `map_index`, `state`, `try_number`."""
        path = f"{_runs(dag_id)}/{quote(run_id, safe='')}/taskInstances?limit=100"
        return list(self._call("GET", path, f"look at the tasks of DAG {dag_id}")["task_instances"])

    def task_log(self, dag_id: str, run_id: str, task: Mapping[str, Any]) -> str:
        """The log of one task's last try, as text; empty while Cloud Logging has not caught up."""
        path = (
            f"{_runs(dag_id)}/{quote(run_id, safe='')}/taskInstances/{quote(task['task_id'], safe='')}"
            f"/logs/{task.get('try_number') or 1}?full_content=true&map_index={task.get('map_index', -1)}"
        )
        found = self._optional("GET", path, f"read the log of task {task['task_id']}")
        content = (found or {}).get("content", "")
        return content if isinstance(content, str) else "\n".join(line for entry in content for line in _lines(entry))

    def return_value(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned, or None."""
        path = (
            f"{_runs(dag_id)}/{quote(run_id, safe='')}/taskInstances/{quote(task_id, safe='')}"
            "/xcomEntries/return_value?deserialize=false&stringify=false"
        )
        found = self._optional("GET", path, f"read what task {task_id} returned")
        return None if found is None else found.get("value")

    def _optional(self, method: str, path: str, action: str) -> dict[str, Any] | None:
        try:
            return self._call(method, path, action)
        except NotFoundError:
            return None

    def _call(self, method: str, path: str, action: str, *, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
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
        try:
            return dict(response.json())
        except ValueError as error:
            raise GarProviderError(f"could not {action}: the answer is not JSON", resource=name) from error


def _runs(dag_id: str) -> str:
    return f"/dags/{quote(dag_id, safe='')}/dagRuns"


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
