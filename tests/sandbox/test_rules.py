"""The sandbox's own small languages, as values: masks, filters, roles, ranges, pages."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import artifactregistry_v1 as ar
from google.cloud.orchestration.airflow import service_v1 as composer

from airflow_gar_provider.sandbox.errors import ApiError
from airflow_gar_provider.sandbox.fieldmask import MaskPath, read_path
from airflow_gar_provider.sandbox.paging import page
from airflow_gar_provider.sandbox.roles import ROLES
from airflow_gar_provider.sandbox.services.composer_updates import read_update
from airflow_gar_provider.sandbox.services.environments import TRANSITIONS, State
from airflow_gar_provider.sandbox.services.log_filter import compile_filter
from airflow_gar_provider.sandbox.services.registry_filter import matches
from airflow_gar_provider.sandbox.web import byte_range

PACKAGES = "config.software_config.pypi_packages"


@pytest.mark.parametrize(
    ("path", "field", "key"),
    [
        (PACKAGES, PACKAGES, None),
        ("config.softwareConfig.pypiPackages", PACKAGES, None),
        (f"{PACKAGES}.ruamel.yaml", PACKAGES, "ruamel.yaml"),
        ("config.softwareConfig.pypiPackages.Acme_Utils", PACKAGES, "Acme_Utils"),
        ("labels.a-b", "labels", "a-b"),
    ],
)
def test_a_mask_is_read_in_both_spellings_and_keys_stay_verbatim(path: str, field: str, key: str | None) -> None:
    assert read_path(path, composer.Environment.pb().DESCRIPTOR) == MaskPath(field, key)


@pytest.mark.parametrize("path", ["nothing", "config.nothing", "name.below", "config.software_config.image_version.x"])
def test_a_mask_of_nothing_is_refused(path: str) -> None:
    with pytest.raises(ApiError, match="Invalid field mask"):
        read_path(path, composer.Environment.pb().DESCRIPTOR)


@pytest.mark.parametrize(
    ("before", "paths", "given", "wanted"),
    [
        ({"a": "==1"}, [PACKAGES], {"b": ""}, {"b": ""}),
        ({"a": "==1"}, [PACKAGES], {}, {}),
        ({"a": "==1"}, [f"{PACKAGES}.b"], {"b": ">=1,<2"}, {"a": "==1", "b": ">=1,<2"}),
        ({"a": "==1", "b": ""}, [f"{PACKAGES}.a"], {}, {"b": ""}),
        ({"a": "==1"}, [f"{PACKAGES}.a", f"{PACKAGES}.c"], {"c": "[x,y]==2.0.*"}, {"c": "[x,y]==2.0.*"}),
        ({}, ["config.softwareConfig.pypiPackages.acmeUtils"], {"acme_utils": "==1"}, {"acme_utils": "==1"}),
    ],
)
def test_an_update_gives_the_map_that_shall_be(
    before: dict[str, str], paths: list[str], given: dict[str, str], wanted: dict[str, str]
) -> None:
    current = composer.Environment({"config": {"software_config": {"pypi_packages": before}}})
    body = {"config": {"software_config": {"pypi_packages": given}}}
    request = composer.UpdateEnvironmentRequest({"environment": body, "update_mask": {"paths": paths}})
    assert read_update(current, request).wanted == wanted


ENTRY: dict[str, Any] = {
    "logName": "projects/p/logs/build-log-1",
    "resource": {"type": "cloud_composer_environment", "labels": {"environment_name": "dev"}},
    "timestamp": "2026-01-02T03:04:05.000000Z",
    "severity": "WARNING",
    "textPayload": 'A says: no "B"',
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('resource.type="cloud_composer_environment"\nresource.labels.environment_name=dev', True),
        ('resource.labels."environment_name"="prod"', False),
        ('logName=~"/build-log-[0-9]$" AND severity>=INFO', True),
        ("severity>WARNING OR severity<=DEBUG", False),
        ('timestamp>="2026-01-02T03:04:05Z" timestamp<"2026-01-02T03:04:06.123456789Z"', True),
        ('textPayload:"SAYS" -textPayload:"nobody"', True),
        ('textPayload:("x" OR "no \\"B\\"")', True),
        ('NOT (severity=WARNING AND "says")', False),
        ("jsonPayload.x=1", False),
        ("-- a comment\nseverity=WARNING", True),
    ],
)
def test_log_filters(text: str, expected: bool) -> None:
    assert compile_filter(text)(ENTRY) is expected


@pytest.mark.parametrize("text", ["severity>=LOUD", "(severity=INFO", "a=", 'logName=~"["', "timestamp>=yesterday"])
def test_an_unreadable_log_filter_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="Unparseable filter"):
        compile_filter(text)


@pytest.mark.parametrize(
    ("role", "permission", "expected"),
    [
        ("roles/artifactregistry.reader", "artifactregistry.repositories.downloadArtifacts", True),
        ("roles/artifactregistry.reader", "artifactregistry.repositories.uploadArtifacts", False),
        ("roles/artifactregistry.writer", "artifactregistry.versions.delete", False),
        ("roles/composer.worker", "artifactregistry.repositories.setIamPolicy", True),
        ("roles/composer.user", "composer.environments.update", False),
        ("roles/owner", "iam.serviceAccounts.getAccessToken", False),
        ("roles/editor", "resourcemanager.projects.setIamPolicy", False),
        ("roles/viewer", "artifactregistry.repositories.get", True),
        ("roles/viewer", "storage.objects.get", False),
        ("roles/storage.objectCreator", "storage.objects.delete", False),
    ],
)
def test_roles_carry_what_the_documentation_says(role: str, permission: str, expected: bool) -> None:
    assert ROLES[role].allows(permission) is expected


def test_every_state_is_left_by_an_event_that_the_table_has() -> None:
    assert {before for before, _ in TRANSITIONS} == {
        State.CREATING,
        State.RUNNING,
        State.UPDATING,
        State.DELETING,
        State.ERROR,
    }


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-3", (0, 4)),
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=20-", (20, 20)),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=-", None),
        ("bytes=x-1", None),
    ],
)
def test_byte_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


def test_pages_join_to_the_whole_and_a_made_up_token_is_refused() -> None:
    items, token = list(range(25)), ""
    seen: list[int] = []
    while True:
        part, token = page(items, 10, token)
        seen += part
        if not token:
            break
    assert seen == items
    for bad in ("%%%", "b2Zmc2V0Og==", "xxxx"):
        with pytest.raises(ApiError, match="Invalid page token"):
            page(items, 10, bad)


R = "projects/p/locations/l/repositories/r"
FILE = ar.File(
    name=f"{R}/files/acme%2FAcme-1.0.whl",
    owner=f"{R}/packages/acme/versions/1.0",
    annotations={"external_link": "https://example.com/x", "team": "data"},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        (f'owner="{R}/packages/acme/versions/1.0"', True),
        (f'owner="{R}/packages/acme/versions/1"', False),
        (f'name="{R}/files/*ACME*"', True),
        (f'name="{R}/files/acme*" AND owner="*versions/2*"', False),
        ('"annotations.team"', True),
        ('"annotations.team:data"', True),
        ('"annotations.team:other"', False),
        ('"annotations.*_link:`*example.com*`"', True),
        ('"annotations.`external_link`:`https://example.com/x`" AND name="*"', True),
        ('"annotations.colour"', False),
    ],
)
def test_registry_filters_mean_what_google_documents(text: str, expected: bool) -> None:
    assert matches(text, FILE, ("name", "owner", "annotations")) is expected


@pytest.mark.parametrize(
    "text", ['size="1"', "owner", 'owner="a" OR owner="b"', 'owner="a" AND', 'annotations="a"', '"annotations."']
)
def test_registry_filters_that_google_does_not_document_are_refused(text: str) -> None:
    with pytest.raises(ApiError, match="Invalid filter"):
        matches(text, FILE, ("name", "owner", "annotations"))


def test_annotations_are_no_field_of_a_repositorys_filter() -> None:
    with pytest.raises(ApiError, match="Invalid filter"):
        matches('"annotations.team"', FILE, ("name",))
