"""Which versions may go, and why the others stay."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.prune import KeepRules, Stored, decide, stored_versions
from airflow_gar_provider.core.repository import RegistryFile
from airflow_gar_provider.errors import InvalidInputError

NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


def stored(version: str, days: float = 100, package: str = "acme-utils") -> Stored:
    return Stored(package, version, NOW - timedelta(days=days), 10)


VERSIONS = [stored("0.9", 300), stored("1.0", 200), stored("1.1", 100), stored("1.10", 20), stored("2.0rc1", 2)]


def gone(pins: dict[str, dict[str, str]] | None = None, **rules: Any) -> list[str]:
    decisions = decide(VERSIONS, KeepRules.of(**rules), pins or {}, NOW)
    return [decision.stored.version for decision in decisions if not decision.keep]


@pytest.mark.parametrize(
    ("rules", "deleted"),
    [
        ({"last": 2}, ["1.1", "1.0", "0.9"]),
        ({"last": "4"}, ["0.9"]),
        ({"newer_than_days": 50}, ["1.1", "1.0", "0.9"]),
        ({"newer_than_days": 0}, ["1.10", "1.1", "1.0", "0.9"]),
        ({"matching": "==1.*"}, ["0.9"]),
        ({"matching": "acme-utils>=1.1"}, ["1.0", "0.9"]),
        ({"matching": "other>=1.1"}, ["1.10", "1.1", "1.0", "0.9"]),
        ({"matching": ["/^1\\.1/", "==0.9"]}, ["1.0"]),
        ({"last": 1, "newer_than_days": 250, "matching": "/9/"}, []),
    ],
)
def test_rules(rules: dict[str, Any], deleted: list[str]) -> None:
    """Versions are ordered as PEP 440 orders them; the newest always stays."""
    assert gone(**rules) == deleted


@pytest.mark.parametrize(
    ("package_map", "deleted"),
    [
        ({"acme-utils": "==1.0"}, ["1.10", "1.1", "0.9"]),
        ({"Acme.Utils": "==1.0"}, ["1.10", "1.1", "0.9"]),
        ({"acme-utils": "[extra]<1.2"}, ["1.10", "1.0", "0.9"]),
        ({"acme-utils": ""}, ["1.1", "1.0", "0.9"]),
        ({"acme-utils": "<=>1"}, []),
        ({"other": "==1.0"}, ["1.10", "1.1", "1.0", "0.9"]),
    ],
)
def test_what_an_environment_requires(package_map: dict[str, str], deleted: list[str]) -> None:
    """An exact pin, the newest that a range allows, and everything where Composer's map cannot be read."""
    assert gone({"dev": package_map}, last=1) == deleted


def test_the_report_says_why() -> None:
    """Every reason is named, with its environment."""
    decisions = decide(VERSIONS, KeepRules.of(last=1, newer_than_days=30), {"prod": {"acme-utils": "==1.10"}}, NOW)
    why = {decision.stored.version: "; ".join(decision.keep) for decision in decisions}
    assert why["1.10"] == "prod requires acme-utils==1.10; younger than 30 days"
    assert why["2.0rc1"] == "the newest; younger than 30 days"
    assert why["1.1"] == ""


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "no rule says what to keep"),
        ({"last": 0}, "keep_last is a whole number from 1 on, not 0"),
        ({"last": "all"}, "keep_last is a whole number from 1 on, not 'all'"),
        ({"newer_than_days": "-1"}, "keep_newer_than_days is a number of days, not '-1'"),
        ({"matching": "/(/"}, "is not a regular expression"),
        ({"matching": "==one"}, "'==one' is not a rule"),
        ({"matching": "https://x"}, "'https://x' is not a rule"),
        ({"last": 0, "matching": "/(/"}, "keep_last is a whole number from 1 on, not 0; '/(/' is not a regular"),
    ],
)
def test_rules_that_cannot_be(rules: dict[str, Any], message: str) -> None:
    """All problems in one error; without a rule nothing is deleted."""
    with pytest.raises(InvalidInputError) as caught:
        KeepRules.of(**rules)
    assert message in caught.value.what


def test_versions_of_files() -> None:
    """A version is as old as its first file and as big as all; files that nobody owns are left alone."""
    files = [
        RegistryFile("a-1.0.tar.gz", "", 5, NOW, "a", "1.0"),
        RegistryFile("a-1.0-py3-none-any.whl", "", 7, NOW - timedelta(days=1), "a", "1.0"),
        RegistryFile("b-1.0-py3-none-any.whl", "", 7, NOW, "b", "1.0"),
        RegistryFile("b-1.10-py3-none-any.whl", "", 7, NOW, "b", "1.10"),
        RegistryFile("odd", "", 7),
    ]
    assert stored_versions(files, ["A"]) == [Stored("a", "1.0", NOW - timedelta(days=1), 12)]
    assert [(s.package, s.version) for s in stored_versions(files)] == [("a", "1.0"), ("b", "1.10"), ("b", "1.0")]


@given(
    numbers=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, unique=True),
    last=st.integers(1, 4),
    pinned=st.integers(0, 30),
)
def test_never_too_much(numbers: list[tuple[int, int]], last: int, pinned: int) -> None:
    """Whatever the rules: the newest and the pinned stay, and a second run finds nothing to delete."""
    versions = [stored(f"{major}.{minor}") for major, minor in numbers]
    pin = versions[pinned % len(versions)].version
    rules, pins = KeepRules.of(last=last), {"dev": {"acme-utils": f"=={pin}"}}
    kept = [decision.stored for decision in decide(versions, rules, pins, NOW) if decision.keep]
    assert {f"{major}.{minor}" for major, minor in sorted(numbers)[-last:]} | {pin} == {v.version for v in kept}
    assert all(decision.keep for decision in decide(kept, rules, pins, NOW))
