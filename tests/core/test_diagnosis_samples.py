"""What pip really printed in builds that were made to fail: recorded by tests/steps/test_explain.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_gar_provider.core.diagnosis import Cause, RegistryView, build_of, diagnose, is_package_failure, missing_in
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.pip_verdict import sides_of
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements

SAMPLES = {
    path.stem: json.loads(path.read_text()) for path in (Path(__file__).parents[1] / "samples/build_logs").iterdir()
}
CONSOLE = "https://console.cloud.google.com/cloud-build/builds"
ENVIRONMENT = EnvironmentName.parse("projects/acme-data/locations/europe-west1/environments/dev")
REPOSITORY = RepositoryName.parse("projects/acme-packages/locations/europe-west1/repositories/python")

# What the registry says in the cases that pip's words alone do not tell apart: versions, whether readable, misfit.
VIEWS: dict[str, tuple[str, tuple[str, ...], bool | None, str | None]] = {
    "no_access-acme-demo": ("acme-demo", ("1.0",), False, None),
    "not_published-nobody": ("nobody", (), True, None),
    "wrong_python-acme-new": ("acme-new", ("1.0",), True, "acme_new-1.0-py3-none-any.whl needs Python >=3.99"),
    "wrong_platform-acme-win": ("acme-win", ("1.0",), True, "acme_win-1.0-cp311-cp311-win_amd64.whl does not run"),
    "wrong_platform-acme-app": ("acme-win", ("1.0",), None, "acme_win-1.0-cp311-cp311-win_amd64.whl does not run"),
}
ALONE = dict.fromkeys(VIEWS, "not_in_index") | {"wrong_python-acme-new": "wrong_python"}


def explain(name: str, views: list[RegistryView], *, log: bool = True) -> tuple[Cause, str, tuple[str, ...]]:
    sample = SAMPLES[name]
    found = diagnose(
        sample["message"],
        sample["log"] if log else [],
        environment=ENVIRONMENT,
        service_account="dev@acme-data.iam.gserviceaccount.com",
        wanted=parse_requirements(sample["requirements"]),
        views=views,
    )
    assert found.remedy
    return found.cause, found.summary, found.evidence


def views_of(name: str) -> list[RegistryView]:
    if name not in VIEWS:
        return []
    package, versions, reader, misfit = VIEWS[name]
    needs_python = bool(misfit and "needs Python" in misfit)
    return [RegistryView(REPOSITORY, package, versions, reader, misfit=misfit, needs_python=needs_python)]


def test_there_is_a_sample_of_every_cause() -> None:
    """Except the two that pip cannot be made to print: a network that breaks, and what nobody has seen."""
    assert {sample["cause"] for sample in SAMPLES.values()} == {cause.value for cause in Cause} - {
        "infrastructure",
        "not_in_index",
        "unknown",
    }


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_with_the_registry_every_cause_is_named(name: str) -> None:
    """As it was when the build was made to fail."""
    cause, summary, evidence = explain(name, views_of(name))
    assert cause.value == SAMPLES[name]["cause"]
    assert summary
    assert evidence
    assert is_package_failure(SAMPLES[name]["message"])


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_log_alone_names_what_it_can(name: str) -> None:
    """pip's words are the same for no access, not there, and no file that fits: then all are named, none is guessed."""
    cause, _, _ = explain(name, [])
    assert cause.value == ALONE.get(name, SAMPLES[name]["cause"])


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"wrong_credentials-acme-demo", "source_build-acme-src"}))
def test_the_operations_message_has_to_do_without_a_log(name: str) -> None:
    """Google's error carries pip's first error line: without the right to read logs the cause is still known."""
    cause, _, _ = explain(name, views_of(name), log=False)
    assert cause.value == SAMPLES[name]["cause"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("conflict-acme-a", "acme-a 1.0 depends on acme-core==1.0; acme-b 1.0 depends on acme-core==2.0"),
        ("conflict-readme-renderer", "but the update would leave readme-renderer 0.1"),
        ("source_build-acme-src", "acme-src has no wheel that fits, and building it from source failed"),
        ("timeout-acme-pigeon", "pip tried version after version"),
    ],
)
def test_summaries_name_what_matters(name: str, said: str) -> None:
    """Both sides, the package, the reason."""
    assert said in explain(name, [])[1]


def test_no_password_in_the_evidence() -> None:
    """pip prints the line of a broken pip.conf as it is."""
    assert "hunter2" in "".join(SAMPLES["pip_conf-acme-demo"]["log"])
    assert "hunter2" not in "".join(explain("pip_conf-acme-demo", [])[2])


def test_what_is_missing_may_be_a_dependency() -> None:
    """The look at the registry is for what pip did not find, not for what was asked."""
    sample = SAMPLES["wrong_platform-acme-app"]
    assert str(missing_in(sample["message"], sample["log"])) == "acme-win>=1"
    assert missing_in("nothing", ["of the kind"]) is None


def test_sides_of_a_conflict() -> None:
    """In pip's own words, once each."""
    assert sides_of(SAMPLES["conflict-acme-a"]["log"]) == (
        "acme-a 1.0 depends on acme-core==1.0",
        "acme-b 1.0 depends on acme-core==2.0",
    )


@pytest.mark.parametrize(
    ("message", "build"),
    [
        (
            f"Check the Cloud Build log at {CONSOLE}/0a1b2c3d-0000-1111-2222-333344445555?project=123456789012 for …",
            ("123456789012", None, "0a1b2c3d-0000-1111-2222-333344445555"),
        ),
        (
            f"{CONSOLE};region=europe-west1/0a1b2c3d?project=acme-data.",
            ("acme-data", "europe-west1", "0a1b2c3d"),
        ),
        (SAMPLES["no_access-acme-demo"]["message"], None),
    ],
)
def test_the_build_that_a_message_links_to(message: str, build: tuple[str, str | None, str] | None) -> None:
    """Composer 2's message has one; Composer 3's leads to the environment's own log."""
    assert build_of(message) == build
