"""`gcloud storage buckets`: what it prints, and what the bucket is afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .buckets import API, Bucket

if TYPE_CHECKING:
    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
VIEWER = "roles/storage.objectViewer"


def test_a_bucket_is_made_described_changed_and_removed_with_what_is_in_it(
    gcloud: Gcloud, http: requests.Session
) -> None:
    """create, describe, update, delete (refused while something is in it), rm -r."""
    bucket = Bucket(f"{gcloud.project}-new", http)
    assert f"Creating {bucket.url}/..." in gcloud(f"storage buckets create {bucket.url} --location=europe-west1").err
    shown = gcloud.json(f"storage buckets describe {bucket.url}")
    assert (shown["location"], shown["uniform_bucket_level_access"]) == ("EUROPE-WEST1", True)
    said = gcloud.fails(f"storage buckets create {bucket.url}")
    assert "HTTPError 409: Your previous request to create the named bucket succeeded and you already own it." in said
    gcloud(f"storage buckets update {bucket.url} --update-labels=team=data --versioning")
    state = http.get(f"{API}/storage/v1/b/{bucket.name}", timeout=30).json()
    assert (state["labels"], state["versioning"]) == ({"team": "data"}, {"enabled": True})
    bucket.put("a", b"1")
    bucket.put("a", b"2")
    said = gcloud.fails(f"storage buckets delete {bucket.url}")
    assert "ERROR: Bucket is not empty. To delete all objects and then delete bucket, use: gcloud storage rm -r" in said
    gcloud(f"storage rm -r {bucket.url}")
    assert http.get(f"{API}/storage/v1/b/{bucket.name}", timeout=30).status_code == 404


def test_a_bucket_has_a_policy(gcloud: Gcloud, http: requests.Session) -> None:
    """add-, get- and remove-iam-policy-binding; a member without a type is refused."""
    bucket = Bucket.make(gcloud.sandbox, gcloud.project, http)
    binding = f"--member=user:a@example.com --role={VIEWER}"
    added = gcloud.json(f"storage buckets add-iam-policy-binding {bucket.url} {binding}")
    assert added["bindings"] == [{"members": ["user:a@example.com"], "role": VIEWER}]
    said = gcloud.fails(f"storage buckets add-iam-policy-binding {bucket.url} --member=nobody --role={VIEWER}")
    assert "HTTPError 400: The member nobody is of an unknown type." in said
    assert gcloud.json(f"storage buckets get-iam-policy {bucket.url}") == added
    removed = gcloud.json(f"storage buckets remove-iam-policy-binding {bucket.url} {binding}")
    assert "bindings" not in removed
    assert removed["etag"] != added["etag"]
