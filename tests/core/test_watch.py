"""Watching a package: which versions count, and which of them are new."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airflow_gar_provider.core.repository import RegistryFile
from airflow_gar_provider.core.watch import Watch, news
from airflow_gar_provider.errors import InvalidInputError, InvalidRequirementError

NOW = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"


def file(version: str, *, package: str = "acme_utils", hours: float = 24) -> RegistryFile:
    name = f"{package}-{version}-py3-none-any.whl"
    return RegistryFile(name, f"sha-{version}", 10, NOW - timedelta(hours=hours), package.replace("_", "-"), version)


FILES = [file("1.0"), file("1.1", hours=1), file("2.0rc1"), file("9.0", package="other")]


@pytest.mark.parametrize(
    ("requirement", "prereleases", "min_age", "versions"),
    [
        ("acme-utils", False, 0, ["1.0", "1.1"]),
        ("Acme_Utils>=1.1", False, 0, ["1.1"]),
        ("acme-utils", True, 0, ["1.0", "1.1", "2.0rc1"]),
        ("acme-utils>=2.0rc1", False, 0, ["2.0rc1"]),
        ("acme-utils", False, 7200, ["1.0"]),
        ("acme-utils", False, timedelta(hours=1), ["1.0", "1.1"]),
        ("acme-utils", False, "3600.5", ["1.0"]),
        ("nobody", False, None, []),
    ],
)
def test_what_counts(requirement: str, prereleases: bool, min_age: float, versions: list[str]) -> None:
    """The specifier, pre-releases only where they are wanted or named, and not what is too young."""
    watch = Watch.of(requirement, prereleases=prereleases, min_age=min_age)
    assert list(watch.versions(FILES, NOW)) == versions
    assert watch.choose(FILES, NOW).version == (versions[-1] if versions else None)


@pytest.mark.parametrize("bad", [-1, "-3"])
def test_ages_that_cannot_be(bad: object) -> None:
    """A time to come is not an age."""
    with pytest.raises(InvalidInputError, match="min_age is not negative"):
        Watch.of("a", min_age=bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="min_age is a number of seconds, not 'a day'"):
        Watch.of("a", min_age="a day")
    with pytest.raises(InvalidRequirementError, match="has a URL"):
        Watch.of("a @ https://example.com/a.whl")


def test_the_first_look_is_silent() -> None:
    """What is there is not new, also what does not count yet."""
    first = news(Watch.of("acme-utils", min_age=7200), REPOSITORY, FILES, None, NOW)
    assert (first.events, first.seen) == ((), ("1.0", "1.1", "2.0rc1"))


def test_a_new_version_is_told_once() -> None:
    """One event for it, the same wherever it is made; then it is remembered."""
    watch = Watch.of("acme-utils")
    both = [*FILES, file("1.2"), file("1.3")]
    found = news(watch, REPOSITORY, both, ["1.0", "1.1"], NOW)
    assert found.events == (
        {
            "repository": REPOSITORY,
            "package": "acme-utils",
            "version": "1.2",
            "sha256": {"acme_utils-1.2-py3-none-any.whl": "sha-1.2"},
        },
        {
            "repository": REPOSITORY,
            "package": "acme-utils",
            "version": "1.3",
            "sha256": {"acme_utils-1.3-py3-none-any.whl": "sha-1.3"},
        },
    )
    assert news(watch, REPOSITORY, both, found.seen, NOW).events == ()


def test_a_young_version_is_told_when_it_is_old_enough() -> None:
    """It is not remembered before."""
    watch = Watch.of("acme-utils", min_age=7200)
    young = news(watch, REPOSITORY, FILES, ["1.0"], NOW)
    assert (young.events, young.seen) == ((), ("1.0",))
    [event] = news(watch, REPOSITORY, FILES, young.seen, NOW + timedelta(hours=1)).events
    assert event["version"] == "1.1"


def test_a_deleted_version_is_forgotten() -> None:
    """Published again, it is told again."""
    watch = Watch.of("acme-utils")
    gone = news(watch, REPOSITORY, FILES[:1], ["1.0", "1.1"], NOW)
    assert gone.seen == ("1.0",)
    assert [event["version"] for event in news(watch, REPOSITORY, FILES, gone.seen, NOW).events] == ["1.1"]
