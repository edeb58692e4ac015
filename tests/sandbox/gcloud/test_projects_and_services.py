"""gcloud projects and services, as far as the commands of a rollout ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .conftest import CALLER

if TYPE_CHECKING:
    from .conftest import Gcloud

pytestmark = pytest.mark.slow
OWNER = {"role": "roles/owner", "members": [f"serviceAccount:{CALLER}"]}


def test_a_project_is_described_and_listed_for_those_who_may_see_it(gcloud: Gcloud) -> None:
    described = gcloud.json(f"projects describe {gcloud.project}")
    assert (described["projectId"], described["lifecycleState"]) == (gcloud.project, "ACTIVE")
    assert gcloud(f"projects describe {gcloud.project} --format=value(projectNumber)").out.strip().isdigit()
    assert gcloud.project in [item["projectId"] for item in gcloud.json("projects list")]
    browser = "browser@example.com"
    gcloud.sandbox.setup(grants=[f"user:{browser}=roles/browser@projects/{gcloud.project}"])
    assert [item["projectId"] for item in gcloud.as_(browser).json("projects list")] == [gcloud.project]
    stranger = gcloud.as_("stranger@example.com")
    for project in (gcloud.project, "no-such-project-2718"):  # Google doesn't say which of the two it is
        refused = stranger.fails(f"projects describe {project}")
        assert f"does not have permission to access projects instance [{project}] (or it may not exist)" in refused


def test_a_role_on_a_project_is_given_and_taken_back(gcloud: Gcloud) -> None:
    account = f"viewer@{gcloud.project}.iam.gserviceaccount.com"
    gcloud.sandbox.setup(accounts=[account])
    binding = f"--member=serviceAccount:{account} --role=roles/composer.user --condition=None"
    added = gcloud(f"projects add-iam-policy-binding {gcloud.project} {binding}")
    assert f"Updated IAM policy for project [{gcloud.project}]." in added.err
    policy = gcloud.json(f"projects get-iam-policy {gcloud.project}")
    given = {"role": "roles/composer.user", "members": [f"serviceAccount:{account}"]}
    assert sorted(policy["bindings"], key=lambda item: str(item["role"])) == [given, OWNER]
    removed = gcloud.json(f"projects remove-iam-policy-binding {gcloud.project} {binding}")
    assert removed["bindings"] == [OWNER]
    refused = gcloud.as_(account).fails(f"projects add-iam-policy-binding {gcloud.project} {binding}")
    assert "does not have permission to access projects instance" in refused


def test_a_policy_that_somebody_else_changed_is_a_conflict(gcloud: Gcloud) -> None:
    method = "cloudresourcemanager.v1.projects.setIamPolicy"
    gcloud.sandbox.fault(method, status=409, message="There were concurrent policy changes.")
    mark = gcloud.since()
    binding = f"--member=serviceAccount:{CALLER} --role=roles/logging.viewer"
    refused = gcloud.fails(f"projects add-iam-policy-binding {gcloud.project} {binding}")
    assert "is the subject of a conflict: There were concurrent policy changes." in refused
    assert gcloud.calls(mark) == [("getIamPolicy", 200), ("setIamPolicy", 409)]
    assert gcloud.json(f"projects get-iam-policy {gcloud.project}")["bindings"] == [OWNER]
    assert gcloud.sandbox.unused() == []


def test_services_are_listed_and_switched_on(gcloud: Gcloud) -> None:
    listed = {item["config"]["name"] for item in gcloud.json("services list")}
    assert {"artifactregistry.googleapis.com", "composer.googleapis.com"} < listed
    assert "pubsub.googleapis.com" not in listed
    available = gcloud.json("services list --available")
    assert {"pubsub.googleapis.com"} < {item["config"]["name"] for item in available}
    gcloud("services enable composer.googleapis.com")  # is on already
    gcloud("services enable pubsub.googleapis.com bigquery.googleapis.com")
    after = {item["config"]["name"] for item in gcloud.json("services list")}
    assert after == listed | {"pubsub.googleapis.com", "bigquery.googleapis.com"}

    refused = gcloud.fails("services enable compute.googleapis.com no-such-service.googleapis.com")
    assert "Not found or permission denied for service(s): no-such-service.googleapis.com" in refused
    stranger = gcloud.as_("stranger@example.com")
    refused = stranger.fails("services enable compute.googleapis.com")
    assert f"PERMISSION_DENIED: Permission denied to enable service for project [{gcloud.project}]" in refused
    assert {item["config"]["name"] for item in gcloud.json("services list")} == after
