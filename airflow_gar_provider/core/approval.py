"""Approval of a stage: who is asked when, with what before their eyes, and what they said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from airflow_gar_provider.core.markdown import code
from airflow_gar_provider.core.plan import Plan
from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.core.rollout import StageVerdict, Verdict, markdown, reason_not_to_begin, report
from airflow_gar_provider.errors import InvalidInputError

APPROVED = "approved"
REFUSALS = ("rejected", "not_answered", "own_run")
"""Somebody said no; nobody said anything in time; who triggered the run approved it, and may not."""
NOBODY = "none"
"""The word of a form for: do not ask."""


@dataclass(frozen=True)
class Approval:
    """What was answered before a stage. It is kept in the fleet's bucket, for the report and the ledger."""

    stage: str
    outcome: str
    """`approved`, or one of `REFUSALS`."""
    by: str | None
    """Who answered, as Airflow names them; None when nobody did."""
    at: str
    """When, ISO 8601 in UTC."""

    def __post_init__(self) -> None:
        if self.outcome not in (APPROVED, *REFUSALS):
            raise InvalidInputError(f"an approval is {', '.join((APPROVED, *REFUSALS))}, not {self.outcome!r}")

    @property
    def approved(self) -> bool:
        """Whether the stage may be begun."""
        return self.outcome == APPROVED

    @property
    def sentence(self) -> str:
        """What happened, in one line."""
        if self.outcome == "not_answered":
            return f"nobody approved it in time ({self.at})"
        if self.outcome == "own_run":
            return f"{self.by} triggered this run, so somebody else has to approve it ({self.at})"
        return f"{self.outcome} by {self.by or 'somebody whom Airflow does not name'} ({self.at})"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Approval:
        """Read what `to_json` made. Raises InvalidInputError for anything else."""
        try:
            return cls(**dict(value))  # type: ignore[call-overload]
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"this is not an approval: {error!r}") from error


def judged_answer(
    stage: str, *, approve: bool, timed_out: bool, by: Mapping[str, Any] | None, at: str, requester: str | None
) -> Approval:
    """An answer as an approval. `requester`: who must not approve, because it is their run; None: anybody may.

    `by`: {"id", "name"}, as Airflow names a user; a run names who triggered it by the same name.
    """
    names = {str(by[key]) for key in ("id", "name") if by.get(key)} if by else set()
    who = str(by.get("name") or by.get("id")) if names and by else None
    if timed_out or (who is None and not approve):
        outcome = "not_answered"
    elif not approve:
        outcome = "rejected"
    elif requester is not None and requester in names:
        outcome = "own_run"
    else:
        outcome = APPROVED
    return Approval(stage, outcome, who, at)


def asked(stages: Sequence[str], approval: object) -> tuple[str, ...]:
    """Those of the stages before which somebody is asked.

    `approval`: True (or "true"): all of them; False, None or "none": none; else the names of some, as a list or as one
    string, such as a form's choice. Raises InvalidInputError for a name that is not among them.
    """
    if approval is True or str(approval).strip().lower() == "true":
        return tuple(stages)
    if approval in (False, None) or str(approval).strip().lower() in ("", "false", NOBODY):
        return ()
    names = split_list(approval)
    unknown = [name for name in names if name not in stages]
    if unknown:
        raise InvalidInputError(
            f"nobody can be asked before {', '.join(unknown)}",
            remedy=f"approval is true, {NOBODY}, or among the stages that approve_before names: {', '.join(stages)}",
        )
    return tuple(stage for stage in stages if stage in names)


def why_not_asked(
    plan: Plan, stage: str, verdicts: Sequence[Verdict], judged: Sequence[StageVerdict], *, stopped: bool
) -> str | None:
    """Why there is nothing to ask before a stage; None when there is. `stopped`: the fleet's switch is on."""
    if not plan.of_stage(stage):
        return "the plan changes nothing in this stage"
    stop = reason_not_to_begin(plan.stage(stage), plan.before(stage), verdicts, judged, stopped=stopped)
    return f"the rollout was stopped: {stop}" if stop else None


def body(plan: Plan, stage: str, verdicts: Iterable[Verdict], judged: Iterable[StageVerdict], *, at: str) -> str:
    """What somebody reads who is asked: what is still to come, and what the stages before came to. Markdown.

    `at`: when it is asked. Airflow keeps a question's first text, whatever a later try of its task asks (tried), so
    the text says how old it is. Text of others (packages, versions, pip's words, names of DAGs) is in code spans: no
    markup and no link in it lives.
    """
    before = [earlier.name for earlier in plan.before(stage)]
    rest = [later.name for later in plan.stages if later.name not in before]
    parts = [
        f"Repository {code(plan.repository)}, planned {code(plan.made)}.",
        f"**To come: {', '.join(rest)}**",
        plan.markdown(rest),
    ]
    if before:
        rows = [row for row in report(plan, verdicts) if row.stage in before]
        ended = {judgement.stage: judgement for judgement in judged}
        parts += ["**What the stages before came to**", markdown(rows)]
        parts += ["\n".join(f"- {_stage_sentence(plan, name, ended.get(name))}" for name in before)]
    again = "if this task was tried again since, the newer text is in its log"
    parts += [f"Plan {code(plan.content_digest)}. Asked {code(at)}; {again}."]
    return "\n\n".join(parts)


def _stage_sentence(plan: Plan, name: str, judgement: StageVerdict | None) -> str:
    soaked = plan.stage(name).soak
    if judgement is None:
        return f"{name}: no verdict"
    if not judgement.passed:
        return f"{name}: did not pass: {code(judgement.why or '')}"
    if not plan.of_stage(name):
        return f"{name}: nothing was to be done"
    return f"{name}: passed" + (f", and was calm for {soaked:g} s" if soaked else "")
