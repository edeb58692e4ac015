"""A DAG inside an environment: its file, its runs, its tasks, as the Airflow there describes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

_RUN_ID_LENGTH = 200
"""Airflow's own limit is 250."""
_EARLIER = 10
"""Earlier tries whose runs are looked for."""
READ = "its outcome was read"
"""What the note of a run says, once its end has been reported."""


@dataclass(frozen=True)
class DagOrder:
    """What one task wants to run in an environment."""

    dag_id: str
    """The DAG's id there."""
    run_id: str
    """The id of the run: another look under the same id finds the same run."""
    earlier: tuple[str, ...] = ()
    """Ids of the runs that earlier tries may have started, the newest first."""
    conf: Mapping[str, Any] | None = None
    """The run's configuration."""
    unpause: bool = False
    """Whether a paused DAG is unpaused; else it is an error."""
    file: str | None = None
    """The DAG's file below `dags/`, where the caller knows it."""
    note: str = "started from outside by airflow-gar-provider"
    """What is shown beside the run in the environment's own UI."""


def run_ids(run: str, attempt: int) -> tuple[str, ...]:
    """The id of the run that this try of a task starts, then those of its earlier tries, the newest first.

    `run` identifies the task's run over all its tries. The ids are what Airflow 3 allows by default
    (`[core] allowed_run_id_pattern`), and short enough.
    """
    text = re.sub(r"[^A-Za-z0-9_.~:+-]", "_", run.replace("/", "."))
    if len(text) > _RUN_ID_LENGTH:
        text = f"{text[: _RUN_ID_LENGTH - 17]}.{hashlib.sha256(run.encode()).hexdigest()[:16]}"
    return tuple(f"{text}.try{number}" for number in range(attempt, max(attempt - _EARLIER - 1, 0), -1))


def run_page(airflow_uri: str, airflow_version: str | None, dag_id: str, run_id: str) -> str:
    """A run's page in the environment's own Airflow. Airflow 2 has a grid with the run chosen, Airflow 3 a page."""
    base, dag, run = airflow_uri.rstrip("/"), quote(dag_id, safe=""), quote(run_id, safe="")
    if (airflow_version or "").startswith("2."):
        return f"{base}/dags/{dag}/grid?dag_run_id={run}"
    return f"{base}/dags/{dag}/runs/{run}"


@dataclass(frozen=True)
class BrokenFile:
    """A DAG file that cannot be imported."""

    file: str
    """Its path in the environment."""
    trace: str
    """The traceback."""
    when: datetime | None
    """When it was last tried."""

    @property
    def path(self) -> str:
        """Its path below `dags/`."""
        return below_dags(self.file)

    def is_about(self, dag_id: str, file: str | None, content: str | None) -> bool:
        """Whether it is (or may well be) the file of a DAG: by its known path, else by its name or its content."""
        if file is not None:
            return self.path == file
        name = re.escape(dag_id)
        return dag_id in self.path or bool(content and re.search(rf"[\"']{name}[\"']|\bdef {name}\(", content))


def below_dags(file: str) -> str:
    """A path below `dags/`, of a path in an environment (`/home/airflow/gcs/dags/team/x.py`) or a gs:// URI."""
    return re.sub(r"^(?:gs://[^/]+/dags/|/.*?/dags/|/+)", "", file)


def file_of(dag: Mapping[str, Any]) -> str | None:
    """The path below `dags/` of the file that a DAG was parsed from. Airflow 2 says only the absolute one."""
    relative, absolute = dag.get("relative_fileloc"), dag.get("fileloc")
    if isinstance(relative, str) and relative:
        return relative
    return below_dags(absolute) if isinstance(absolute, str) and absolute else None


def is_known(dag: Mapping[str, Any] | None) -> bool:
    """Whether Airflow knows the DAG now: it keeps those whose file is gone, marked (`is_stale`; 2: `is_active`)."""
    return dag is not None and not dag.get("is_stale") and dag.get("is_active") is not False


def same_source(parsed: str, stored: bytes) -> bool:
    """Whether Airflow parsed what is stored: it reads text, with its own idea of the ends of lines."""
    text = stored.decode("utf-8", "replace")
    return parsed.replace("\r\n", "\n").strip() == text.replace("\r\n", "\n").strip()


def what_to_do_with(run: Mapping[str, Any]) -> Literal["follow", "start anew"]:
    """What a try does about the run of an earlier one.

    One that still runs is followed. One that succeeded while nobody looked (the worker died) is taken, too: its note
    does not say that its outcome was read. One that failed is why there is another try; and one whose success was
    read was cleared by somebody who wants another run.
    """
    if run.get("state") in ("queued", "running"):
        return "follow"
    return "follow" if run.get("state") == "success" and READ not in str(run.get("note") or "") else "start anew"


def label_of(task: Mapping[str, Any]) -> str:
    """A task instance's name for people: mapped ones with their label, as Airflow's UI shows it, or their index."""
    if task.get("map_index", -1) in (None, -1):
        return str(task["task_id"])
    label = task.get("rendered_map_index")
    return f"{task['task_id']}[{label if label not in (None, '') else task['map_index']}]"


def labels_of(tasks: list[dict[str, Any]]) -> list[str]:
    """The names of all task instances, each once: where labels repeat, the index is added."""
    labels = [label_of(task) for task in tasks]
    return [
        f"{label} ({task['map_index']})" if labels.count(label) > 1 else label
        for label, task in zip(labels, tasks, strict=True)
    ]
