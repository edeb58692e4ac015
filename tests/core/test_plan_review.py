"""A plan that was reviewed is the one that is applied: its content has a digest, and a difference is named."""

from __future__ import annotations

from dataclasses import replace

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Identity, Stage
from airflow_gar_provider.core.plan import Change, Item, Plan
from tests.tables import squeezed

HOME = "projects/acme-data/locations/europe-west1/environments"


UP = Change("lib", "upgrade", "==1.0", "==1.10")


def item(name: str, change: Change = UP, mark: str = "f") -> Item:
    environment = EnvironmentName.parse(f"{HOME}/{name}")
    return Item(environment, "dev", "change", None, (change,), False, (), Identity(), mark)


PLAN = Plan(
    "dag/one",
    "2026-11-22T12:00:00+00:00",
    "projects/p/locations/l/repositories/r",
    "one",
    (Stage("dev"),),
    (item("a"),),
    {"lib-1.10.whl": "aa"},
)


def test_the_content_has_a_digest_that_does_not_know_the_run() -> None:
    """Another run at another time that would do the same has the same; the plan's own digest differs."""
    other = replace(PLAN, run="dag/two", made="2026-11-23T12:00:00+00:00")
    assert other.content_digest == PLAN.content_digest
    assert other.digest != PLAN.digest
    assert other.differences(PLAN) == []
    assert Plan.loads(PLAN.dumps()).content_digest == PLAN.content_digest


def test_every_difference_is_named() -> None:
    """Versions, wheels, environments, care: a sentence for each; each changes the digest."""
    changed = {
        "strategy is 'newest_each', it was 'one'": replace(PLAN, strategy="newest_each"),
        "the fleet's stages have changed": replace(PLAN, stages=(Stage("dev", max_parallel=9),)),
        "lib-1.10.whl: SHA-256 bb, it was aa": replace(PLAN, wheels={"lib-1.10.whl": "bb"}),
        "lib-1.10.whl: SHA-256 not there, it was aa": replace(PLAN, wheels={}),
        "b is not in the reviewed plan": replace(PLAN, items=(item("a"), item("b"))),
        "a is not in this plan": replace(PLAN, items=()),
        "a: its packages or its image have changed since": replace(PLAN, items=(item("a", mark="g"),)),
        "a: change; lib ==1.0 -> ==1.2 (upgrade), it was: change; lib ==1.0 -> ==1.10 (upgrade)": replace(
            PLAN, items=(item("a", Change("lib", "upgrade", "==1.0", "==1.2")),)
        ),
    }
    for sentence, plan in changed.items():
        assert plan.differences(PLAN) == [sentence]
        assert plan.content_digest != PLAN.content_digest


def test_a_table_of_some_stages() -> None:
    """An approval shows what is still to come; several changes stay in one line of plain Markdown."""
    two = replace(item("b"), stage="prod", pip_conf=True)
    plan = replace(PLAN, stages=(Stage("dev"), Stage("prod")), items=(item("a"), two))
    assert squeezed(plan.markdown(["prod"])).splitlines()[2:] == [
        "| `b` | `prod` | change | `lib` `==1.0` → `==1.10`; pip.conf |",
    ]
    assert len(plan.markdown().splitlines()) == 4
