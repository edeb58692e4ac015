"""A plan says for each environment what would change, and why what will not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_gar_provider.core.choice import CandidateFile, Target
from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.fleet import Fleet, Hold, Member, Packages, Stage
from airflow_gar_provider.core.freeze import Freeze
from airflow_gar_provider.core.plan import Change, Item, Plan
from airflow_gar_provider.core.planning import Facts, Registry, Request, Seen, plan_items, planned_wheels
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.errors import InvalidInputError
from tests.tables import squeezed

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
NAME = EnvironmentName.parse("projects/acme-data/locations/europe-west1/environments/dev")
PY311 = Target("3.11.8")


def files(*names: str, days: float = 30, python: str | None = None) -> tuple[CandidateFile, ...]:
    return tuple(CandidateFile(name, python, NOW - timedelta(days=days)) for name in names)


LIB = (
    *files("lib-1.0-py3-none-any.whl", "lib-1.1-py3-none-any.whl"),
    *files("lib-1.2-py3-none-any.whl", days=1),
    *files("lib-2.0-cp312-cp312-manylinux2014_x86_64.whl"),
)
REGISTRY = Registry({"lib": LIB}, {file.file: f"sha-of-{file.file}" for file in LIB})


def environment(**packages: str) -> Environment:
    return Environment(NAME, "RUNNING", "bucket", "sa@x", "https://a", "composer-3-airflow-3.3.1-build.0", packages)


def fleet(**more: object) -> Fleet:
    return Fleet("gs://b/p", (Stage("dev", (Member(NAME),)),), **more)  # type: ignore[arg-type]


def plan(
    requirements: str,
    seen: Seen | None,
    *,
    absent: tuple[str, ...] = (),
    of: Fleet | None = None,
    **request: object,
) -> Item:
    whole = of or fleet()
    facts = Facts(whole, {NAME: seen} if seen else {}, REGISTRY, NOW)
    wish = Request(Packages(parse_requirements(requirements), absent), **request)  # type: ignore[arg-type]
    [item] = plan_items(facts, whole.placements({}), wish)
    return item


def seen(target: Target | None = PY311, *, points: bool | None = True, **packages: str) -> Seen:
    return Seen(environment(**packages), target=target, points=points)


@pytest.mark.parametrize(
    ("requirement", "declared", "action", "after"),
    [
        ("lib==1.1", {}, "add", "==1.1"),
        ("lib==1.1", {"lib": "==1.0"}, "upgrade", "==1.1"),
        ("lib==1.1", {"lib": "==1.2"}, "downgrade", "==1.1"),
        ("lib==1.1", {"lib": "==1.1"}, "nothing", "==1.1"),
        ("lib==1.1", {"Lib": "== 1.1"}, "nothing", "==1.1"),
        ("lib==1.1", {"lib": ">=1"}, "change", "==1.1"),
        ("lib==1.1", {"lib": ""}, "change", "==1.1"),
        ("lib[geo]==1.1", {"lib": "==1.1"}, "change", "[geo]==1.1"),
        ("lib<1.2", {"lib": "==1.0"}, "upgrade", "==1.1"),
        ("lib==1.1", {"lib": "==1.1", "Lib": "==1.0"}, "upgrade", "==1.1"),
        ("public==3", {}, "add", "==3"),
    ],
)
def test_each_change_has_its_word(requirement: str, declared: dict[str, str], action: str, after: str) -> None:
    """Add, upgrade, downgrade, change or nothing, by what is declared, whatever its spelling; always an exact pin."""
    item = plan(requirement, seen(**declared))
    if len(declared) == 2:  # two spellings of one package: one of them has to go, so something changes
        assert item.outlook == "change"
        return
    [change] = item.changes
    assert (change.action, change.after) == (action, after)
    assert item.outlook == ("nothing" if action == "nothing" else "change")


def test_removals_and_strangers() -> None:
    """What is listed under `absent` goes, by any spelling; what no list names stays and is told."""
    item = plan("", seen(Old_Lib="==1", theirs=""), absent=("old-lib", "never-there"))
    assert [(c.package, c.action) for c in item.changes] == [("old-lib", "remove"), ("never-there", "nothing")]
    assert item.absent == ("old-lib", "never-there")
    assert item.unmanaged == ("theirs",)


def test_one_version_for_all_blocks_whom_it_does_not_fit() -> None:
    """`one`: the newest version is for everybody; an environment whose Python it does not run on is blocked."""
    item = plan("lib", seen())
    assert item.outlook == "blocked"
    assert item.why is not None
    assert item.why.startswith("lib==2.0: ")
    assert "does not run on Python 3.11" in item.why
    assert plan("lib", seen(Target("3.12.1"))).requirements == ("lib==2.0",)


def test_the_newest_that_fits_each() -> None:
    """`newest_each`: each environment gets the newest version that runs on its Python."""
    assert plan("lib", seen(), strategy="newest_each").requirements == ("lib==1.2",)
    assert plan("lib", seen(Target("3.12.1")), strategy="newest_each").requirements == ("lib==2.0",)


def test_a_young_version_waits() -> None:
    """A version younger than the minimum release age is passed over; an exact pin is taken at any age."""
    week = timedelta(days=7)
    assert plan("lib", seen(), strategy="newest_each", minimum_age=week).requirements == ("lib==1.1",)
    assert plan("lib==1.2", seen(), minimum_age=week).requirements == ("lib==1.2",)
    item = plan("lib>=1.2,<2", seen(), minimum_age=week)
    assert item.outlook == "blocked"
    assert "younger than 7 days" in (item.why or "")


@pytest.mark.parametrize(
    ("requirement", "declared", "strategy", "outlook", "after"),
    [
        ("lib", "==1.2", "newest_each", "nothing", "==1.2"),
        ("lib>=1.2,<2", "==1.2", "newest_each", "nothing", "==1.2"),  # nothing old enough fits: that is no trouble
        ("lib", "==1.0", "newest_each", "change", "==1.1"),
        ("lib<1.2", "==1.2", "newest_each", "change", "==1.1"),  # it is not wanted, young or old
        ("lib", "==1.3", "newest_each", "change", "==1.1"),  # the registry has not got it
        ("lib", "==2.0", "newest_each", "change", "==1.1"),  # it does not run there
        ("lib", ">=1", "newest_each", "change", "==1.1"),
        ("lib==1.1", "==1.2", "newest_each", "change", "==1.1"),
        ("lib<2", "==1.2", "one", "change", "==1.1"),
    ],
)
def test_a_young_version_that_is_there_stays(
    requirement: str, declared: str, strategy: str, outlook: str, after: str
) -> None:
    """The minimum age keeps a young version out, and does not take one back that somebody has installed on purpose."""
    item = plan(requirement, seen(lib=declared), strategy=strategy, minimum_age=timedelta(days=7))
    assert (item.outlook, item.changes[0].after) == (outlook, after)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "it is not in the list of its location"),
        (Seen(None, "the caller may not see it"), "the caller may not see it"),
        (Seen(replace(environment(), state="ERROR")), "it is in state ERROR"),
        (Seen(replace(environment(), state="CREATING", bucket="")), "it is in state CREATING and has no bucket"),
    ],
)
def test_what_cannot_be_updated_is_blocked(found: Seen | None, why: str) -> None:
    """An environment that is missing, unreadable or broken is in the plan, with the reason."""
    item = plan("lib==1.1", found)
    assert (item.outlook, item.why, item.changes) == ("blocked", why, ())


def test_holds() -> None:
    """Held packages stay; the others of the environment go on; a hold after a rollback is for that version only."""
    whole = fleet(holds=(Hold(NAME, "audit", ("lib",)),))
    item = plan("lib==1.1\npublic==3", seen(), of=whole)
    assert [(c.package, c.action) for c in item.changes] == [("lib", "held"), ("public", "add")]
    assert (item.outlook, item.requirements) == ("change", ("public==3",))
    item = plan("lib==1.1", seen(), of=whole)
    assert (item.outlook, item.why) == ("held", "audit")
    rolled_back = replace(seen(), held={"lib==1.1": "rolled back on Friday"})
    assert plan("lib==1.1", rolled_back).why == "rolled back on Friday"
    assert plan("lib==1.2", rolled_back).outlook == "change"


def test_a_held_environment_and_a_freeze() -> None:
    """Where something would change, a hold of the environment or a freeze says why it does not."""
    held = Fleet("gs://b/p", (Stage("dev", (Member(NAME, hold="migration"),)),))
    assert plan("lib==1.1", seen(), of=held).why == "migration"
    assert plan("lib==1.1", seen(lib="==1.1"), of=held).outlook == "nothing"
    frozen = fleet(freezes=(Freeze.parse("2026-11-20", "2026-12-01", "sale"),))
    item = plan("lib==1.1", seen(), of=frozen)
    assert (item.outlook, item.why) == ("frozen", "sale")


def test_pip_conf_alone_is_a_change() -> None:
    """An environment whose pip.conf does not name the repository is changed, even if its packages are right."""
    item = plan("lib==1.1", seen(points=False, lib="==1.1"))
    assert (item.outlook, item.pip_conf) == ("change", True)
    assert plan("lib==1.1", seen(points=None, lib="==1.1")).outlook == "nothing"


def test_a_plan_survives_its_json() -> None:
    """What is written is what is read; its digest changes with its content; wheels carry their SHA-256."""
    items = (plan("lib==1.1", seen(lib="==1.0")), plan("lib==1.1", None))
    wheels = planned_wheels(items, REGISTRY)
    assert wheels == {"lib-1.1-py3-none-any.whl": "sha-of-lib-1.1-py3-none-any.whl"}
    whole = Plan("run", NOW.isoformat(), "projects/p", "one", (Stage("dev"),), items, wheels)
    assert Plan.loads(whole.dumps()) == whole
    assert Plan.loads(whole.dumps()).digest == whole.digest
    assert replace(whole, items=items[:1]).digest != whole.digest
    assert whole.counts() == {"change": 1, "blocked": 1}
    assert whole.of_stage("dev") == items[:1]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "items": 3}', "null"])
def test_other_json_is_no_plan(text: str) -> None:
    """Anything else is refused with a typed error."""
    with pytest.raises(InvalidInputError):
        Plan.loads(text)


def test_a_plan_is_readable() -> None:
    """The table shows changes first, foreign text as code, and how many more there are."""
    calm = plan("lib==1.1", seen(lib="==1.1"))
    busy = plan("lib==1.1", seen(lib="==1.0"))
    text = Plan("run", "", "", "one", (Stage("dev"),), (calm, busy), {}).markdown()
    head, _, first, second = text.splitlines()
    assert squeezed(head) == "| environment | stage | plan | changes |"
    assert squeezed(first) == "| `dev` | `dev` | change | `lib` `==1.0` → `==1.1` |"
    assert squeezed(second) == "| `dev` | `dev` | nothing | |"
    many = Plan("run", "", "", "one", (Stage("dev"),), (calm,) * 120, {}).markdown()
    assert many.endswith("and 20 more environments")
    hostile = replace(busy, changes=(Change("x", "blocked", None, None, "[a](https://e) | b"),))
    assert "`[a](https://e) \\| b`" in Plan("r", "", "", "one", (), (hostile,), {}).markdown()
