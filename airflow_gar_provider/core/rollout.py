"""A rollout while it runs: verdicts of environments, whether another one may be begun, and what the whole came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airflow_gar_provider.core.fleet import Stage
from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.core.markdown import code, link, table
from airflow_gar_provider.core.plan import Item, Plan
from airflow_gar_provider.errors import InvalidInputError

DONE = ("installed", "unchanged")
BAD = ("failed", "rolled_back")
OUTCOMES = (*DONE, *BAD, "not_started")
FINE = (*DONE, "nothing", "held", "frozen")
"""What leaves the run green: it was done, or it was meant to be left alone."""
_ROWS = 200


@dataclass(frozen=True)
class Verdict:
    """How one environment ended. It is kept in the fleet's bucket: a later try, and the other environments, read it."""

    environment: str
    """`projects/P/locations/L/environments/E`."""
    stage: str
    outcome: str
    """Of `OUTCOMES`."""
    why: str | None = None
    """For everything but installed and unchanged: one line."""
    cause: str | None = None
    """A word of `core.diagnosis.Cause`, or the name of an error, where it failed."""
    packages: tuple[Mapping[str, Any], ...] = ()
    """{"package", "before", "after"} for each that the task answers for."""
    seconds: float = 0.0
    """From its first look to its verdict, waiting for a turn not counted."""
    link: str | None = None
    """Where to read more: the build's log of a failure."""

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise InvalidInputError(f"an environment's outcome is one of {', '.join(OUTCOMES)}, not {self.outcome!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "packages": [dict(package) for package in self.packages]}

    @classmethod
    def from_json(cls, value: object) -> Verdict:
        """Read what `to_json` made. Raises InvalidInputError for anything else."""
        try:
            fields = dict(value)  # type: ignore[call-overload]
            return cls(**{**fields, "packages": tuple(fields["packages"])})
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidInputError(f"this is not an environment's verdict: {error!r}") from error


@dataclass(frozen=True)
class StageVerdict:
    """How a stage ended as a whole: what a soak saw, who refused it."""

    stage: str
    passed: bool
    why: str | None = None


def failures(stage: str, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The environments of a stage that failed."""
    return [verdict for verdict in verdicts if verdict.stage == stage and verdict.outcome in BAD]


def reason_not_to_begin(
    stage: Stage,
    earlier: Sequence[Stage],
    verdicts: Sequence[Verdict],
    judged: Sequence[StageVerdict],
    *,
    stopped: bool = False,
    freeze: Freeze | None = None,
) -> str | None:
    """Why an environment of the stage is not begun now; None when it may be.

    `earlier`: the stages before this one; `judged`: those that ended as a whole; `stopped`: the fleet's switch is on.
    """
    if stopped:
        return "the fleet's STOP switch is on"
    for judgement in judged:
        if not judgement.passed:
            return f"stage {judgement.stage} did not pass: {judgement.why}"
    for passed in (*earlier, stage):
        failed = failures(passed.name, verdicts)
        if len(failed) > passed.max_failures:
            names = ", ".join(verdict.environment.rsplit("/", 1)[1] for verdict in failed[:5])
            return f"{len(failed)} of stage {passed.name} failed ({names}), {passed.max_failures} may"
    if freeze is not None:
        return f"frozen: {freeze.reason}"
    return None


@dataclass(frozen=True)
class Row:
    """One line of the report: a package of an environment."""

    environment: str
    """The environment's own id."""
    stage: str
    package: str
    before: str | None
    after: str | None
    outcome: str
    """Of `OUTCOMES`, or the plan's outlook where nothing was begun, or `not_reached`."""
    minutes: float | None
    link: str | None
    cause: str | None


def report(plan: Plan, verdicts: Iterable[Verdict]) -> list[Row]:
    """A row for each package of each environment, in the order of the plan, however the rollout ended."""
    by_name = {verdict.environment: verdict for verdict in verdicts}
    return [row for item in plan.items for row in _rows(item, by_name.get(str(item.environment)))]


def outcome_of(item: Item, verdict: Verdict | None) -> str:
    """What became of an environment: its verdict, else what the plan said, else that it was not reached."""
    if verdict is not None:
        return verdict.outcome
    return "not_reached" if item.outlook == "change" else item.outlook


def _rows(item: Item, verdict: Verdict | None) -> list[Row]:
    outcome = outcome_of(item, verdict)
    if verdict is not None and verdict.packages:
        changes = [(str(p["package"]), p.get("before"), p.get("after")) for p in verdict.packages]
    else:
        changes = [(change.package, change.before, change.after) for change in item.changes] or [("", None, None)]
    why = (verdict.why or verdict.cause if verdict else item.why) if outcome not in DONE else None
    return [
        Row(
            environment=item.environment.name,
            stage=item.stage,
            package=package,
            before=before,
            after=after,
            outcome=outcome,
            minutes=round(verdict.seconds / 60, 1) if verdict else None,
            link=(verdict.link if verdict else None) or item.environment.console_url,
            cause=why,
        )
        for package, before, after in changes
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The report as a table; text of others in it is shown as code. What went wrong comes first."""
    ordered = sorted(rows, key=lambda row: row.outcome in FINE)
    told = [
        [
            code(row.environment),
            code(row.stage),
            code(row.package),
            f"{code(row.before or 'absent')} → {code(row.after or 'absent')}" if row.package else "",
            row.outcome,
            "" if row.minutes is None else f"{row.minutes:.1f}",
            code(row.cause or ""),
            link("open", row.link) if row.link else "",
        ]
        for row in ordered[:_ROWS]
    ]
    head = ["environment", "stage", "package", "before → after", "outcome", "minutes", "cause", "link"]
    more = len(ordered) - _ROWS
    return table(head, told) + (f"\n\nand {more} more lines" if more > 0 else "")


def complaints(plan: Plan, verdicts: Iterable[Verdict], judged: Iterable[StageVerdict]) -> list[str]:
    """Why the run has failed, a line for each environment and stage; empty when all is as it was meant to be."""
    by_name = {verdict.environment: verdict for verdict in verdicts}
    lines = []
    for item in plan.items:
        verdict = by_name.get(str(item.environment))
        outcome = outcome_of(item, verdict)
        if outcome not in FINE:
            why = (verdict.why if verdict else item.why) or "its task left no verdict"
            lines.append(f"{item.environment.name} ({item.stage}): {outcome}: {why}")
    lines += [f"stage {judgement.stage}: {judgement.why}" for judgement in judged if not judgement.passed]
    return lines
