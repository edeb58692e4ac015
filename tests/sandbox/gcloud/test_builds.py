"""gcloud builds and logging: where the log of a failed update is, in Composer 2 and in Composer 3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.conftest import LOCATION

if TYPE_CHECKING:
    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
HERE = f"--location={LOCATION}"


def test_the_link_of_a_failed_update_in_composer_2_leads_to_a_build_and_its_log(
    gcloud: Gcloud, http: requests.Session
) -> None:
    gcloud(f"composer environments create old {HERE} --image-version=composer-2.9.7-airflow-3")
    refused = gcloud.fails(
        f"composer environments update old {HERE} --update-pypi-package=no-such-package-anywhere-2718"
    )
    assert "Failed to install PyPI packages." in refused
    link = r"Check the Cloud Build log at https://console\.cloud\.google\.com/cloud-build/builds/([0-9a-f-]+)\?project=(\d+)"
    found = re.search(link, refused)
    assert found is not None, refused
    build, number = found.groups()
    described = gcloud.json(f"builds describe {build}")
    assert described["status"] == "FAILURE"
    assert described["failureInfo"]["type"] == "USER_BUILD_STEP"
    assert described["name"] == f"projects/{number}/locations/global/builds/{build}"
    assert described["logUrl"].startswith(f"https://console.cloud.google.com/cloud-build/builds/{build}")
    assert [item["id"] for item in gcloud.json("builds list")] == [build]
    assert [item["id"] for item in gcloud.json("builds list --filter=status=FAILURE")] == [build]
    assert gcloud.json("builds list --ongoing") == []

    condition = f'resource.type="build" AND resource.labels.build_id="{build}"'
    log = gcloud(f"logging read '{condition}' --order=asc --format=value(textPayload)").out
    assert "ERROR: No matching distribution found for no-such-package-anywhere-2718" in log
    by_number = http.get(f"https://cloudbuild.googleapis.com/v1/projects/{number}/builds/{build}", timeout=30)
    assert by_number.json()["id"] == build


def test_a_project_without_builds_has_none_and_a_stranger_is_refused(gcloud: Gcloud) -> None:
    """Composer 3 builds in Google's project: the customer's Cloud Build stays empty."""
    gcloud.sandbox.setup(environments=[f"projects/{gcloud.project}/locations/{LOCATION}/environments/dev"])
    update = f"composer environments update dev {HERE} --update-pypi-package=no-such-package-anywhere-2718"
    assert "cloud-build" not in gcloud.fails(update)
    assert gcloud.json("builds list") == []
    missing = "builds describe 8f8ebd66-5a3d-4b1c-8a47-000000000000"
    assert "NOT_FOUND: Requested entity was not found." in gcloud.fails(missing)
    stranger = gcloud.as_("stranger@example.com")
    assert "permission: cloudbuild.builds.get" in stranger.fails(missing)
    logs = stranger.fails("logging read severity>=ERROR")
    assert "PERMISSION_DENIED: Permission denied for all log views." in logs


def test_entries_are_written_and_read_and_logs_are_listed(gcloud: Gcloud) -> None:
    assert "Created log entry." in gcloud("logging write rollout 'stage one is done' --severity=NOTICE").err
    gcloud('logging write rollout \'{"stage": "two"}\' --payload-type=json')
    read = "logging read 'logName:rollout severity>=NOTICE'"
    assert [item["textPayload"] for item in gcloud.json(read)] == ["stage one is done"]
    every = gcloud.json("logging read logName:rollout --order=asc")
    assert [item.get("jsonPayload") for item in every] == [None, {"stage": "two"}]
    assert gcloud("logging logs list --format=value(NAME)").out.split() == [f"projects/{gcloud.project}/logs/rollout"]
    assert "INVALID_ARGUMENT" in gcloud.fails("logging read 'severity >=>= ERROR'")
