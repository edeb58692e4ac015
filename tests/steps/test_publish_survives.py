"""Publishing when something goes wrong: the right outcome or a clear error, never a release that only looks done."""

from __future__ import annotations

import hashlib
import random
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import google.auth
import pytest

from airflow_gar_provider.core.publishable import Rules
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ContentConflictError,
    FileChangedError,
    GoogleApiError,
    InterruptedWaitError,
    InvalidWheelError,
    NotConfirmedError,
    UnavailableError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.package_index import PackageIndex, Upload
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.publish import publish, publish_from
from airflow_gar_provider.steps.repository import create_repository
from tests.conftest import Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_sdist, make_wheel

UPLOAD = "Python-UploadPackage"
Send = Callable[[RepositoryName, Upload, BinaryIO, Callable[[int], None]], bool]


def methods(sandbox: Running, project: str) -> list[str]:
    return [call["method"].rpartition(".")[2] for call in sandbox.calls(project)]


def with_index(cloud: Cloud, send: Callable[[Send], Send]) -> Cloud:
    """The same cloud, whose uploads pass through a function of the test's."""
    index = SimpleNamespace(upload=send(cloud.package_index.upload))
    return cast("Cloud", SimpleNamespace(artifact_registry=cloud.artifact_registry, package_index=index))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_again_is_one_page_and_no_upload(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, sandbox: Running, project: str
) -> None:
    """Fifty files of fifty packages: sent in parallel, and found again with one call."""
    files = check([make_wheel(tmp_path, f"acme_{number}") for number in range(49)] + [make_sdist(tmp_path)])
    first = publish(cloud, files, repository, clock)
    assert [file["outcome"] for file in first["files"]] == ["uploaded"] * 50
    before = len(methods(sandbox, project))
    assert publish(cloud, files, repository, clock)["outcome"] == "exists"
    assert methods(sandbox, project)[before:] == ["GetRepository", "ListFiles"]


def test_a_sdist_and_its_wheel_from_a_bucket(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, sandbox: Running, project: str
) -> None:
    """A prefix gives both; what lies beside them is passed over."""
    bucket = f"{project}-builds"
    sandbox.setup(buckets=[f"{project}/{bucket}"])
    for path in (make_wheel(tmp_path), make_sdist(tmp_path)):
        cloud.storage.upload(bucket, f"dist/{path.name}", path)
    cloud.storage.write(bucket, "dist/notes.txt", b"x")
    result = publish_from(cloud, f"gs://{bucket}/dist/", repository, clock)
    assert [file["file"] for file in result["files"]] == ["acme_demo-1.0-py3-none-any.whl", "acme_demo-1.0.tar.gz"]
    served = cloud.package_index.files(repository, "Acme.Demo")
    assert served is not None
    assert {(file.file, file.sha256) for file in served} == {(f["file"], f["sha256"]) for f in result["files"]}


def test_a_token_that_ends_is_replaced(
    google_: Running, repository: RepositoryName, clock: QuickClock, tmp_path: Path, project: str
) -> None:
    """A 401 in the middle: a fresh token, and the file is sent again."""
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    cloud = Cloud(Session(credentials))
    files = check([make_wheel(tmp_path)])
    google_.fault(UPLOAD, kind="token_expiry")
    assert publish(cloud, files, repository, clock)["outcome"] == "uploaded"
    statuses = [call["status"] for call in google_.calls(project) if call["method"] == UPLOAD]
    assert statuses == [401, 200]
    assert google_.unused() == []
    cloud.package_index.close()


REFUSED = {
    "a token that cannot be replaced": ({"kind": "token_expiry"}, AccessDeniedError, "look at its credentials"),
    "403": ({"status": 403}, AccessDeniedError, "roles/artifactregistry.writer"),
    "413": ({"status": 413}, GoogleApiError, "refuses a file of this size"),
    "400": ({"status": 400, "message": "Bad metadata."}, GoogleApiError, "Google said: HTTP 400: Bad metadata."),
    "a wait that is too long": ({"status": 429, "retry_after": 3600}, UnavailableError, "HTTP 429"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, sandbox: Running, case: str
) -> None:
    """Each says what to do, and is not tried again."""
    fault, kind, message = REFUSED[case]
    files = check([make_wheel(tmp_path)])
    sandbox.fault(UPLOAD, **fault)
    with pytest.raises(kind) as caught:
        publish(cloud, files, repository, clock)
    assert message in str(caught.value)
    assert clock.slept == 0
    assert sandbox.unused() == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_time_cures_is_tried_again(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, sandbox: Running, status: int
) -> None:
    """Retry-After is honoured; without it the pauses grow."""
    files = check([make_wheel(tmp_path)])
    sandbox.fault(UPLOAD, status=status, retry_after=7)
    sandbox.fault(UPLOAD, status=status)
    assert publish(cloud, files, repository, clock)["outcome"] == "uploaded"
    assert clock.slept == 7 + 4
    assert sandbox.unused() == []


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def shrunk(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def large_wheel(folder: Path, megabytes: int) -> Path:
    path = make_wheel(folder, "large")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("large/data"), random.Random(1).randbytes(megabytes << 20))
    return path


@pytest.mark.parametrize(
    ("change", "how"), [(changed, "its content is another"), (grown, "it has grown"), (shrunk, "it has shrunk")]
)
@pytest.mark.parametrize("large", [False, True], ids=["before it is sent", "in the middle"])
def test_a_file_that_changes(
    cloud: Cloud,
    repository: RepositoryName,
    clock: QuickClock,
    tmp_path: Path,
    change: Callable[[Path], None],
    how: str,
    large: bool,
) -> None:
    """What was checked is not what would arrive: the upload is broken off, and the registry has nothing."""
    path = large_wheel(tmp_path, 3) if large else make_wheel(tmp_path)
    files = check([path])

    def send(real: Send) -> Send:
        def upload(name: RepositoryName, item: Upload, stream: BinaryIO, progress: Callable[[int], None]) -> bool:
            told: list[int] = []

            def watched(count: int) -> None:
                progress(count)
                told.append(count)
                if len(told) == 2:
                    change(path)

            return real(name, item, stream, watched)

        return upload

    if not large:
        change(path)
    with pytest.raises(FileChangedError, match=f"changed while it was sent: {how}") as caught:
        publish(with_index(cloud, send), files, repository, clock)
    assert caught.value.retryable
    assert cloud.artifact_registry.list_files(repository) == []


@pytest.mark.parametrize("same", [True, False])
def test_two_publishers_at_once(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, same: bool
) -> None:
    """The other one is done between our look and our upload. The same bytes: exists. Others: both hashes."""
    (tmp_path / "other").mkdir()
    ours = make_wheel(tmp_path)
    theirs = make_wheel(tmp_path / "other", metadata="" if same else "Summary: other\n")

    def send(real: Send) -> Send:
        def upload(name: RepositoryName, item: Upload, stream: BinaryIO, progress: Callable[[int], None]) -> bool:
            publish(cloud, check([theirs]), repository, clock)
            return real(name, item, stream, progress)

        return upload

    files = check([ours])
    if same:
        [file] = publish(with_index(cloud, send), files, repository, clock)["files"]
        assert file["outcome"] == "exists"
        return
    with pytest.raises(ContentConflictError) as caught:
        publish(with_index(cloud, send), files, repository, clock)
    assert caught.value.conflicts == ((ours.name, sha256(ours), sha256(theirs)),)


def test_every_conflict_is_named(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, published: Callable[[Path], str]
) -> None:
    """Two files are there with other content: one error, before the third is sent."""
    (tmp_path / "new").mkdir()
    for version in ("1.0", "2.0"):
        published(make_wheel(tmp_path, version=version))
    new = [make_wheel(tmp_path / "new", version=v, metadata="Summary: new\n") for v in ("1.0", "2.0", "3.0")]
    with pytest.raises(ContentConflictError, match="are already in the registry with other content") as caught:
        publish(cloud, check(new), repository, clock)
    assert [file for file, _, _ in caught.value.conflicts] == [path.name for path in new[:2]]
    assert len(cloud.artifact_registry.list_files(repository)) == 2


def test_an_upload_that_is_never_listed(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path
) -> None:
    """Accepted is not published: after a bounded wait it is an error that a retry may help."""
    accepted = with_index(cloud, lambda _: lambda *_: True)
    with pytest.raises(NotConfirmedError, match="not listed by the registry within 120 s") as caught:
        publish(accepted, check([make_wheel(tmp_path)]), repository, clock)
    assert caught.value.retryable
    assert 120 < clock.slept < 140


def test_one_of_several_fails(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What has arrived is in the log, nothing more is begun, and a second run completes the release."""
    files = check([make_wheel(tmp_path, version=f"{number}.0") for number in range(6)])

    def send(real: Send) -> Send:
        def upload(name: RepositoryName, item: Upload, stream: BinaryIO, progress: Callable[[int], None]) -> bool:
            if "-2.0-" in item.file:
                raise AccessDeniedError("no more")
            return real(name, item, stream, progress)

        return upload

    with pytest.raises(AccessDeniedError, match="no more"):
        publish(with_index(cloud, send), files, repository, clock, parallel=1)
    assert "published before that: acme_demo-0.0-py3-none-any.whl, acme_demo-1.0-py3-none-any.whl" in caplog.text
    result = publish(cloud, files, repository, clock)
    assert [file["outcome"] for file in result["files"]] == ["exists"] * 2 + ["uploaded"] * 4


def test_a_killed_task_stops_sending(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path
) -> None:
    """`on_kill` ends an upload at its next block."""
    files = check([large_wheel(tmp_path, 2)])
    clock.stop()
    with pytest.raises(InterruptedWaitError):
        publish(cloud, files, repository, clock)
    assert cloud.artifact_registry.list_files(repository) == []


def test_uploads_are_parallel_over_connections_that_stay(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path
) -> None:
    """At most `parallel` at once, and no thread more than that."""
    threads: set[str] = set()

    def send(real: Send) -> Send:
        def upload(name: RepositoryName, item: Upload, stream: BinaryIO, progress: Callable[[int], None]) -> bool:
            threads.add(threading.current_thread().name)
            return real(name, item, stream, progress)

        return upload

    files = check([make_wheel(tmp_path, version=f"{number}.0") for number in range(12)])
    publish(with_index(cloud, send), files, repository, clock, parallel=3)
    assert 1 < len(threads) <= 3


def test_a_public_name_is_refused_with_all_other_problems(
    cloud: Cloud, clock: QuickClock, tmp_path: Path, project: str, public_upstream: str
) -> None:
    """The public upstream of the virtual repository serves the name, too: said before a byte is sent."""
    parent = f"projects/{project}/locations/europe-west1/repositories"
    private, remote, virtual = (RepositoryName.parse(f"{parent}/{name}") for name in ("private", "public", "all"))
    create_repository(cloud.artifact_registry, private)
    create_repository(cloud.artifact_registry, remote, mode="remote", upstreams=public_upstream)
    upstreams = {str(private): 100, str(remote): 10}
    create_repository(cloud.artifact_registry, virtual, mode="virtual", upstreams=upstreams)
    make_wheel(tmp_path, "taken")
    make_wheel(tmp_path, "free", "1!1.0", file="free-1!1.0-py3-none-any.whl")
    with pytest.raises(InvalidWheelError) as caught:
        publish_from(cloud, str(tmp_path / "*.whl"), private, clock, virtual=virtual)
    text = str(caught.value)
    assert "the name taken is served by the public upstream public of all, too" in text
    assert "has an epoch" in text
    assert "the name free" not in text
    assert cloud.artifact_registry.list_files(private) == []


@pytest.fixture
def public_upstream(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A public index on the loopback that serves one name."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    root = tmp_path_factory.mktemp("index")
    page = root / "simple" / "taken" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="taken-9.0-py3-none-any.whl#sha256={"0" * 64}">taken-9.0-py3-none-any.whl</a>')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_rules_are_kept(cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path) -> None:
    """The operator's rules are checked with everything else."""
    path = make_wheel(tmp_path, metadata="Requires-Python: >=3.12\n")
    rules = Rules.read(target_python="3.11", allowed_prefixes=["corp-"])
    with pytest.raises(InvalidWheelError) as caught:
        publish_from(cloud, str(path), repository, clock, rules=rules)
    assert len(caught.value.problems) == 2


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, published: Callable[[Path], str]
) -> None:
    """Forty megabytes are checked and sent in less than eight."""
    published(make_wheel(tmp_path, "warm"))
    path = large_wheel(tmp_path, 40)
    tracemalloc.start()
    assert published(path) == "uploaded"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_a_closed_index_can_be_used_again(google_: Running, owner: str) -> None:
    """It opens new connections."""
    from google.oauth2.credentials import Credentials

    index = PackageIndex(Session(Credentials(token=google_.token(owner))))
    name = RepositoryName.parse("projects/sandbox-tests/locations/europe-west1/repositories/none")
    for _ in range(2):
        with pytest.raises(AccessDeniedError, match="could not read the index page of acme"):
            index.files(name, "acme")
        index.close()
