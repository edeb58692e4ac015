"""What Google's storage client does beside what it is asked for."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.storage import CONNECTIONS
from tests.conftest import Running


@pytest.fixture
def bucket(sandbox: Running, project: str) -> str:
    name = f"{project}-objects"
    sandbox.setup(buckets=[f"{project}/{name}"])
    return name


def test_objects_are_read_without_a_look_at_their_bucket(
    sandbox: Running, cloud: Cloud, bucket: str, project: str
) -> None:
    """Reading objects costs one call each: who may read objects only leaves no refused call in an audit log."""
    cloud.storage.write(bucket, "one", b"1")
    assert cloud.storage.read(bucket, "one") is not None
    assert cloud.storage.read(bucket, "two") is None
    # The client's own look would be made by a thread: one that was begun has ended when all its threads have.
    deadline = time.monotonic() + 10
    while any("_fetch_background" in thread.name for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    methods = [call["method"] for call in sandbox.calls(project) if str(call["method"]).startswith("storage.")]
    assert methods == ["storage.objects.insert", "storage.objects.get", "storage.objects.get"]


def test_many_threads_keep_their_connections(
    sandbox: Running, cloud: Cloud, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As many threads as there are connections read at once, and none is thrown away with a warning."""
    cloud.storage.write(bucket, "one", b"1")
    # All are under way at once: each read takes longer than it takes to begin the others.
    sandbox.fault("storage.objects.get", kind="delay", seconds=0.2, times=CONNECTIONS)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        read = list(pool.map(lambda _: cloud.storage.read(bucket, "one"), range(CONNECTIONS)))
    assert [found and found[0] for found in read] == [b"1"] * CONNECTIONS
    assert [record.getMessage() for record in caplog.records if record.name.startswith("urllib3")] == []
    assert sandbox.unused() == []
