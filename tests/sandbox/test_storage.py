"""Cloud Storage with google-cloud-storage, and the multipart dialects of Google's other tools."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from google.api_core import exceptions
from google.cloud import storage
from google.oauth2.credentials import Credentials

from .test_artifact_registry import CALLER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Running

JSON = "https://storage.googleapis.com/storage/v1"
UPLOAD = "https://storage.googleapis.com/upload/storage/v1"


@pytest.fixture
def client(google_: Running, project: str) -> Iterator[storage.Client]:
    client = storage.Client(project=project, credentials=Credentials(google_.token(CALLER)))
    yield client
    client.close()


@pytest.fixture
def bucket(client: storage.Client, project: str) -> storage.Bucket:
    return client.create_bucket(f"bucket-of-{project}", location="europe-west1")


def test_an_object_is_written_read_and_deleted(client: storage.Client, bucket: storage.Bucket) -> None:
    blob = bucket.blob("config/pip/pip.conf")
    blob.upload_from_string(b"[global]\n", content_type="text/plain", checksum="crc32c")
    found = bucket.get_blob("config/pip/pip.conf")
    assert (found.size, found.content_type) == (9, "text/plain")
    assert found.md5_hash == base64.b64encode(hashlib.md5(b"[global]\n").digest()).decode()
    assert found.download_as_bytes(checksum="crc32c") == b"[global]\n"
    assert found.download_as_bytes(start=1, end=3) == b"glo"
    found.delete()
    assert bucket.get_blob("config/pip/pip.conf") is None
    with pytest.raises(exceptions.NotFound, match="No such object"):
        blob.download_as_bytes()
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.get_bucket("nobody-has-this-bucket")


def test_preconditions_decide_who_may_write(bucket: storage.Bucket) -> None:
    blob = bucket.blob("state.json")
    blob.upload_from_string(b"1", if_generation_match=0)
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("state.json").upload_from_string(b"2", if_generation_match=0)
    blob.upload_from_string(b"3", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=first)
    blob.metadata = {"by": "us"}
    blob.patch(if_metageneration_match=1)
    assert bucket.get_blob("state.json").metageneration == 2
    assert bucket.blob("state.json").download_as_bytes() == b"3"


def test_a_read_on_condition_of_another_generation_is_304(bucket: storage.Bucket) -> None:
    blob = bucket.blob("pip.conf")
    blob.upload_from_string(b"1")
    with pytest.raises(exceptions.NotModified):
        bucket.blob("pip.conf").download_as_bytes(if_generation_not_match=blob.generation)
    with pytest.raises(exceptions.NotModified):
        bucket.get_blob("pip.conf", if_generation_not_match=blob.generation)
    assert bucket.blob("pip.conf").download_as_bytes(if_generation_not_match=blob.generation + 1) == b"1"
    with pytest.raises(exceptions.NotFound):
        bucket.blob("other").download_as_bytes(if_generation_not_match=blob.generation)


def test_lists_know_prefixes_delimiters_and_pages(client: storage.Client, bucket: storage.Bucket) -> None:
    for name in ("dags/a.py", "dags/sub/b.py", "dags/sub/c.py", "data/x"):
        bucket.blob(name).upload_from_string(b"")
    assert [blob.name for blob in client.list_blobs(bucket, prefix="dags/", page_size=2)] == [
        "dags/a.py",
        "dags/sub/b.py",
        "dags/sub/c.py",
    ]
    listing = client.list_blobs(bucket, prefix="dags/", delimiter="/")
    assert [blob.name for blob in listing] == ["dags/a.py"]
    assert listing.prefixes == {"dags/sub/"}
    assert [item.name for item in client.list_buckets()] == [bucket.name]


def test_a_big_object_is_uploaded_in_chunks_and_copied(bucket: storage.Bucket, tmp_path: object) -> None:
    content = bytes(range(256)) * 4096 * 2
    blob = bucket.blob("big.bin", chunk_size=512 * 1024)
    blob.upload_from_string(content)
    assert bucket.blob("big.bin").download_as_bytes() == content
    copy = bucket.copy_blob(blob, bucket, "copy of big.bin")
    assert copy.md5_hash == blob.md5_hash
    target = bucket.blob("rewritten")
    token, done, total = target.rewrite(blob)
    assert (token, done, total) == (None, len(content), len(content))


DIALECTS = [
    ("'===5=='", "\n", "\n--===5==--"),
    ('"===5=="', "\r\n", "\r\n--===5==--"),
    ("===5==", "\r\n", "\r\n--===5==--\r\n"),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("media", [b"", b"a\r\nb\r\n", b"\r", b"--===5=", bytes(range(256))])
def test_every_dialect_of_multipart_keeps_the_bytes(
    sandbox: Running, project: str, dialect: tuple[str, str, str], media: bytes
) -> None:
    boundary, line, end = dialect
    name = f"dialect-{project}"
    sandbox.setup(buckets=[f"{project}/{name}"])
    head = f"--===5=={line}Content-Type: application/json{line}{line}" + json.dumps({"name": "x"})
    head += f"{line}--===5=={line}content-type: text/x{line}MIME-Version: 1.0{line}{line}"
    with sandbox.session(CALLER) as session:
        headers = {"content-type": f"multipart/related; boundary={boundary}"}
        body = head.encode() + media + end.encode()
        answer = session.post(f"{UPLOAD}/b/{name}/o?uploadType=multipart", data=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        assert answer.json()["contentType"] == "text/x"
        assert session.get(answer.json()["mediaLink"], timeout=30).content == media


def test_who_may_not_read_is_told_what_is_missing(sandbox: Running, project: str) -> None:
    name = f"private-{project}"
    sandbox.setup(
        buckets=[f"{project}/{name}"],
        grants=[f"user:a@example.com=roles/storage.objectViewer@projects/{project}/buckets/{name}"],
    )
    with sandbox.session("a@example.com") as session:
        assert session.get(f"{JSON}/b/{name}/o", timeout=30).status_code == 200
        answer = session.post(f"{UPLOAD}/b/{name}/o?uploadType=media&name=x", data=b"x", timeout=30)
    error = answer.json()["error"]
    assert (error["code"], error["errors"][0]["reason"]) == (403, "forbidden")
    assert "a@example.com does not have storage.objects.create access" in error["message"]
    with sandbox.session() as session:
        assert session.get(f"{JSON}/b/{name}/o/x", timeout=30).status_code == 401


def test_a_wrong_checksum_writes_nothing(sandbox: Running, project: str) -> None:
    name = f"sums-{project}"
    sandbox.setup(buckets=[f"{project}/{name}"])
    body = '--b\r\n\r\n{"name": "x", "md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}\r\n--b\r\n\r\nhello\r\n--b--'
    with sandbox.session(CALLER) as session:
        headers = {"content-type": "multipart/related; boundary=b"}
        answer = session.post(f"{UPLOAD}/b/{name}/o?uploadType=multipart", data=body, headers=headers, timeout=30)
        assert answer.status_code == 400
        assert "doesn't match calculated md5Hash" in answer.text
        assert session.get(f"{JSON}/b/{name}/o/x", timeout=30).status_code == 404


@pytest.mark.slow
def test_airflows_own_hook_works(sandbox: Running, project: str, tmp_path: object) -> None:
    sandbox.setup(buckets=[f"{project}/hook-{project}"])
    script = f"""
from airflow.providers.google.cloud.hooks.gcs import GCSHook
hook = GCSHook(gcp_conn_id="google_cloud_default")
hook.upload("hook-{project}", "a/b.txt", data="hello")
assert hook.download("hook-{project}", "a/b.txt") == b"hello"
assert hook.list("hook-{project}", prefix="a/") == ["a/b.txt"]
assert hook.exists("hook-{project}", "a/b.txt")
"""
    import sys

    done = sandbox.run(
        *(sys.executable, "-c", script),
        AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT="google-cloud-platform://",
        AIRFLOW_HOME=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr[-3000:]
