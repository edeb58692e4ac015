"""Names, states and patches of environments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from airflow_gar_provider.core.environment import Environment, EnvironmentName, plan_patch
from airflow_gar_provider.core.repository import RepositoryName, member_of, role_of
from airflow_gar_provider.core.requirement import Requirement, parse_requirements
from airflow_gar_provider.errors import EnvironmentNotReadyError, InvalidInputError, InvalidNameError

NAME = "projects/acme-data/locations/europe-west1/environments/dev"


def environment(state: str = "RUNNING", bucket: str = "b") -> Environment:
    return Environment(
        EnvironmentName.parse(NAME), state, bucket, "sa@x", "https://a", "composer-3-airflow-3.3.1-build.0"
    )


def test_names_round_trip() -> None:
    """A name is parsed into its parts and written as it was."""
    assert str(EnvironmentName.parse(NAME)) == NAME
    repository = RepositoryName.parse("projects/example.com:packages/locations/us/repositories/python")
    assert repository.index_url == "https://us-python.pkg.dev/example.com/packages/python/simple/"
    assert repository.upload_url == "https://us-python.pkg.dev/example.com/packages/python/"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dev",
        "projects/acme-data/locations/europe-west1/environments/",
        "projects/acme-data/locations/europe-west1/environments/Dev",
        "projects/acme-data/locations/europe-west1/environments/dev/x",
        "projects/acme-data/locations/../environments/dev",
        "projects/acme-data/locations/europe-west1/repositories/dev",
        NAME + "\n",
        None,
    ],
)
def test_malformed_names(text: str) -> None:
    """A malformed name is refused before any call, with the form that is expected."""
    with pytest.raises(InvalidNameError, match="is not the name of a Composer environment") as caught:
        EnvironmentName.parse(text)
    assert "projects/PROJECT/locations/LOCATION/environments/ENVIRONMENT" in str(caught.value)
    with pytest.raises(InvalidNameError, match="is not the name of a repository"):
        RepositoryName.parse(text.replace("repositories", "environments") if text else text)


@pytest.mark.parametrize(
    ("state", "remedy", "retryable"),
    [
        ("CREATING", "wait until it has been created", True),
        ("HIBERNATED", "resume it first", False),
        ("DELETING", "take it out of the rollout", False),
        ("ERROR", "recreate the environment", False),
        ("STATE_UNSPECIFIED", "look at the environment's page", False),
    ],
)
def test_states_that_refuse_an_update(state: str, remedy: str, retryable: bool) -> None:
    """Each state says plainly what to do, and whether waiting can help."""
    with pytest.raises(EnvironmentNotReadyError, match=remedy) as caught:
        environment(state).require_updatable()
    assert caught.value.retryable is retryable
    assert NAME in str(caught.value)


def test_states_that_take_one() -> None:
    """RUNNING can be updated; UPDATING will be RUNNING again."""
    environment("RUNNING").require_updatable()
    environment("UPDATING").require_updatable()


def test_bucket_and_version() -> None:
    """What is read off an environment."""
    assert environment().require_bucket() == "b"
    assert environment().airflow_version == "3.3.1"
    with pytest.raises(EnvironmentNotReadyError, match="has no bucket"):
        environment(bucket="").require_bucket()


@pytest.mark.parametrize(
    ("actual", "wanted", "absent", "set_", "remove"),
    [
        ({}, "a==1", "", {"a": "==1"}, ()),
        ({"a": "==1"}, "a==1", "", {}, ()),
        ({"a": "== 1"}, "a==1", "", {}, ()),
        ({"a": "==1", "other": "==9"}, "a==2", "", {"a": "==2"}, ()),
        ({"My_Pkg": "==1"}, "my-pkg==1", "", {}, ()),
        ({"My_Pkg": "==1"}, "my-pkg==2", "", {"my-pkg": "==2"}, ("My_Pkg",)),
        ({"My_Pkg": "==1", "my-pkg": "==2"}, "my-pkg==2", "", {}, ("My_Pkg",)),
        ({"ruamel.yaml": "==1"}, "", "ruamel-yaml", {}, ("ruamel.yaml",)),
        ({}, "", "gone", {}, ()),
    ],
)
def test_plan_patch(
    actual: dict[str, str], wanted: str, absent: str, set_: dict[str, str], remove: tuple[str, ...]
) -> None:
    """The least change: nothing for what is there, other packages untouched, aliases by their exact spelling."""
    patch = plan_patch(actual, parse_requirements(wanted), [absent] if absent else [])
    assert (patch.set, patch.remove) == (set_, remove)
    assert bool(patch) is bool(set_ or remove)
    assert patch.mask == tuple(f"config.software_config.pypi_packages.{key}" for key in sorted({*set_, *remove}))


def test_wanted_and_absent() -> None:
    """A contradiction is an error."""
    with pytest.raises(InvalidInputError, match="a: wanted and listed under `absent`"):
        plan_patch({}, [Requirement.parse("a")], ["a"])


NAMES = st.sampled_from(["a", "My_Pkg", "my-pkg", "my.pkg", "b", "ruamel.yaml", "ruamel-yaml"])
MAPS = st.dictionaries(NAMES, st.sampled_from(["", "==1", "==2", "[x]>=1"]), max_size=5)


@given(MAPS, MAPS)
def test_a_patch_is_enough_and_never_too_much(actual: dict[str, str], wish: dict[str, str]) -> None:
    """Applied, nothing is left to change; and what was not named is as it was."""
    wanted = list({Requirement.parse(k + v).name: Requirement.parse(k + v) for k, v in wish.items()}.values())
    patch = plan_patch(actual, wanted)
    after = {key: value for key, value in actual.items() if key not in patch.remove} | dict(patch.set)
    assert not plan_patch(after, wanted)
    named = {requirement.name for requirement in wanted}
    assert {k: v for k, v in after.items() if canonicalize_name(k) not in named} == {
        k: v for k, v in actual.items() if canonicalize_name(k) not in named
    }


def test_members_and_roles() -> None:
    """Members as IAM writes them; nobody makes a private repository public by accident."""
    assert member_of("dev@acme.iam.gserviceaccount.com") == "serviceAccount:dev@acme.iam.gserviceaccount.com"
    assert member_of("group:data@example.com") == "group:data@example.com"
    for public in ("allUsers", "allAuthenticatedUsers", "someone@example.com"):
        with pytest.raises(InvalidInputError, match="is not an IAM member"):
            member_of(public)
    assert role_of("reader") == "roles/artifactregistry.reader"
    with pytest.raises(InvalidInputError, match="role is one of reader, writer"):
        role_of("owner")
