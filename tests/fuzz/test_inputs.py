"""What people give: names, requirements, forms, fleet files; and what we keep ourselves. Taken, or a typed error."""

# ruff: noqa: E501 -- tables of odd things, which are easier to read in long lines

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from airflow_gar_provider import assets
from airflow_gar_provider.core.allowed import Allowed
from airflow_gar_provider.core.environment import EnvironmentName, plan_patch, plan_restore
from airflow_gar_provider.core.fleet import Fleet
from airflow_gar_provider.core.fleet_file import read_fleet
from airflow_gar_provider.core.freeze import Freeze, frozen
from airflow_gar_provider.core.indexes import Indexes, repository_of
from airflow_gar_provider.core.operation import OperationName
from airflow_gar_provider.core.pip_conf import FORMS, cautions, decode, difference, keys_in, point, read_as_pip
from airflow_gar_provider.core.plan import Plan
from airflow_gar_provider.core.prune import KeepRules, Stored, decide
from airflow_gar_provider.core.publishable import Rules
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.repository_settings import duration_from, settings_from
from airflow_gar_provider.core.requirement import Requirement, parse_names, parse_requirements, split_list
from airflow_gar_provider.core.rollout import Verdict
from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.core.watch import Watch
from airflow_gar_provider.errors import GarProviderError, InvalidFleetError, InvalidInputError, InvalidNameError
from tests.fuzz.fleet_texts import FLEETS
from tests.fuzz.strategies import (
    ALMOST_A_NAME,
    FUZZ,
    JSON,
    LOCATIONS,
    PACKAGE,
    PROJECTS,
    REPOSITORIES,
    TEXT,
    VERSION,
)

NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)
REPOSITORY = RepositoryName.parse("projects/acme-packages/locations/europe-west1/repositories/python")
NAMES = (RepositoryName, EnvironmentName, OperationName)
NUMBERS = st.sampled_from(
    ["1", "0", "-1", "1e3", "1e308", "1e999", "nan", "inf", "", " 1", "1_0", "٣", "9" * 400, "9" * 5000, "1d", "2w1d", "9" * 40 + "w"]
) | st.one_of(st.integers(), st.floats(), TEXT, st.none(), st.booleans())  # fmt: skip


@FUZZ
@given(PROJECTS, LOCATIONS, REPOSITORIES)
def test_names_round_trip(project: str, location: str, name: str) -> None:
    """A name of the documented form is read, written, and found again in what is made of it."""
    repository = RepositoryName.parse(f"projects/{project}/locations/{location}/repositories/{name}")
    assert RepositoryName.parse(str(repository)) == repository
    assert repository_of(repository.index_url) == repository
    assert repository_of(f"https://u:p@{repository.index_url.removeprefix('https://')}") == repository
    environment = EnvironmentName.parse(f"projects/{project}/locations/{location}/environments/{name}")
    assert str(environment) == f"{repository.parent}/environments/{name}"
    uri = assets.package_uri(str(repository), "Acme.Utils")
    clean = assets.sanitize_uri(urlsplit(uri))
    assert assets.sanitize_uri(clean) == clean
    assert clean.path == f"/{location}/{name}/acme-utils"


@FUZZ
@given(ALMOST_A_NAME)
@example("//[a](b)")
@example("https://[x")
def test_what_is_no_name(text: str) -> None:
    """Anything else is a typed error that says the form; an asset's URI a ValueError, as Airflow asks."""
    for kind in NAMES:
        try:
            assert str(kind.parse(text)) == text
        except InvalidNameError as error:
            assert error.remedy
    repository_of(text)
    for uri in (text, f"gar://{text}"):
        with contextlib.suppress(ValueError):
            assets.sanitize_uri(urlsplit(uri))
    with contextlib.suppress(ValueError):
        assets.package_uri(text, text)


KEYS = st.builds(
    lambda name, odd: name.upper() if odd else name, PACKAGE | st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,9}", fullmatch=True), st.booleans()
)  # fmt: skip
VALUES = st.sampled_from(
    ["", "==1.0", "==1", ">=1,<2", "[geo]==1.0", "[Geo,x]>=1", "~=1.0", "===weird", "garbage", "==1.*"]
)
MAPS = st.dictionaries(KEYS, VALUES, max_size=6)
WANTED = st.lists(st.tuples(PACKAGE, st.sampled_from(["", "==1.0", ">=1", "[geo]==1.0", "[x]"])), max_size=5).map(
    lambda pairs: list({canonicalize_name(name): Requirement.parse(name + value) for name, value in pairs}.values())
)


def applied(actual: dict[str, str], patch: Any) -> dict[str, str]:
    """As Composer applies it."""
    return {key: value for key, value in actual.items() if key not in patch.remove} | dict(patch.set)


@FUZZ
@given(MAPS, WANTED, st.lists(PACKAGE, max_size=3))
def test_patches(actual: dict[str, str], wanted: list[Requirement], gone: list[str]) -> None:
    """Applied: what was wanted, nothing of what was to go, all else untouched; undone: as it was; again: nothing."""
    absent = [name for name in map(canonicalize_name, gone) if name not in {one.name for one in wanted}]
    owned = {*(requirement.name for requirement in wanted), *absent}
    patch = plan_patch(actual, wanted, absent)
    after = applied(actual, patch)
    for requirement in wanted:
        [value] = [value for key, value in after.items() if canonicalize_name(key) == requirement.name]
        assert requirement.same_as(value)
    assert not [key for key in after if canonicalize_name(key) in absent]
    assert {k: v for k, v in after.items() if canonicalize_name(k) not in owned} == {
        k: v for k, v in actual.items() if canonicalize_name(k) not in owned
    }
    assert {canonicalize_name(key) for key in {*patch.set, *patch.remove}} <= owned
    assert not set(patch.set) & set(patch.remove)
    assert not plan_patch(after, wanted, absent)
    assert applied(after, plan_restore(after, actual, owned)) == actual


@FUZZ
@given(
    st.one_of(
        TEXT,
        st.builds(lambda a, b: a + b, PACKAGE, VALUES),
        st.builds("{0}[{1}]=={2} ; {1} @ {0}".format, PACKAGE, TEXT, VERSION),
        JSON,
    )
)
@example("\n0")
def test_lists_of_requirements(value: object) -> None:
    """Whatever is typed into a form, or comes of a template."""
    for parse in (split_list, parse_requirements, parse_names, lambda text: Watch.of(str(text), min_age=text)):
        with contextlib.suppress(GarProviderError):
            parse(value)


@FUZZ
@given(NUMBERS, NUMBERS, st.one_of(TEXT, st.sampled_from(["/(/", "/a*/", "==1.*", "a>=1", "/[/", "//"])))
@example("9" * 400, None, "")
@example("9" * 5000, None, "")
@example("1", "9" * 30, "")
@example("1e999", "inf", "/x/")
@example("nan", "nan", "")
def test_numbers_and_rules(one: object, other: object, text: str) -> None:
    """Every number and every rule of an operator."""
    versions = [Stored("a", version, NOW - timedelta(days=n), 1) for n, version in enumerate(("1.0", "1.1", "latest"))]
    for read in (
        lambda: decide(versions, KeepRules.of(last=one, newer_than_days=other, matching=text), {}, NOW),
        lambda: Rules.read(max_size_mb=one, target_python=text, allowed_prefixes=text),
        lambda: Watch.of("a", min_age=one),  # type: ignore[arg-type]
        lambda: duration_from(one),
        lambda: Allowed.read(sources=text, prefixes=text).problems(sources=[text], packages=[text]),
    ):
        with contextlib.suppress(GarProviderError):
            read()


@FUZZ
@given(st.sampled_from(["standard", "remote", "virtual", "x"]), JSON | TEXT, JSON | TEXT, JSON | TEXT, st.booleans())
def test_settings_of_a_repository(
    mode: str, upstreams: object, labels: object, policies: object, as_text: bool
) -> None:
    """Maps, lists, JSON text, and what is none of them."""
    given_ = [json.dumps(value) if as_text else value for value in (upstreams, labels, policies)]
    with contextlib.suppress(GarProviderError):
        settings_from(
            REPOSITORY,
            mode=mode,
            upstreams=given_[0],
            labels=given_[1],
            cleanup_policies=given_[2],
            cleanup_dry_run=labels,
        )


TIMES = st.sampled_from(
    [
        "2026-12-20", "2026-12-20T18:00+01:00", "0001-01-01", "0001-01-01T00:00+23:59", "9999-12-31", "9999-12-31T23:59:59-23:59",
        "18:00", "24:00", "18:00+01:00", "T18", "20261220", "2026-W01-1", "2026-12-20T18:00:00.123456789Z", "2026-12-20Z", "",
    ]
) | TEXT  # fmt: skip


@FUZZ
@given(
    TIMES,
    TIMES,
    st.lists(st.sampled_from(["mon", "Mon", "sun", "x"]), max_size=2),
    st.sampled_from(["UTC", "Europe/Berlin", "..", "/etc/passwd", "x\0", "", "Europe"]) | TEXT,
)
@example("18:00", "18:00+01:00", ["mon"], "UTC")
def test_freezes(begin: str, end: str, days: list[str], zone: str) -> None:
    """A window is one that can be looked at at any time, and kept and read again; or an error."""
    try:
        freeze = Freeze.parse(begin, end, "x", days=tuple(days), timezone=zone)
    except InvalidInputError:
        return
    assert Freeze.from_json(json.loads(json.dumps(freeze.to_json()))) == freeze
    for now in (NOW, datetime(2, 1, 1, tzinfo=timezone.utc), datetime(9998, 12, 31, tzinfo=timezone.utc)):
        frozen((freeze,), now, "dev")


@FUZZ
@given(FLEETS)
@example("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n")
@example("&a [*a]")
@example("!!timestamp z")
@example("[" * 3000)
@example("- " * 3000)
@example("state: " + "9" * 5000)
@example("stages: 2026-12-20\nstate: !!timestamp 2026-13-45\n")
def test_fleet_files(text: str) -> None:
    """Any YAML is a fleet, or an error with the lines at fault."""
    try:
        fleet = read_fleet(text, "fleet.yaml")
    except InvalidFleetError as error:
        assert error.problems
        assert "fleet.yaml" in str(error)
        assert len(str(error)) < 50_000
        return
    assert isinstance(fleet, Fleet)
    assert fleet.stages


def _bomb(depth: int) -> str:
    """Anchors of anchors: 10 to the power of `depth` values in a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth)]
    return "\n".join([*lines, f"state: *a{depth - 1}"])


@pytest.mark.parametrize("depth", [3, 6, 9])
def test_a_fleet_file_that_unfolds(depth: int) -> None:
    """A billion values made of ten lines are refused, at once."""
    with pytest.raises(InvalidFleetError, match="alias" if depth > 4 else "a0"):
        read_fleet(_bomb(depth), "fleet.yaml")


@FUZZ
@given(JSON, st.sampled_from(["", "[" * 3000, "{}", "null", '{"format": 1}', "\ud800"]) | TEXT)
@example([], "[" * 3000)
def test_what_we_keep(value: object, text: str) -> None:
    """A plan, a verdict or a window in a bucket that somebody wrote over is a typed error."""
    for read in (
        lambda: Plan.loads(json.dumps(value)),
        lambda: Plan.loads(text),
        lambda: Verdict.from_json(value),
        lambda: ServiceAccountKey.parse(json.dumps(value)),
        lambda: ServiceAccountKey.parse(text),
    ):
        with contextlib.suppress(GarProviderError):
            read()


LINES = st.lists(
    st.sampled_from(
        [
            "[global]", "[install]", "[DEFAULT]", "[", "[]", "]", "index-url = https://u:p@h/simple/", "index-url", "=", ": x",
            "extra_index_url=https://a https://b", "  https://c", "\thttps://d", "# index-url = x", ";x", "no-index: true", "timeout = 60",
            "index-url = https://_json_key_base64:QUJD@europe-west1-python.pkg.dev/acme-packages/python/simple/",
            "index-url = https://[x/simple", "index-url = //", "extra-index-url = https://h:99999/", "trusted-host = a", "%(x)s = %(y)s",
            "find-links = http://[", "index-url = https://europe-west1-python.pkg.dev/simple/simple/simple/",
        ]
    ) | TEXT,
    max_size=8,
)  # fmt: skip


@FUZZ
@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(FORMS), st.binary(max_size=3))
def test_pip_conf(lines: list[str], newline: str, form: str, more: bytes) -> None:
    """Any file: refused, or edited so that a second edit finds nothing to do (pip as the judge: tests/core)."""
    content = newline.join(lines).encode("utf-8", "surrogatepass") + more
    try:
        text = decode(content)
        settings = read_as_pip(text)
    except GarProviderError:
        return
    indexes = Indexes.from_settings(settings)
    indexes.foreign  # noqa: B018
    for repository in indexes.repositories:
        indexes.signs_in(repository)
    keys_in(text)
    cautions(text, form)
    try:
        after = point(text, REPOSITORY, form)
    except InvalidInputError:
        return
    assert point(after, REPOSITORY, form) == after
    assert ":p@" not in difference(text, after)
