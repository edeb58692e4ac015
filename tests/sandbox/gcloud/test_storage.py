"""`gcloud storage` on objects: what it prints, and what lies in the bucket afterwards."""

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
def bucket(gcloud: Gcloud, http: requests.Session) -> Bucket:
    return Bucket.make(gcloud.sandbox, gcloud.project, http)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with two texts and a module, in two levels."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    for name, text in (("a.txt", "one"), ("sub/b.txt", "two"), ("sub/c.py", "three")):
        (folder / name).write_text(text)
    return folder


def test_a_file_goes_up_is_listed_printed_and_comes_down(gcloud: Gcloud, bucket: Bucket, tmp_path: Path) -> None:
    """cp, ls -l, cat with a range, cp back: bytes and type are those of the file."""
    file = tmp_path / "pip.conf"
    file.write_text("[global]\n")
    said = gcloud(f"storage cp {file} {bucket.url}/config/pip/pip.conf").err
    assert f"Copying file://{file} to {bucket.url}/config/pip/pip.conf" in said
    assert bucket.objects() == {"config/pip/pip.conf": b"[global]\n"}
    size, _, url = gcloud(f"storage ls -l {bucket.url}/config/pip/").out.splitlines()[0].split()
    assert (size, url) == ("9", f"{bucket.url}/config/pip/pip.conf")
    assert gcloud(f"storage cat -r 1-6 {bucket.url}/config/pip/pip.conf").out == "global"
    gcloud(f"storage cp {bucket.url}/config/pip/pip.conf {tmp_path}/back")
    assert (tmp_path / "back").read_text() == "[global]\n"


def test_a_folder_goes_up_wildcards_choose_and_a_prefix_is_removed(gcloud: Gcloud, bucket: Bucket, tree: Path) -> None:
    """cp -r, ls with `**`, cp with a wildcard, rm -r."""
    gcloud(f"storage cp -r {tree} {bucket.url}/dags")
    assert bucket.objects() == {"dags/a.txt": b"one", "dags/sub/b.txt": b"two", "dags/sub/c.py": b"three"}
    found = gcloud(f"storage ls '{bucket.url}/dags/**.txt'").out.split()
    assert found == [f"{bucket.url}/dags/a.txt", f"{bucket.url}/dags/sub/b.txt"]
    down = tree.parent / "down"
    down.mkdir()
    gcloud(f"storage cp '{bucket.url}/dags/*/*.py' {down}")
    assert {file.name: file.read_text() for file in down.iterdir()} == {"c.py": "three"}
    assert "Removing objects" in gcloud(f"storage rm -r {bucket.url}/dags/sub").err
    assert list(bucket.objects()) == ["dags/a.txt"]


def test_an_object_moves_to_another_bucket_with_its_metadata(
    gcloud: Gcloud, bucket: Bucket, http: requests.Session
) -> None:
    """mv copies on the server and removes the source; type and custom metadata go along."""
    other = Bucket.make(gcloud.sandbox, gcloud.project, http, "other")
    bucket.put("a.bin", b"x", metadata={"team": "data"})
    mark = gcloud.since()
    gcloud(f"storage mv {bucket.url}/a.bin {other.url}/b.bin")
    done = [name for name, status in gcloud.calls(mark) if status < 300 and name in {"rewrite", "delete", "insert"}]
    assert done == ["rewrite", "delete"]
    assert (bucket.objects(), other.objects()) == ({}, {"b.bin": b"x"})
    assert other.get("b.bin")["metadata"] == {"team": "data"}


def test_a_folder_is_mirrored_and_the_second_time_there_is_nothing_to_do(
    gcloud: Gcloud, bucket: Bucket, tree: Path
) -> None:
    """rsync -r writes what differs, with --delete-unmatched-destination-objects removes the rest."""
    bucket.put("dags/stale.py", b"")
    command = f"storage rsync -r --delete-unmatched-destination-objects {tree} {bucket.url}/dags"
    gcloud(command)
    assert bucket.objects() == {"dags/a.txt": b"one", "dags/sub/b.txt": b"two", "dags/sub/c.py": b"three"}
    before = bucket.generations()
    assert "Copying" not in gcloud(command).err
    assert bucket.generations() == before


def test_standard_input_is_uploaded_as_it_comes(gcloud: Gcloud, bucket: Bucket) -> None:
    """`cp -` knows no size: the upload ends with `bytes …/TOTAL` in its last chunk."""
    gcloud(f"storage cp - {bucket.url}/streamed", stdin="from a pipe\n")
    assert bucket.objects() == {"streamed": b"from a pipe\n"}


def test_objects_are_composed(gcloud: Gcloud, bucket: Bucket) -> None:
    """`objects compose` joins objects; the result counts its parts and has no MD5, as Google documents."""
    bucket.put("a", b"one ")
    bucket.put("b", b"two")
    gcloud(f"storage objects compose {bucket.url}/a {bucket.url}/b {bucket.url}/c")
    assert gcloud(f"storage cat {bucket.url}/c").out == "one two"
    whole = gcloud.json(f"storage objects describe {bucket.url}/c")
    assert (whole["component_count"], "md5_hash" in whole) == (2, False)


def test_old_versions_are_listed_and_read_by_generation(gcloud: Gcloud, bucket: Bucket) -> None:
    """ls -a shows every generation; URL#GENERATION reads one, also after the object was removed."""
    gcloud(f"storage buckets update {bucket.url} --versioning")
    generations = [bucket.put("a", text)["generation"] for text in (b"old", b"new")]
    assert gcloud(f"storage ls -a {bucket.url}").out.split() == [f"{bucket.url}/a#{number}" for number in generations]
    gcloud(f"storage rm {bucket.url}/a")
    assert gcloud(f"storage cat {bucket.url}/a#{generations[0]}").out == "old"


def test_a_precondition_keeps_an_object_that_is_there(gcloud: Gcloud, bucket: Bucket, tmp_path: Path) -> None:
    """--if-generation-match=0 creates and never overwrites; a known generation overwrites that one."""
    file = tmp_path / "f"
    file.write_text("mine")
    theirs = bucket.put("a", b"theirs")
    said = gcloud.fails(f"storage cp --if-generation-match=0 {file} {bucket.url}/a")
    assert "HTTPError 412: At least one of the pre-conditions you specified did not hold." in said
    assert bucket.objects() == {"a": b"theirs"}
    gcloud(f"storage cp --if-generation-match={theirs['generation']} {file} {bucket.url}/a")
    assert bucket.objects() == {"a": b"mine"}


ERRORS = [
    ("cat {url}/missing", "ERROR: (gcloud.storage.cat) The following URLs matched no objects or files:\n{url}/missing"),
    ("ls {url}/missing", "ERROR: (gcloud.storage.ls) One or more URLs matched no objects."),
    ("ls gs://no-such-bucket-2718", "ERROR: (gcloud.storage.ls) gs://no-such-bucket-2718 not found: 404."),
    ("cp {url}/missing .", "ERROR: (gcloud.storage.cp) The following URLs matched no objects or files:\n{url}/missing"),
]


@pytest.mark.parametrize(("command", "message"), ERRORS, ids=[command for command, _ in ERRORS])
def test_what_is_not_there_is_named(shared: Gcloud, http: requests.Session, command: str, message: str) -> None:
    """Not found, in gcloud's words."""
    url = Bucket.make(shared.sandbox, shared.project, http).url
    assert message.format(url=url) in shared.fails(f"storage {command.format(url=url)}")


def test_who_may_only_read_may_not_write(gcloud: Gcloud, bucket: Bucket, tmp_path: Path) -> None:
    """A reader of the bucket lists it, and is told the permission that an upload lacks."""
    bucket.put("a", b"x")
    account = f"reader@{gcloud.project}.iam.gserviceaccount.com"
    place = f"projects/{gcloud.project}/buckets/{bucket.name}"
    gcloud.sandbox.setup(accounts=[account], grants=[f"serviceAccount:{account}=roles/storage.objectViewer@{place}"])
    reader = gcloud.as_(account)
    assert reader(f"storage ls {bucket.url}").out.split() == [f"{bucket.url}/a"]
    file = tmp_path / "f"
    file.write_text("y")
    said = reader.fails(f"storage cp {file} {bucket.url}/b")
    assert f"does not have permission to access b instance [{bucket.name}] (or it may not exist)" in said
    assert f"{account} does not have storage.objects.create access to the Google Cloud Storage object." in said
    assert list(bucket.objects()) == ["a"]


FAULTS: list[tuple[str, list[dict[str, Any]]]] = [
    ("an upload that is refused twice", [{"status": 503, "times": 2}]),
    ("a connection that is cut", [{"kind": "reset"}]),
]


@pytest.mark.parametrize("faults", [faults for _, faults in FAULTS], ids=[name for name, _ in FAULTS])
def test_small_uploads_are_retried(
    gcloud: Gcloud, bucket: Bucket, tmp_path: Path, faults: list[dict[str, Any]]
) -> None:
    """503 and a cut connection: gcloud tries again and the object is there once."""
    for fault in faults:
        gcloud.sandbox.fault("storage.objects.insert", **fault)
    file = tmp_path / "f"
    file.write_text("kept")
    gcloud(f"storage cp {file} {bucket.url}/f", **QUICK)
    assert gcloud.sandbox.unused() == []
    assert bucket.objects() == {"f": b"kept"}


def test_too_many_requests_end_a_small_upload(gcloud: Gcloud, bucket: Bucket, tmp_path: Path) -> None:
    """gcloud 528 does not try again after 429: it says so, and nothing was written."""
    gcloud.sandbox.fault("storage.objects.insert", status=429, message="Slow down.")
    file = tmp_path / "f"
    file.write_text("x")
    assert "ERROR: HTTPError 429: Slow down." in gcloud.fails(f"storage cp {file} {bucket.url}/f")
    assert bucket.objects() == {}


BIG = 9 << 20
"""Above 8 MiB gcloud uploads in a session that can be resumed."""
QUICK = {"CLOUDSDK_STORAGE_MAX_RETRY_DELAY": "1"}
"""A setting of gcloud's own: the most seconds between its tries."""
INTERRUPTIONS: list[tuple[str, list[dict[str, Any]]]] = [
    ("nothing", []),
    ("the start is refused", [{"status": 503}]),
    ("the bytes are cut off", [{"kind": "delay"}, {"kind": "reset"}]),
    ("the bytes are refused", [{"kind": "delay"}, {"status": 503}]),
    ("the last answer is lost", [{"kind": "delay"}, {"kind": "lost_answer"}]),
]


@pytest.mark.parametrize("faults", [faults for _, faults in INTERRUPTIONS], ids=[name for name, _ in INTERRUPTIONS])
def test_large_uploads_are_resumed(
    gcloud: Gcloud, bucket: Bucket, tmp_path: Path, faults: list[dict[str, Any]]
) -> None:
    """Whatever interrupts the session, the object ends up whole, written once. (A delay of 0 s lets a call pass.)"""
    file, content = tmp_path / "big", bytes(range(256)) * (BIG // 256)
    file.write_bytes(content)
    for fault in faults:
        gcloud.sandbox.fault("storage.objects.insert", **fault)
    gcloud(f"storage cp {file} {bucket.url}/big", **QUICK)
    assert gcloud.sandbox.unused() == []
    assert hashlib.sha256(bucket.objects()["big"]).digest() == hashlib.sha256(content).digest()


def test_a_large_object_comes_down_whole(gcloud: Gcloud, bucket: Bucket, tmp_path: Path) -> None:
    """A download that is cut goes on; gcloud compares the checksum itself."""
    content = bytes(range(256)) * (BIG // 256)
    bucket.put("big", content)
    gcloud.sandbox.fault("storage.objects.get", kind="delay")
    gcloud.sandbox.fault("storage.objects.get", status=503)
    gcloud(f"storage cp {bucket.url}/big {tmp_path}/big", **QUICK)
    assert gcloud.sandbox.unused() == []
    assert (tmp_path / "big").read_bytes() == content
