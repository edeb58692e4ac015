"""The demo's lines, tables and closing sentences: text from values. Nothing here reads, asks or waits."""

from __future__ import annotations

import os
import shutil
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from demo.airflow_client import TaskInstance

ACTIVITIES = {
    "CheckRolloutOperator": "checking what is asked for",
    "CreateRepositoryOperator": "looking for the repository",
    "GrantRepositoryAccessOperator": "granting access",
    "BuildWheelOperator": "building the wheel",
    "PublishWheelOperator": "publishing the wheel",
    "ComposerPipConfigOperator": "writing pip.conf",
    "InstallPrivatePackageOperator": "installing",
    "PlanRolloutOperator": "planning",
    "RollOutEnvironmentOperator": "rolling out",
    "RollBackEnvironmentOperator": "undoing",
    "StageVerdictSensor": "watching the stage",
    "DeployDagOperator": "deploying the DAG",
    "RunEnvironmentDagOperator": "running the DAG",
}
NOTHING_CHANGED = frozenset(
    {
        *("allowed", "exists", "unchanged", "success", "built", "plan"),
        *("planned", "succeeded", "not_asked", "approved", "rejected"),
    }
)
CONSEQUENCES = frozenset({"StageVerdictSensor", "RolloutOutcomeOperator"})
"""Tasks that fail because another one has: they repeat what it says."""
"""Outcomes that left everything as it was. A wheel that was built is only a file; whether it is new is told by
`uploaded`. Every other outcome, also one that is not known here, counts as a change."""
NOTHING_TO_DO = "Nothing to do: every step found its work done already."
COLOURS = {"good": "32", "bad": "31", "faint": "2", "strong": "1"}
NAME_WIDTH = 28


@dataclass(frozen=True)
class Page:
    """What we print on."""

    width: int = 100
    """Columns; longer lines are wrapped."""
    colour: bool = False
    """Whether ANSI colours are understood and wanted."""

    @classmethod
    def of(cls, stream: TextIO) -> Page:
        """The terminal's width and whether it wants colours; plain text for files and pipes, and with NO_COLOR."""
        colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(width=max(40, shutil.get_terminal_size((100, 24)).columns), colour=colour)

    def paint(self, text: str, kind: str) -> str:
        """The text in a colour of `COLOURS`; unchanged on a page without colours."""
        return f"\033[{COLOURS[kind]}m{text}\033[0m" if self.colour and kind in COLOURS else text

    def wrapped(self, text: str, *, first: str = "", rest: str | None = None) -> str:
        """The text in lines of at most the page's width; its own line breaks stay. Long words are not broken."""
        indent = first if rest is None else rest
        lines: list[str] = []
        for paragraph in text.splitlines() or [""]:
            lines += textwrap.wrap(
                paragraph,
                self.width,
                initial_indent=indent if lines else first,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
                drop_whitespace=True,
            ) or [first if not lines else ""]
        return "\n".join(line.rstrip() for line in lines)

    def line(self, seconds: float, name: str, text: str, kind: str = "") -> str:
        """One line of the road: elapsed time, who, what. The time and the name stay in columns."""
        head = f"{elapsed(seconds):>6}  {name:<{NAME_WIDTH}}  "
        indent = " " * (len(head) if self.width - len(head) >= 40 else 8)
        body = self.wrapped(text, first=head, rest=indent)
        return body[: len(head)] + self.paint(body[len(head) :], kind) if len(body) > len(head) else body


def elapsed(seconds: float) -> str:
    """``m:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def last_part(resource: str) -> str:
    """``dev`` of ``projects/P/locations/L/environments/dev``; a short name stays as it is."""
    return resource.rstrip("/").rpartition("/")[2]


def label(task: TaskInstance, siblings: Iterable[TaskInstance] = ()) -> str | None:
    """What a mapped task is about: its rendered map index, its environment, or that of a sibling with the same index.

    None for a task that is neither mapped nor about an environment. Siblings are the tasks of the same group.
    """
    if task.label is not None and task.label != str(task.map_index):
        return last_part(task.label)
    if task.environment is not None:
        return last_part(task.environment)
    if task.map_index < 0:
        return None
    group = task.task_id.rpartition(".")[0]
    for other in siblings:
        same = group and other.task_id.rpartition(".")[0] == group and other.map_index == task.map_index
        if same and other.key != task.key and (found := label(other)):
            return found
    return str(task.map_index)


def name(task: TaskInstance, label: str | None) -> str:
    """``install [dev]`` for the task ``install`` of a group: every line has room for it.

    Of a group in a group, such as a stage of a rollout, the task has its group's name: ``prod.verdict``.
    """
    *groups, own = task.task_id.split(".")
    if label is not None:
        return f"{own} [{label}]"
    return f"{groups[-1]}.{own}" if len(groups) > 1 else own


def activity(task: TaskInstance) -> str:
    """What the task is doing, in words."""
    return ACTIVITIES.get(task.operator, "running")


def state_words(task: TaskInstance, result: Any, *, resumed: bool) -> tuple[str, str] | None:
    """What to say about a task's new state, and in which colour.

    None for states that mean waiting in Airflow, and for the small tasks that only choose: they have no result to tell.
    `resumed`: it was deferred until now.
    """
    if task.state == "success":
        if task.operator == "StageVerdictSensor":
            return "the stage has passed", "good"
        told = result if task.operator == "RolloutOutcomeOperator" and isinstance(result, str) else result_words(result)
        return (told, "good" if changed(result) else "") if told else None
    if resumed:
        return "resumed, to look at the result", "faint"
    if task.state == "running":
        return (activity(task), "faint") if task.operator in ACTIVITIES else None
    return {
        "deferred": (f"{activity(task)}: waiting for Google (deferred, holds no worker)", "faint"),
        "failed": ("FAILED", "bad"),
        "up_for_retry": ("failed; Airflow will try it again", "bad"),
        "up_for_reschedule": ("waiting", "faint"),
        "upstream_failed": ("not run, because an earlier task failed", "bad"),
        "skipped": ("skipped", "faint"),
        "removed": ("removed from the DAG", "bad"),
        "awaiting_input": ("waiting for a person's answer", "strong"),
    }.get(task.state or "")


def result_words(result: Any) -> str:
    """The sentence of a task's result: its `message`, else its `outcome`; empty when it has neither."""
    if not isinstance(result, dict):
        return ""
    return str(result.get("message") or result.get("outcome") or "")


def changed(result: Any) -> bool:
    """Whether a task's result says that something was changed."""
    return isinstance(result, dict) and "outcome" in result and result["outcome"] not in NOTHING_CHANGED


def heartbeat(busy: Sequence[tuple[TaskInstance, str | None, float]]) -> str:
    """What is going on, in one line: (task, label, seconds since its start) each."""
    parts = [f"{task_label or task.task_id}: {activity(task)}, {int(seconds)} s" for task, task_label, seconds in busy]
    return " · ".join(parts) or "waiting for Airflow's scheduler"


def error_text(events: Sequence[dict[str, Any]]) -> str:
    """The message of the last exception in a task's log; several lines as they are, no traceback."""
    for event in reversed(events):
        details = event.get("error_detail") or []
        if details:
            last = next((detail for detail in details if not detail.get("is_cause")), details[0])
            return f"{last['exc_type']}: {last['exc_value']}"
    for event in reversed(events):
        if event.get("level") in {"error", "critical"}:
            return str(event["event"])
    return "its log names no error; the scheduler's log may say why it ended"


def log_files(events: Sequence[dict[str, Any]]) -> list[str]:
    """The files that a task's log was read from: Airflow names them at the log's start."""
    files: list[str] = []
    for event in events:
        text = str(event["event"])
        if text == "::endgroup::":
            break
        if not text.startswith("::"):
            files.append(text)
    return files


def table(rows: Sequence[dict[str, Any]], page: Page) -> str:
    """The report's rows in columns; numbers to the right. A cell without a value is a dash."""
    heads = ("environment", "package", "before", "after", "outcome", "distance", "minutes")
    cells = [
        (
            last_part(str(row.get("environment") or "-")),
            str(row.get("package") or "-"),
            _version(row.get("before")),
            _version(row.get("after")),
            str(row.get("outcome") or "-"),
            f"{row['distance_km']:.1f} km" if has_distance(row) else "-",
            f"{row['minutes']:.1f}" if isinstance(row.get("minutes"), (int, float)) else "-",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (heads, *cells)) for column in range(len(heads))]
    if sum(widths) + 2 * len(widths) > page.width:  # too narrow for columns: one block per environment
        return "\n\n".join(
            "\n".join(f"{head}: {cell}" for head, cell in zip(heads, line, strict=True)) for line in cells
        )

    def text(line: Sequence[str]) -> str:
        columns = [
            cell.rjust(width) if column >= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(columns).rstrip()

    ruler = "  ".join("-" * width for width in widths)
    return "\n".join([page.paint(text(heads), "strong"), page.paint(ruler, "faint"), *map(text, cells)])


def _version(text: object) -> str:
    """``1.0.0`` of ``==1.0.0``: a plan has specifiers, an environment versions."""
    return str(text or "-").removeprefix("==")


def distance(result: Any) -> float | None:
    """The distance that a run of the sample DAG returned, or None."""
    values = (
        result["returned"].values() if isinstance(result, dict) and isinstance(result.get("returned"), dict) else ()
    )
    return next((value["distance_km"] for value in values if isinstance(value, dict) and "distance_km" in value), None)


def has_distance(row: dict[str, Any]) -> bool:
    """Whether this environment really computed a distance."""
    value = row.get("distance_km")
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def conclusion(results: Sequence[tuple[str, str | None, Any]]) -> str:
    """The last sentence: what changed, from (task id, label, result) of every task that succeeded."""
    groups: dict[tuple[str, str], list[str]] = {}
    for task_id, task_label, result in results:
        if changed(result):
            places = groups.setdefault((task_id.rpartition(".")[2], str(result["outcome"])), [])
            places.extend([task_label] if task_label else [])
    if not groups:
        return NOTHING_TO_DO
    parts = [
        f"{task} {outcome}" + (f" ({', '.join(places)})" if places else "")
        for (task, outcome), places in groups.items()
    ]
    return f"Changed: {'; '.join(parts)}."
