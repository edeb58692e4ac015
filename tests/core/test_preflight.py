"""The checks before an update that need nothing but facts."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.choice import Target
from airflow_gar_provider.core.dependencies import needed, requires_of
from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.indexes import Indexes, repository_of
from airflow_gar_provider.core.pip_conf import read_as_pip
from airflow_gar_provider.core.preflight import (
    CHECKS,
    checks_of,
    python_of,
    requirement_findings,
    state_findings,
)
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.errors import Finding, InvalidInputError, PreflightError

NAME = EnvironmentName.parse("projects/acme-data/locations/europe-west1/environments/dev")
IMAGE = "composer-3-airflow-2.11.1-build.14"


def environment(state: str = "RUNNING") -> Environment:
    return Environment(NAME, state, "bucket", "sa@acme-data.iam.gserviceaccount.com", "", IMAGE)


@pytest.mark.parametrize(
    ("preflight", "skip", "checks"),
    [
        (True, (), set(CHECKS)),
        ("True", (), set(CHECKS)),
        (False, (), set()),
        ("false", ["wheel"], set()),
        ("resolve", (), {*CHECKS, "resolve"}),
        ("resolve", "confusion, access", {"state", "requirement", "index", "wheel", "resolve"}),
        (True, ["confusion", "wheel"], {"state", "requirement", "index", "access"}),
        (True, None, set(CHECKS)),
    ],
)
def test_which_checks_are_made(preflight: bool | str, skip: object, checks: set[str]) -> None:
    """What the two parameters mean, from a form's strings too."""
    assert checks_of(preflight, skip) == checks


@pytest.mark.parametrize(
    ("preflight", "skip", "said"),
    [("maybe", (), 'preflight is True, False or "resolve"'), (True, ["whel"], "there is no preflight check 'whel'")],
)
def test_a_misspelt_check_is_told(preflight: bool | str, skip: object, said: str) -> None:
    """A check that was to be skipped and is not would be found out after minutes."""
    with pytest.raises(InvalidInputError, match=said):
        checks_of(preflight, skip)


@pytest.mark.parametrize(
    ("state", "said", "retryable"),
    [
        ("HIBERNATED", "gcloud composer environments resume", False),
        ("ERROR", "no update can repair this state", False),
        ("DELETING", "it is being deleted", False),
        ("CREATING", "wait until it has been created", True),
        ("STATE_UNSPECIFIED", "look at the environment's page", False),
    ],
)
def test_states_that_take_no_update(state: str, said: str, retryable: bool) -> None:
    """Each is said plainly, with what to do; only one cures itself."""
    (finding,) = state_findings(environment(state))
    assert finding.text == f"the environment is in state {state}"
    assert said in finding.remedy
    assert finding.retryable is retryable


def test_states_that_take_an_update() -> None:
    """UPDATING ends by itself: it is waited for."""
    assert state_findings(environment("RUNNING")) == state_findings(environment("UPDATING")) == []


@pytest.mark.parametrize(
    ("requirement", "findings"),
    [
        ("apache-airflow==2.10.5", 1),
        ("Apache_Airflow>=3", 1),
        ("apache-airflow[google]", 0),
        ("apache-airflow==2.11.1", 0),
        ("apache-airflow-providers-google==1", 0),
    ],
)
def test_composer_keeps_its_airflow(requirement: str, findings: int) -> None:
    """Another version of Airflow is an upgrade of the image, not a package."""
    found = requirement_findings(environment(), parse_requirements(requirement))
    assert len(found) == findings
    assert all("installs its own build of Airflow, here 2.11.1" in finding.text for finding in found)


@pytest.mark.parametrize(
    ("versions", "target"),
    [
        ({IMAGE: ("3.11",)}, Target("3.11")),
        ({IMAGE: ("3.11.8",)}, Target("3.11.8")),
        ({IMAGE: ("3",)}, None),
        ({IMAGE: ("2", "3.8")}, Target("3.8")),
        ({IMAGE: ("3.8", "3.11")}, None),
        ({IMAGE: ()}, None),
        ({"composer-3-airflow-3.3.1-build.0": ("3.11",)}, None),
    ],
)
def test_the_python_of_an_image(versions: dict[str, tuple[str, ...]], target: Target | None) -> None:
    """Known when Composer says it to the minor version, else not guessed."""
    assert python_of(versions, IMAGE) == target


def test_all_findings_are_in_one_error() -> None:
    """With their remedies, the names by which they can be skipped, and as data for a task downstream."""
    error = PreflightError(str(NAME), [Finding("index", "a is gone", "publish it"), Finding("access", "b", "grant it")])
    text = str(error)
    assert "  - index: a is gone\n    next: publish it\n  - access: b\n    next: grant it" in text
    assert "skip_checks=['index', 'access']" in text
    assert not error.retryable
    assert error.as_result()["findings"] == [
        {"check": "index", "text": "a is gone", "remedy": "publish it"},
        {"check": "access", "text": "b", "remedy": "grant it"},
    ]
    assert PreflightError(str(NAME), [Finding("state", "CREATING", "wait", retryable=True)]).retryable


OURS = "https://europe-west1-python.pkg.dev/acme-packages/python/simple/"


@pytest.mark.parametrize(
    ("pip_conf", "repositories", "foreign", "hidden"),
    [
        ("", 0, ["pypi.org"], False),
        (f"[global]\nindex-url = {OURS}\n", 1, [], False),
        (f"[global]\nextra-index-url = {OURS}\n", 1, ["pypi.org"], False),
        (f"[global]\nindex_url = https://user:pass@{OURS.removeprefix('https://')}\n", 1, [], False),
        (f"[global]\nindex-url = {OURS}\n[install]\nindex-url = https://pypi.example.com/simple\n", 0, 1, False),
        (f"[global]\nindex-url = {OURS}\nno-index = yes\n", 0, [], True),
        (f"[global]\nindex-url = {OURS}\nextra-index-url = {OURS}\n  https://a.b/c\n", 1, ["a.b"], False),
    ],
)
def test_what_pip_conf_names(pip_conf: str, repositories: int, foreign: object, hidden: bool) -> None:
    """Repositories of ours, hosts of others; `[install]` overrides `[global]`, credentials are no part of a name."""
    found = Indexes.from_settings(read_as_pip(pip_conf))
    assert [str(name) for name in found.repositories] == [
        "projects/acme-packages/locations/europe-west1/repositories/python"
    ] * repositories
    assert (list(found.foreign) if isinstance(foreign, list) else len(found.foreign)) == foreign
    assert found.hidden is hidden
    assert [found.signs_in(name) for name in found.repositories] == ["user:pass" in pip_conf] * repositories


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://us-python.pkg.dev/example.com/packages/python/simple", "projects/example.com:packages/"),
        ("https://us-python.pkg.dev/acme-packages/python/", None),
        ("https://us-docker.pkg.dev/acme-packages/python/simple/", None),
        ("https://us-python.pkg.dev.evil.example/acme-packages/python/simple/", None),
        ("not a url", None),
    ],
)
def test_index_urls_of_repositories(url: str, name: str | None) -> None:
    """Only Google's host, only the simple index."""
    found = repository_of(url)
    assert str(found).startswith(name) if name else found is None


METADATA = """Metadata-Version: 2.1
Name: acme-demo
Requires-Dist: acme-core (>=1.0)
Requires-Dist: acme-win; sys_platform == "win32"
Requires-Dist: Acme.Geo[fast]==2.0 ; extra == "geo"
Requires-Dist: acme-old ; python_version < "3.9"
Requires-Dist: acme-url @ https://example.com/a.whl
Requires-Dist: !!

Requires-Dist: not-a-header
"""


def test_what_a_wheel_requires() -> None:
    """On the environment's Python, with the extras that are asked for."""
    requires = requires_of(METADATA)
    assert len(requires) == 6
    assert [str(r) for r in needed(requires, (), Target("3.11"))] == ["acme-core>=1.0"]
    assert [str(r) for r in needed(requires, ("geo",), Target("3.11"))] == ["acme-core>=1.0", "acme-geo[fast]==2.0"]
    assert [r.name for r in needed(requires, (), None)] == ["acme-core", "acme-win", "acme-old"]
