"""Packages as assets: their URIs, and which events a publication gives."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_gar_provider import assets
from airflow_gar_provider.compat import Asset, AssetAlias

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
URI = "gar://acme-packages/europe-west1/python/my-lib"
START = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "uri",
    [
        URI,
        "gar://acme-packages/europe-west1/python/My__Lib/",
        "GAR://acme-packages/europe-west1/python/my.lib#1.0",
    ],
)
def test_airflow_normalises_uris(uri: str) -> None:
    """One package is one asset, however it is written: the provider's handler is asked."""
    assert Asset(uri).uri == URI


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gar://acme-packages/europe-west1/python", "it has fewer parts than that"),
        ("gar://acme-packages/europe-west1/python/a/1.0", "it has more parts than that"),
        ("gar://ACME/europe-west1/python/a", "'ACME' is not the id of a project"),
        ("gar://acme-packages/Europe/python/a", "'Europe' is not the name of a location"),
        (
            "gar://acme-packages/us/Python/-a",
            "'Python' is not the name of a repository; '-a' is not the name of a pack",
        ),
        ("gar://acme-packages/us/python/a?version=1", "it has a query"),
    ],
)
def test_uris_that_cannot_be(uri: str, message: str) -> None:
    """They say what is wrong, and the form that is expected."""
    with pytest.raises(ValueError, match="is not gar://PROJECT/LOCATION/REPOSITORY/PACKAGE") as caught:
        assets.sanitize_uri(urlsplit(uri))
    assert message in str(caught.value)


def test_a_domain_scoped_project() -> None:
    """Its colon stays."""
    assert Asset("gar://example.com:packages/us/python/a").uri == "gar://example.com:packages/us/python/a"


def test_repository_to_uri() -> None:
    """A repository's name and a package's become the URI; the factory makes the same."""
    assert assets.package_uri(REPOSITORY, "My_Lib") == URI
    made = assets.create_asset(
        project="acme-packages", location="europe-west1", repository="python", package="My_Lib", extra={"a": 1}
    )
    assert (made.uri, made.extra) == (URI, {"a": 1})
    with pytest.raises(ValueError, match="is not projects/PROJECT"):
        assets.package_uri("python", "a")


def test_lineage_of_an_asset() -> None:
    """OpenLineage's own dataset."""
    found = assets.convert_asset_to_openlineage(Asset(URI), None)
    assert (found.namespace, found.name) == ("gar://acme-packages", "europe-west1/python/my-lib")


def test_how_lineage_names_a_package() -> None:
    """The project is the namespace."""
    assert assets.lineage_name(URI) == ("gar://acme-packages", "europe-west1/python/my-lib")


def file(name: str, outcome: str, minutes: float, version: str = "1.0", package: str = "My_Lib") -> dict[str, Any]:
    created = (START + timedelta(minutes=minutes)).isoformat()
    return {
        "file": name,
        "package": package,
        "version": version,
        "sha256": f"sha-{name}",
        "outcome": outcome,
        "created": created.replace("+00:00", "Z"),
    }


WHEEL, SDIST = "my_lib-1.0-py3-none-any.whl", "my_lib-1.0.tar.gz"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([file(WHEEL, "uploaded", 1)], [WHEEL]),
        # Another clock than Google's: what this try uploaded is new, whatever the times say.
        ([file(WHEEL, "uploaded", -1)], [WHEEL]),
        # An earlier try of this run uploaded it and died.
        ([file(WHEEL, "exists", 1)], [WHEEL]),
        ([file(WHEEL, "exists", 0)], [WHEEL]),
        ([file(WHEEL, "exists", -1)], []),
        ([file(WHEEL, "exists", -1), file(SDIST, "uploaded", 1)], [SDIST]),
        ([{**file(WHEEL, "exists", 1), "created": None}], []),
    ],
)
def test_what_is_new(files: list[dict[str, Any]], told: list[str]) -> None:
    """What this try uploaded, and what the registry took since the run began."""
    found = assets.publications({"repository": REPOSITORY, "files": files}, START)
    assert [sorted(extra["sha256"]) for _, extra in found] == ([told] if told else [])


def test_one_event_for_a_version() -> None:
    """With everything that a consumer may ask for; nothing of it is secret."""
    files = [
        file(WHEEL, "uploaded", 1),
        file(SDIST, "uploaded", 1),
        file("b-2.0-cp311-abi3-linux_x86_64.whl", "uploaded", 1, "2.0", "b"),
    ]
    found = assets.publications({"repository": REPOSITORY, "files": files}, None)
    assert found == [
        (
            URI,
            {
                "package": "my-lib",
                "version": "1.0",
                "repository": REPOSITORY,
                "sha256": {WHEEL: f"sha-{WHEEL}", SDIST: f"sha-{SDIST}"},
                "tags": ["py3-none-any", "source"],
            },
        ),
        (
            "gar://acme-packages/europe-west1/python/b",
            {
                "package": "b",
                "version": "2.0",
                "repository": REPOSITORY,
                "sha256": {"b-2.0-cp311-abi3-linux_x86_64.whl": "sha-b-2.0-cp311-abi3-linux_x86_64.whl"},
                "tags": ["cp311-abi3-linux_x86_64"],
            },
        ),
    ]


class Events:
    """As much of Airflow's outlet events as is used."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getitem__(self, alias: Any) -> Any:
        assert alias == AssetAlias(assets.PUBLISHED)
        return self

    def add(self, asset: Any, extra: dict[str, Any]) -> None:
        self.told.append(asset.uri)


def test_told_through_the_alias() -> None:
    """By the run's own start; outside of a run there is nobody to tell."""
    events = Events()
    run = type("Run", (), {"start_date": START})
    result = {
        "repository": REPOSITORY,
        "files": [file(WHEEL, "exists", 1), file("a-1.0.tar.gz", "exists", -1, package="a")],
    }
    assets.tell_published({"outlet_events": events, "dag_run": run}, result)  # type: ignore[typeddict-item]
    assert events.told == [URI]
    assets.tell_published({}, result)  # type: ignore[typeddict-item]
