"""A fleet: who is in it, as whom, with which packages, and when nothing may be begun."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Fleet, Identity, Member, Stage
from airflow_gar_provider.core.fleet_file import read_fleet, schema
from airflow_gar_provider.core.freeze import Freeze, frozen
from airflow_gar_provider.errors import GarProviderError, InvalidFleetError, InvalidInputError

HOME = "projects/acme-data/locations/europe-west1/environments"
FLEET = f"""
state: gs://acme-data-gar/rollouts/
impersonation_chain: roller@acme-data.iam.gserviceaccount.com
packages:
  - mypythonlib==1.10
  - acme-log>=2
stages:
  - name: dev
    environments: [{HOME}/dev]
    max_parallel: 3
  - name: prod
    impersonation_chain: [first@acme.iam.gserviceaccount.com, prod@acme.iam.gserviceaccount.com]
    packages: [mypythonlib==1.9]
    absent: [old-lib]
    soak: 600
    max_dag_failure_rate: 0.2
    environments:
      - name: {HOME}/prod
        gcp_conn_id: prod
        packages: [mypythonlib==1.8]
      - name: {HOME}/frozen
        hold: it is being migrated
    find:
      - projects: [acme-data, acme-more]
        locations: [europe-west1]
        labels: {{stage: prod}}
freeze:
  - from: 2026-12-20
    to: 2027-01-04T06:00+01:00
    reason: holidays
    timezone: Europe/Berlin
  - days: [fri]
    from: "18:00"
    to: "24:00"
    reason: weekend
    stages: [prod]
holds:
  - environment: {HOME}/prod
    packages: [Acme.Log]
    reason: 2.1 breaks the audit
"""


def name(text: str) -> EnvironmentName:
    return EnvironmentName.parse(f"{HOME}/{text}")


def test_a_file_becomes_a_fleet() -> None:
    """What the file says of stages, identities, packages, freezes and holds is what the fleet has."""
    fleet = read_fleet(FLEET, "fleet.yaml")
    assert fleet.state == "gs://acme-data-gar/rollouts"
    assert fleet.stop_switch == "gs://acme-data-gar/rollouts/STOP"
    dev, prod = fleet.stages
    assert (dev.max_parallel, dev.max_failures, dev.soak) == (3, 0, 0)
    assert (prod.soak, prod.max_dag_failure_rate) == (600, 0.2)
    assert [str(requirement) for requirement in fleet.packages.wanted] == ["mypythonlib==1.10", "acme-log>=2"]
    assert fleet.held(name("prod"), "acme-log") == "2.1 breaks the audit"
    assert fleet.held(name("prod"), "mypythonlib") is None


def test_targets_inherit_and_are_found_once() -> None:
    """An environment takes the innermost word; one that is found too is in the stage that names it."""
    fleet = read_fleet(FLEET, "fleet.yaml")
    roller = Identity(None, ("roller@acme-data.iam.gserviceaccount.com",))
    prod = Identity(None, ("first@acme.iam.gserviceaccount.com", "prod@acme.iam.gserviceaccount.com"))
    found = EnvironmentName.parse("projects/acme-more/locations/europe-west1/environments/other")
    seen = {
        roller: [(name("stray"), {"stage": "prod"})],
        prod: [(name("dev"), {"stage": "prod"}), (found, {"stage": "prod", "x": "y"}), (name("test"), {"stage": "t"})],
    }
    placements = fleet.placements(seen)
    told = [
        (placement.name.name, placement.stage, placement.identity.gcp_conn_id, placement.hold)
        for placement in placements
    ]
    assert told == [
        ("dev", "dev", None, None),
        ("prod", "prod", "prod", None),
        ("frozen", "prod", None, "it is being migrated"),
        ("other", "prod", None, None),
    ]
    assert [placement.identity.impersonation_chain for placement in placements] == [
        roller.impersonation_chain,
        prod.impersonation_chain,
        prod.impersonation_chain,
        prod.impersonation_chain,
    ]
    wanted = {t.name.name: [str(r) for r in t.packages.wanted] for t in placements}
    assert wanted["dev"] == ["mypythonlib==1.10", "acme-log>=2"]
    assert wanted["prod"] == ["acme-log>=2", "mypythonlib==1.8"]
    assert wanted["other"] == ["acme-log>=2", "mypythonlib==1.9"]
    assert placements[1].packages.absent == ("old-lib",)


def test_lists_are_grouped_by_identity() -> None:
    """Every location is listed once for each identity that has environments there."""
    lists = read_fleet(FLEET, "fleet.yaml").lists()
    told = {
        (identity.gcp_conn_id, (identity.impersonation_chain or ("",))[-1].split("@")[0]): parents
        for identity, parents in lists.items()
    }
    home = "projects/acme-data/locations/europe-west1"
    assert told == {
        (None, "roller"): (home,),
        (None, "prod"): (home, "projects/acme-more/locations/europe-west1"),
        ("prod", "prod"): (home,),
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("state: gs://acme-data-gar/rollouts/", "state: acme", "line 2: state: 'acme' does not match"),
        ("max_parallel: 3", "max_parallel: 0", "line 10: stages.0.max_parallel: 0 is less than the minimum of 1"),
        ("soak: 600", "soak: 10m", "line 15: stages.1.soak: '10m' is not of type 'number'"),
        ("soak: 600", "sock: 600", "line 11: stages.1: Additional properties are not allowed ('sock' was unexpected)"),
        ("name: dev", "name: prod", "two stages are named prod"),
        ("mypythonlib==1.9]", "mypythonlib==1.9; python_version>'3']", "line 13: "),
        ("Europe/Berlin", "Europe/Nowhere", "line 28: 'Europe/Nowhere' is not the name of a time zone"),
        ("2026-12-20", "2028-12-20", "the freeze ends (2027-01-04T06:00+01:00) before it begins (2028-12-20)"),
        ('"18:00"', '"six"', "line 32: 'six' is no time of day"),
        ("stages: [prod]", "stages: [canary]", "for a stage 'canary', which the fleet does not have"),
        (f"environments: [{HOME}/dev]", f"environments: [{HOME}/Dev]", "line 9: "),
        (f"environments: [{HOME}/dev]", f"environments: [{HOME}/prod]", "/prod is in stage dev and again in prod"),
        ("max_parallel: 3", "max_parallel: 3\n    max_parallel: 4", "line 11: 'max_parallel' is there twice"),
        ("holds:", "holds: [", "this is no YAML"),
    ],
)
def test_a_wrong_file_is_told_by_its_line(old: str, new: str, message: str) -> None:
    """What is wrong is said with the line of the file."""
    assert old in FLEET
    with pytest.raises(InvalidFleetError) as caught:
        read_fleet(FLEET.replace(old, new, 1), "fleet.yaml")
    assert message in str(caught.value)
    assert "fleet.yaml" in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    """Two faults in two stages are two lines of one error."""
    text = FLEET.replace("mypythonlib==1.9", "my lib").replace(f"[{HOME}/dev]", f"[{HOME}/Dev]")
    with pytest.raises(InvalidFleetError) as caught:
        read_fleet(text, "fleet.yaml")
    assert len(caught.value.problems) == 2


def test_an_empty_file_is_told() -> None:
    """No document at all has a message of its own."""
    with pytest.raises(InvalidFleetError, match="the file is empty"):
        read_fleet("# nothing\n", "fleet.yaml")


def test_the_schema_is_a_schema() -> None:
    """What is shipped is a valid JSON schema, and says what each thing is for."""
    jsonschema.Draft7Validator.check_schema(schema())
    assert "STOP" in json.dumps(schema())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["state", "stages", "name", "find", "environments", "freeze", "x"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_any_value_is_a_fleet_or_a_typed_error(value: object) -> None:
    """Whatever a file holds, nothing but our own error comes of it."""
    try:
        read_fleet(json.dumps(value), "fleet.yaml")
    except GarProviderError as error:
        assert "fleet.yaml" in str(error)


@given(st.text(max_size=200))
def test_any_text_is_a_fleet_or_a_typed_error(text: str) -> None:
    """The same for text that is no YAML."""
    try:
        read_fleet(text, "fleet.yaml")
    except GarProviderError as error:
        assert "fleet.yaml" in str(error)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("now", "stage", "reason"),
    [
        ("2026-12-19T22:59:59+00:00", "dev", None),
        ("2026-12-19T23:00:00+00:00", "dev", "holidays"),  # midnight in Berlin
        ("2027-01-04T04:59:59+00:00", "dev", "holidays"),
        ("2027-01-04T05:00:00+00:00", "dev", None),
        ("2026-11-20T18:00:00+00:00", "prod", "weekend"),
        ("2026-11-20T18:00:00+00:00", "dev", None),
        ("2026-11-20T23:59:00+00:00", "prod", "weekend"),
        ("2026-11-21T00:00:00+00:00", "prod", None),
        ("2026-11-19T19:00:00+00:00", "prod", None),
    ],
)
def test_freezes_cover_their_time(now: str, stage: str, reason: str | None) -> None:
    """The beginning is frozen, the end is not; a weekly window may end on the next day."""
    found = frozen(read_fleet(FLEET, "fleet.yaml").freezes, moment(now), stage)
    assert (found.reason if found else None) == reason


def test_a_night_goes_over_midnight() -> None:
    """A weekly window whose end is not after its beginning ends on the next day, in its own time zone."""
    night = Freeze.parse("22:00", "06:00", "night", days=("sun",), timezone="America/New_York")
    assert night.covers(datetime(2026, 11, 23, 10, 59, tzinfo=timezone.utc), "any")  # Monday 05:59 there
    assert not night.covers(datetime(2026, 11, 23, 11, 0, tzinfo=timezone.utc), "any")
    assert not night.covers(datetime(2026, 11, 24, 4, 0, tzinfo=timezone.utc), "any")  # Monday 23:00 there


def test_a_fleet_made_in_python_is_checked_too() -> None:
    """The same rules hold without a file."""
    with pytest.raises(InvalidInputError, match="max_parallel is at least 1"):
        Fleet("gs://b/p", (Stage("dev", (Member(name("dev")),), max_parallel=0),))
    with pytest.raises(InvalidInputError, match="it has no stage"):
        Fleet("gs://b/p", ())
    with pytest.raises(InvalidInputError, match="names no environment and looks for none"):
        Fleet("gs://b/p", (Stage("dev"),))
