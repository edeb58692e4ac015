"""What interrupted uploads, composed objects and policies that changed meanwhile are answered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .test_artifact_registry import CALLER

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from tests.conftest import Running

HOST = "https://storage.googleapis.com"


@pytest.fixture
def session(sandbox: Running) -> Iterator[requests.Session]:
    with sandbox.session(CALLER) as session:
        yield session


@pytest.fixture
def bucket(sandbox: Running, project: str) -> str:
    """The path of a new bucket."""
    sandbox.setup(buckets=[f"{project}/bucket-of-{project}"])
    return f"storage/v1/b/bucket-of-{project}"


def put(session: requests.Session, bucket: str, name: str, content: bytes) -> None:
    where = {"uploadType": "media", "name": name}
    session.post(f"{HOST}/upload/{bucket}/o", params=where, data=content, timeout=30).raise_for_status()


def test_an_upload_whose_last_answer_was_lost_is_answered_with_its_object(
    session: requests.Session, bucket: str
) -> None:
    """A session says how far it is; finished, it says what it became, as often as it is asked."""
    where = {"uploadType": "resumable", "name": "big"}
    place = session.post(f"{HOST}/upload/{bucket}/o", params=where, timeout=30).headers["location"]
    part = session.put(place, data=b"ab", headers={"content-range": "bytes 0-1/4"}, timeout=30)
    assert (part.status_code, part.headers["range"]) == (308, "bytes=0-1")
    done = session.put(place, data=b"cd", headers={"content-range": "bytes 2-3/4"}, timeout=30)
    for _ in range(2):
        asked = session.put(place, headers={"content-range": "bytes */4"}, timeout=30)
        assert (asked.status_code, asked.json()) == (200, done.json())
    listed = session.get(f"{HOST}/{bucket}/o", timeout=30).json()["items"]
    assert [(item["name"], item["size"]) for item in listed] == [("big", "4")]


def test_a_composed_object_has_parts_and_no_md5(session: requests.Session, bucket: str) -> None:
    """Up to 32 sources, in order; of composed ones the parts count; a source that changed is 412."""
    put(session, bucket, "a", b"1")
    put(session, bucket, "b", b"2")
    compose = f"{HOST}/{bucket}/o/whole/compose"
    named = [{"name": "a"}, {"name": "b"}]
    made = session.post(compose, json={"sourceObjects": named}, timeout=30).json()
    assert (made["componentCount"], "md5Hash" in made, made["size"]) == (2, False, "2")
    again = session.post(compose, json={"sourceObjects": [{"name": "whole"}, {"name": "a"}]}, timeout=30).json()
    assert again["componentCount"] == 3
    bytes_ = session.get(f"{HOST}/{bucket}/o/whole", params={"alt": "media"}, timeout=30)
    assert bytes_.content == b"121"
    assert "md5=" not in bytes_.headers["x-goog-hash"]
    stale = [{"name": "a", "objectPreconditions": {"ifGenerationMatch": "1"}}]
    for sources, status in ((stale, 412), ([], 400), (named * 17, 400), ([{"name": "missing"}], 404)):
        answer = session.post(compose, json={"sourceObjects": sources}, timeout=30)
        assert answer.status_code == status, answer.text


def test_a_buckets_policy_that_somebody_else_changed_is_412(session: requests.Session, bucket: str) -> None:
    """Unlike everywhere else, where it is 409."""
    policy = session.get(f"{HOST}/{bucket}/iam", timeout=30).json()
    binding = {"role": "roles/storage.objectViewer", "members": ["user:a@example.com"]}
    body = {"etag": policy["etag"], "bindings": [binding]}
    assert session.put(f"{HOST}/{bucket}/iam", json=body, timeout=30).status_code == 200
    late = session.put(f"{HOST}/{bucket}/iam", json=body, timeout=30)
    assert (late.status_code, late.json()["error"]["errors"][0]["reason"]) == (412, "conditionNotMet")
