"""gsutil against the sandbox: the same buckets with the older client, which signs in at the metadata server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from .buckets import Bucket

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow


@pytest.fixture
def gsutil(gcloud: Gcloud, tmp_path: Path) -> Gcloud:
    """gsutil with a state of its own: it remembers uploads that were cut off."""
    return gcloud.named("gsutil").with_variables(HOME=str(tmp_path), BOTO_CONFIG="/dev/null")


@pytest.fixture
def bucket(gsutil: Gcloud, http: requests.Session) -> Bucket:
    return Bucket.make(gsutil.sandbox, gsutil.project, http)


def test_files_go_up_are_listed_printed_moved_and_removed(gsutil: Gcloud, bucket: Bucket, tmp_path: Path) -> None:
    """cp -r, ls -r, cat, mv, rm; multipart in apitools' way, and rewriteTo."""
    folder = tmp_path / "dags" / "sub"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("one")
    (folder.parent / "b.py").write_text("two")
    assert "Operation completed over 2 objects" in gsutil(f"cp -r {tmp_path}/dags {bucket.url}").err
    assert bucket.objects() == {"dags/b.py": b"two", "dags/sub/a.py": b"one"}
    listed = [line for line in gsutil(f"ls -r '{bucket.url}/dags/**'").out.split() if line.startswith("gs://")]
    assert listed == [f"{bucket.url}/dags/b.py", f"{bucket.url}/dags/sub/a.py"]
    assert gsutil(f"cat {bucket.url}/dags/b.py").out == "two"
    gsutil(f"mv {bucket.url}/dags/b.py {bucket.url}/c.py")
    gsutil(f"rm -r {bucket.url}/dags")
    assert bucket.objects() == {"c.py": b"two"}


def test_a_folder_is_mirrored(gsutil: Gcloud, bucket: Bucket, tmp_path: Path) -> None:
    """rsync -r -d writes, removes, and has nothing to do the second time."""
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "a.py").write_text("one")
    bucket.put("dags/stale.py", b"")
    assert f"Removing {bucket.url}/dags/stale.py" in gsutil(f"rsync -r -d {folder} {bucket.url}/dags").err
    before = bucket.generations()
    assert list(before) == ["dags/a.py"]
    assert "Copying" not in gsutil(f"rsync -r -d {folder} {bucket.url}/dags").err
    assert bucket.generations() == before


INTERRUPTIONS: list[tuple[str, list[dict[str, Any]]]] = [
    ("nothing", []),
    ("the bytes are refused", [{"kind": "delay"}, {"status": 503}]),
    ("the last answer is lost", [{"kind": "delay"}, {"kind": "lost_answer"}]),
]


@pytest.mark.parametrize("faults", [faults for _, faults in INTERRUPTIONS], ids=[name for name, _ in INTERRUPTIONS])
def test_large_uploads_are_resumed(
    gsutil: Gcloud, bucket: Bucket, tmp_path: Path, faults: list[dict[str, Any]]
) -> None:
    """Above 8 MiB gsutil uploads in a session; interrupted, it asks how far it is and goes on."""
    content = bytes(range(256)) * (9 << 12)
    (tmp_path / "big").write_bytes(content)
    for fault in faults:
        gsutil.sandbox.fault("storage.objects.insert", **fault)
    gsutil(f"-o Boto:max_retry_delay=1 cp {tmp_path}/big {bucket.url}/big")
    assert gsutil.sandbox.unused() == []
    assert hashlib.sha256(bucket.objects()["big"]).digest() == hashlib.sha256(content).digest()


def test_a_policy_that_changed_meanwhile_is_read_again(gsutil: Gcloud, bucket: Bucket) -> None:
    """`iam ch` sends the etag; after 412 it reads, changes and writes again."""
    gsutil.sandbox.fault("storage.buckets.setIamPolicy", status=412)
    gsutil(f"iam ch user:a@example.com:objectViewer {bucket.url}")
    assert gsutil.sandbox.unused() == []
    policy = gsutil(f"iam get {bucket.url}").json()
    assert policy["bindings"] == [{"members": ["user:a@example.com"], "role": "roles/storage.objectViewer"}]


def test_a_bucket_is_made_once(gsutil: Gcloud) -> None:
    """mb says 409 for a name that is taken."""
    url = f"gs://{gsutil.project}-made"
    gsutil(f"mb -l europe-west1 {url}")
    assert f"ServiceException: 409 A Cloud Storage bucket named '{url[5:]}' already exists." in gsutil.fails(
        f"mb {url}"
    )
    assert gsutil("ls").out.split() == [f"{url}/"]


def test_what_is_not_there_is_named(gsutil: Gcloud, bucket: Bucket) -> None:
    """Not found, in gsutil's words."""
    assert f"CommandException: No URLs matched: {bucket.url}/missing" in gsutil.fails(f"cat {bucket.url}/missing")
    said = gsutil.fails("ls gs://no-such-bucket-2718")
    assert "BucketNotFoundException: 404 gs://no-such-bucket-2718 bucket does not exist." in said
