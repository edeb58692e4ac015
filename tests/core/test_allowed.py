"""What a form may ask for: places by whole segments, packages by their prefix, environments of the fleet."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.allowed import Allowed, is_below, require_allowed
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Find, Fleet, Member, Stage
from airflow_gar_provider.errors import NotAllowedError

HOME = "projects/acme-data/locations/europe-west1/environments"
FLEET = Fleet("gs://s/gar", tuple(Stage(n, (Member(EnvironmentName.parse(f"{HOME}/{n}")),)) for n in ("dev", "prod")))
ALLOWED = Allowed.read(sources=["gs://ci/wheels", "/srv/lib"], prefixes=["mypythonlib", "Acme_"])


@pytest.mark.parametrize(
    ("source", "below"),
    [
        ("gs://ci/wheels", True),
        ("gs://ci/wheels/", True),
        ("gs://ci/wheels/a-1.0-py3-none-any.whl", True),
        ("gs://ci/wheels/**/*.whl", True),
        ("gs://ci/wheels-of-mallory/a.whl", False),
        ("gs://ci/wheels*/a.whl", False),
        ("gs://ci/whee[l]s/a.whl", False),
        ("gs://ci/*", False),
        ("gs://ci", False),
        ("gs://ci/wheels/../secret/a.whl", False),
        ("gs://ci/wheels/./a.whl", False),
        ("gs://ci/wheels//a.whl", False),
        ("gs://ci//wheels/a.whl", False),
        ("GS://ci/wheels/a.whl", False),
        ("gs://cix/wheels/a.whl", False),
        ("ci/wheels/a.whl", False),
        ("/ci/wheels/a.whl", False),
        ("https://ci/wheels/a.whl", False),
        ("", False),
    ],
)
def test_a_source_lies_below_a_place_by_whole_segments(source: str, below: bool) -> None:
    """A neighbour whose name begins alike, a pattern above the place, and a way up and out are not below it."""
    assert is_below(source, "gs://ci/wheels") is below
    assert is_below(source, "gs://ci/wheels/") is below


@pytest.mark.parametrize(
    ("source", "below"),
    [("/srv/lib", True), ("/srv/lib/x", True), ("/srv/library", False), ("/srv/lib/../etc", False), ("srv/lib", False)],
)
def test_a_folder_is_absolute_and_plain(source: str, below: bool) -> None:
    """A relative path depends on where the worker runs, so it is below nothing."""
    assert is_below(source, "/srv/lib") is below


@pytest.mark.parametrize(
    ("lists", "sources", "packages", "problems"),
    [
        (Allowed(), ["/etc"], ["anything"], []),
        (ALLOWED, ["gs://ci/wheels/*"], ["mypythonlib", "acme-logging"], []),
        (
            ALLOWED,
            ["gs://other/a.whl"],
            ["requests"],
            [
                "the source 'gs://other/a.whl' is not below an allowed place; allowed: gs://ci/wheels, /srv/lib",
                "the package 'requests' begins with none of the allowed prefixes; allowed: mypythonlib, acme-",
            ],
        ),
        (
            Allowed.read(sources=[], prefixes=[]),
            ["gs://ci/a.whl"],
            ["acme-lib"],
            [
                "the source 'gs://ci/a.whl' is not below an allowed place; allowed: no place",
                "the package 'acme-lib' begins with none of the allowed prefixes; allowed: no package",
            ],
        ),
    ],
)
def test_each_problem_names_what_is_allowed(
    lists: Allowed, sources: list[str], packages: list[str], problems: list[str]
) -> None:
    """Without a list everything is allowed, with an empty one nothing."""
    assert lists.problems(sources=sources, packages=packages) == problems


def test_a_whole_request_is_refused_with_every_reason() -> None:
    """Sources, packages, environments and spelling, in one error."""
    with pytest.raises(NotAllowedError) as caught:
        require_allowed(
            ALLOWED,
            FLEET,
            sources="gs://ci/wheels/a.whl, gs://other/*.whl",
            requirements="mypythonlib==1.10\nrequests>=2\nhttps://x/y.whl",
            absent="numpy",
            environments="['dev', 'mallory']",
        )
    assert caught.value.problems == (
        "'https://x/y.whl' is a URL or a file; publish the wheel and require its name and version",
        "the source 'gs://other/*.whl' is not below an allowed place; allowed: gs://ci/wheels, /srv/lib",
        "the fleet has no environment 'mallory'; allowed: dev, prod",
    )
    assert not caught.value.retryable


def test_what_is_allowed_comes_back_as_it_was_read() -> None:
    """A version such as 1.10 stays text; no environment chosen means all that the fleet names."""
    asked = {"sources": [], "requirements": "MyPythonLib == 1.10", "absent": ()}
    found = require_allowed(ALLOWED, FLEET, environments="[]", **asked)
    assert found == {"requirements": ["mypythonlib==1.10"], "environments": [f"{HOME}/dev", f"{HOME}/prod"]}
    assert require_allowed(ALLOWED, FLEET, environments=["prod"], **asked)["environments"] == [f"{HOME}/prod"]


def test_environments_that_are_found_by_label_are_left_to_the_plan() -> None:
    """Only Google knows them."""
    found = Fleet("gs://s/gar", (Stage("dev", find=(Find(("p",), ("l",), {}),)),))
    answer = require_allowed(ALLOWED, found, sources=[], requirements="acme-a==1", absent=(), environments="somewhere")
    assert answer["environments"] == []
