"""Who is asked before a stage, what is shown, and what an answer means."""

from __future__ import annotations

from typing import Any

import pytest
from markdown_it import MarkdownIt

from airflow_gar_provider.core.approval import APPROVED, Approval, asked, body, judged_answer, why_not_asked
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Identity, Stage
from airflow_gar_provider.core.plan import Change, Item, Plan
from airflow_gar_provider.core.rollout import StageVerdict, Verdict
from airflow_gar_provider.errors import InvalidInputError
from tests.tables import squeezed

HOME = "projects/acme-data/locations/europe-west1/environments"
AT = "2026-11-22T12:30:00+00:00"
CONSOLE = "https://console.cloud.google.com/"
EVIL = (
    "[click](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "see https://evil.example or www.evil.example",
    "<https://evil.example>",
    "`` ` ``[a](https://evil.example)`",
    "a | b\n| [c](https://evil.example) |\n\n# head\n[d]: https://evil.example",
    "mail me@evil.example \u202egnp.exe",
    "{{ conn.google_cloud_default.password }}",
    "https://evil.example/log",
)


def plan(*changes: Change, outlook: str = "change", prod: str = "change", soak: float = 0) -> Plan:
    changes = changes or (Change("lib", "upgrade", "==1.0", "==1.10"),)
    items = tuple(
        Item(EnvironmentName.parse(f"{HOME}/{stage}"), stage, look, None, changes, False, (), Identity(), "f")
        for stage, look in (("dev", outlook), ("prod", prod))
    )
    stages = (Stage("dev", soak=soak), Stage("prod"))
    return Plan(
        "dag/run", "2026-11-22T12:00:00+00:00", "projects/p/locations/l/repositories/r", "one", stages, items, {}
    )


def verdict(outcome: str = "installed", **more: Any) -> Verdict:
    packages = ({"package": "lib", "before": "1.0", "after": "1.10"},)
    return Verdict(f"{HOME}/dev", "dev", outcome, packages=packages, seconds=90, **more)


@pytest.mark.parametrize(
    ("approval", "found"),
    [
        (True, ("staging", "prod")),
        ("True", ("staging", "prod")),
        (False, ()),
        (None, ()),
        ("", ()),
        ("none", ()),
        ("prod", ("prod",)),
        ("['prod', 'staging']", ("staging", "prod")),
    ],
)
def test_before_which_stages_somebody_is_asked(approval: object, found: tuple[str, ...]) -> None:
    """A form's choice, a constant, or a template's text."""
    assert asked(("staging", "prod"), approval) == found


def test_a_stage_that_cannot_be_asked_about_is_an_error() -> None:
    """Silence would be an approval."""
    with pytest.raises(InvalidInputError, match="nobody can be asked before dev"):
        asked(("staging", "prod"), "dev")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"approve": True}, APPROVED),
        ({"approve": True, "requester": "grace"}, APPROVED),
        ({"approve": True, "requester": "ada"}, "own_run"),
        ({"approve": True, "requester": "7"}, "own_run"),
        ({"approve": False, "requester": "ada"}, "rejected"),
        ({"approve": False, "by": None, "timed_out": True}, "not_answered"),
        ({"approve": False, "by": None}, "not_answered"),
        ({"approve": True, "timed_out": True}, "not_answered"),
    ],
)
def test_what_an_answer_means(answer: dict[str, Any], outcome: str) -> None:
    """An own run may be rejected, but not approved, by who triggered it; no answer is a refusal."""
    values: dict[str, Any] = {"by": {"id": "7", "name": "ada"}, "timed_out": False, "requester": None, "at": "now"}
    found = judged_answer("prod", **{**values, **answer})
    assert found.outcome == outcome
    assert found.approved is (outcome == APPROVED)
    assert Approval.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("approval", "sentence"),
    [
        (Approval("prod", APPROVED, "ada", "12:00"), "approved by ada (12:00)"),
        (Approval("prod", "rejected", "ada", "12:00"), "rejected by ada (12:00)"),
        (Approval("prod", "not_answered", None, "12:00"), "nobody approved it in time (12:00)"),
        (
            Approval("prod", "own_run", "ada", "12:00"),
            "ada triggered this run, so somebody else has to approve it (12:00)",
        ),
    ],
)
def test_an_approval_is_told_in_a_sentence(approval: Approval, sentence: str) -> None:
    """For the report, the ledger and the stage's verdict."""
    assert approval.sentence == sentence


@pytest.mark.parametrize(
    ("facts", "more", "reason"),
    [
        (plan(), {}, None),
        (plan(prod="nothing"), {}, "the plan changes nothing in this stage"),
        (plan(prod="frozen"), {}, "the plan changes nothing in this stage"),
        (plan(), {"stopped": True}, "the rollout was stopped: the fleet's STOP switch is on"),
        (
            plan(),
            {"judged": [StageVerdict("dev", passed=False, why="trouble")]},
            "the rollout was stopped: stage dev did not pass: trouble",
        ),
    ],
)
def test_nobody_is_asked_for_nothing(facts: Plan, more: dict[str, Any], reason: str | None) -> None:
    """Nothing to do, or stopped already."""
    assert why_not_asked(facts, "prod", **{"verdicts": [], "judged": [], "stopped": False, **more}) == reason


def test_the_body_has_the_rest_of_the_plan_and_the_evidence_so_far() -> None:
    """What is to come without what is done; then the canary: outcome, before and after, minutes, soak."""
    found = plan(soak=600)
    text = body(found, "prod", [verdict()], [StageVerdict("dev", passed=True)], at=AT)
    to_come, evidence = text.split("**What the stages before came to**")
    assert "**To come: prod**" in to_come
    assert "| `prod` | `prod` | change | `lib` `==1.0` → `==1.10` |" in squeezed(to_come)
    assert "`dev`" not in to_come
    assert f"| `dev` | `dev` | `lib` | `1.0` → `1.10` | installed | 1.5 | [open]({CONSOLE}" in squeezed(evidence)
    assert "- dev: passed, and was calm for 600 s" in evidence
    assert f"Plan `{found.content_digest}`. Asked `{AT}`; " in evidence
    first = body(found, "dev", [], [], at=AT)
    assert "What the stages before came to" not in first
    assert "**To come: dev, prod**" in first


def test_a_canary_that_failed_within_its_limit_shows_its_cause() -> None:
    """A tolerated failure is what an approver must see."""
    text = body(plan(), "prod", [verdict("failed", why="no access")], [StageVerdict("dev", passed=True)], at=AT)
    assert "| failed | 1.5 |" in squeezed(text)
    assert "| `no access` |" in squeezed(text)


@pytest.mark.parametrize("text", EVIL)
def test_foreign_text_has_no_markup_and_no_live_link(text: str) -> None:
    """Read as GitHub's Markdown with bare URLs: links are ours only, there is no image and no HTML."""
    change = Change(text, "upgrade", text, text, None)
    held = Change("lib", "held", text, None, text)
    found = plan(change, held)
    shown = body(
        found,
        "prod",
        [verdict("failed", why=text, cause=text, link=text)],
        [StageVerdict("dev", passed=False, why=text)],
        at=AT,
    )
    blocks = MarkdownIt("commonmark").enable("table").parse(shown)
    tokens = [token for block in blocks for token in (block, *(block.children or []))]
    assert {"html_block", "html_inline", "image", "heading_open", "fence"}.isdisjoint(token.type for token in tokens)
    targets = [str(token.attrGet("href")) for token in tokens if token.type == "link_open"]
    assert all(target.startswith(CONSOLE) for target in targets), targets
    plain = " ".join(token.content for token in tokens if token.type == "text")
    # What is in no code span would be linked when it looks like an address.
    assert not any(mark in plain for mark in ("://", "www.", "@", "evil", "{{")), plain
    assert len([token for token in blocks if token.type == "tr_open"]) == 4  # two heads, a row below each
