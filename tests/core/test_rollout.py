"""While a rollout runs: who may be begun, and what the whole came to."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Identity, Stage
from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.core.plan import Change, Item, Plan
from airflow_gar_provider.core.rollout import (
    StageVerdict,
    Verdict,
    complaints,
    markdown,
    reason_not_to_begin,
    report,
)
from airflow_gar_provider.errors import InvalidInputError
from tests.tables import squeezed

DEV, PROD = Stage("dev", max_failures=1), Stage("prod")


def name(text: str) -> EnvironmentName:
    return EnvironmentName.parse(f"projects/acme-data/locations/europe-west1/environments/{text}")


def item(text: str, stage: str, outlook: str = "change", why: str | None = None) -> Item:
    changes = (Change("lib", "upgrade", "==1.0", "==1.1"),) if outlook == "change" else ()
    return Item(name(text), stage, outlook, why, changes, False, (), Identity(), "f")


def verdict(text: str, stage: str, outcome: str = "installed", why: str | None = None) -> Verdict:
    packages = ({"package": "lib", "before": "1.0", "after": "1.1"},) if outcome == "installed" else ()
    return Verdict(str(name(text)), stage, outcome, why, packages=packages, seconds=90)


def bad(text: str, stage: str) -> Verdict:
    return verdict(text, stage, "failed", "no access")


@pytest.mark.parametrize(
    ("stage", "verdicts", "more", "reason"),
    [
        (DEV, [], {}, None),
        (DEV, [bad("a", "dev")], {}, None),
        (DEV, [bad("a", "dev"), bad("b", "dev")], {}, "2 of stage dev failed (a, b), 1 may"),
        (PROD, [bad("a", "dev")], {}, None),
        (PROD, [bad("a", "dev"), bad("b", "dev")], {}, "2 of stage dev failed (a, b), 1 may"),
        (PROD, [bad("p", "prod")], {}, "1 of stage prod failed (p), 0 may"),
        (PROD, [verdict("a", "dev", "not_started", "x")], {}, None),
        (DEV, [], {"stopped": True}, "the fleet's STOP switch is on"),
        (DEV, [], {"freeze": Freeze.parse("2026-01-01", "2027-01-01", "sale")}, "frozen: sale"),
    ],
)
def test_who_may_be_begun(stage: Stage, verdicts: list[Verdict], more: dict[str, object], reason: str | None) -> None:
    """A stage goes on while no more failed than may, in it and in those before it; switch and freeze stop all."""
    earlier = [DEV] if stage is PROD else []
    assert reason_not_to_begin(stage, earlier, verdicts, [], **more) == reason  # type: ignore[arg-type]


def test_a_stage_that_did_not_pass_stops_the_next() -> None:
    """A soak that saw trouble, or a refused approval, is a reason for all that comes later."""
    judged = [StageVerdict("dev", passed=False, why="2 new import errors in a")]
    assert reason_not_to_begin(PROD, [DEV], [], judged) == "stage dev did not pass: 2 new import errors in a"
    assert reason_not_to_begin(PROD, [DEV], [], [StageVerdict("dev", passed=True)]) is None


def test_the_report_has_everybody() -> None:
    """Done, failed, not started, held and not reached: a row each; what went wrong comes first in the table."""
    plan = Plan(
        "run",
        "",
        "",
        "one",
        (Stage("dev"), Stage("prod")),
        (item("a", "dev"), item("b", "dev"), item("c", "prod", "held", "audit"), item("d", "prod"), item("e", "prod")),
        {},
    )
    verdicts = [verdict("a", "dev"), bad("b", "dev"), verdict("d", "prod", "not_started", "1 of stage dev failed")]
    rows = report(plan, verdicts)
    assert [(row.environment, row.outcome, row.cause, row.minutes) for row in rows] == [
        ("a", "installed", None, 1.5),
        ("b", "failed", "no access", 1.5),
        ("c", "held", "audit", None),
        ("d", "not_started", "1 of stage dev failed", 1.5),
        ("e", "not_reached", None, None),
    ]
    lines = markdown(rows).splitlines()
    assert squeezed(lines[2]).startswith("| `b` | `dev` | `lib` | `==1.0` → `==1.1` | failed | 1.5 |")
    assert squeezed(lines[-1]).startswith("| `c` | `prod` |")
    assert complaints(plan, verdicts, []) == [
        "b (dev): failed: no access",
        "d (prod): not_started: 1 of stage dev failed",
        "e (prod): not_reached: its task left no verdict",
    ]


def test_what_leaves_the_run_green() -> None:
    """Installed, unchanged, held and frozen are no failures; a blocked environment is one, and so is a stage."""
    plan = Plan(
        "r",
        "",
        "",
        "one",
        (Stage("dev"),),
        (item("a", "dev"), item("b", "dev", "frozen", "x"), item("c", "dev", "nothing")),
        {},
    )
    assert complaints(plan, [verdict("a", "dev", "unchanged")], []) == []
    blocked = Plan("r", "", "", "one", (Stage("dev"),), (item("z", "dev", "blocked", "it is in state ERROR"),), {})
    assert complaints(blocked, [], []) == ["z (dev): blocked: it is in state ERROR"]
    assert complaints(plan, [verdict("a", "dev")], [StageVerdict("dev", passed=False, why="soak")]) == [
        "stage dev: soak"
    ]


def test_a_verdict_survives_its_json() -> None:
    """What is written is what is read; anything else is a typed error."""
    assert Verdict.from_json(bad("a", "dev").to_json()) == bad("a", "dev")
    assert Verdict.from_json(verdict("a", "dev").to_json()) == verdict("a", "dev")
    for value in (None, [], {"outcome": "x"}, {**bad("a", "dev").to_json(), "outcome": "x"}, {"packages": 3}):
        with pytest.raises(InvalidInputError):
            Verdict.from_json(value)
