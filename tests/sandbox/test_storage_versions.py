"""Versioned buckets with google-cloud-storage: old generations, preconditions on both numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from google.cloud import storage
from google.oauth2.credentials import Credentials

from .test_artifact_registry import CALLER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Running


@pytest.fixture
def client(google_: Running, project: str) -> Iterator[storage.Client]:
    client = storage.Client(project=project, credentials=Credentials(google_.token(CALLER)))
    yield client
    client.close()


@pytest.fixture
def bucket(client: storage.Client, project: str) -> storage.Bucket:
    return client.create_bucket(f"versions-of-{project}", location="europe-west1")


def generations(client: storage.Client, bucket: storage.Bucket) -> list[int]:
    return [blob.generation for blob in client.list_blobs(bucket, versions=True)]


def test_without_versioning_an_old_generation_is_gone(client: storage.Client, bucket: storage.Bucket) -> None:
    blob = bucket.blob("pip.conf")
    blob.upload_from_string(b"old")
    old = blob.generation
    blob.upload_from_string(b"new")
    assert generations(client, bucket) == [blob.generation]
    with pytest.raises(exceptions.NotFound, match="No such object"):
        bucket.blob("pip.conf", generation=old).download_as_bytes()


def test_with_versioning_old_generations_are_listed_read_restored_and_deleted(
    client: storage.Client, bucket: storage.Bucket
) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    assert client.get_bucket(bucket.name).versioning_enabled is True
    blob = bucket.blob("config/pip/pip.conf")
    blob.upload_from_string(b"old")
    old = blob.generation
    blob.upload_from_string(b"new")
    new = blob.generation
    assert generations(client, bucket) == [old, new]
    assert [item.generation for item in client.list_blobs(bucket)] == [new]
    assert bucket.blob(blob.name, generation=old).download_as_bytes() == b"old"
    kept = bucket.get_blob(blob.name, generation=old)
    assert (kept.time_deleted is None, bucket.get_blob(blob.name).time_deleted) == (False, None)
    # Deleting the live version keeps it; deleting a generation is for ever.
    bucket.delete_blob(blob.name)
    assert bucket.get_blob(blob.name) is None
    assert generations(client, bucket) == [old, new]
    restored = bucket.copy_blob(kept, bucket, blob.name, source_generation=old)
    assert bucket.blob(blob.name).download_as_bytes() == b"old"
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    for generation in (old, new, restored.generation):
        bucket.delete_blob(blob.name, generation=generation)
    assert generations(client, bucket) == []
    bucket.delete()


def test_versions_that_were_there_before_versioning_was_switched_off_stay(
    client: storage.Client, bucket: storage.Bucket
) -> None:
    blob = bucket.blob("x")
    for enabled, text in ((True, b"1"), (True, b"2"), (False, b"3"), (False, b"4")):
        bucket.versioning_enabled = enabled
        bucket.patch()
        blob.upload_from_string(text)
    found = [item.download_as_bytes() for item in client.list_blobs(bucket, versions=True)]
    assert found == [b"1", b"4"]


def test_the_metageneration_is_a_precondition_of_objects_and_buckets(bucket: storage.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"1")
    blob.metadata = {"a": "b"}
    blob.patch(if_metageneration_match=1)
    for call in (
        lambda: blob.patch(if_metageneration_match=1),
        lambda: blob.upload_from_string(b"2", if_metageneration_match=1),
        lambda: blob.delete(if_metageneration_match=1),
        lambda: blob.download_as_bytes(if_metageneration_match=1),
    ):
        with pytest.raises(exceptions.PreconditionFailed):
            call()
    assert blob.download_as_bytes(if_metageneration_match=2) == b"1"
    bucket.labels = {"team": "data"}
    bucket.patch(if_metageneration_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.patch(if_metageneration_match=1)
    assert bucket.metageneration == 2
    assert bucket.labels == {"team": "data"}


def test_a_new_object_begins_at_metageneration_one(bucket: storage.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"1", if_generation_match=0)
    blob.metadata = {"a": "b"}
    blob.patch()
    blob.upload_from_string(b"2", if_generation_match=blob.generation, if_metageneration_match=2)
    assert bucket.get_blob("x").metageneration == 1
