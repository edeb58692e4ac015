"""Copying DAG files to an environment, and deleting them there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.errors import ConcurrentChangeError, InvalidInputError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.deploy_dag import deploy_dags
from tests.conftest import Running


@pytest.fixture
def found(cloud: Cloud, environment: EnvironmentName) -> Environment:
    return cloud.composer.get_environment(environment)


@pytest.fixture
def deploy(cloud: Cloud, found: Environment) -> Callable[..., dict[str, Any]]:
    def do(files: object, **options: Any) -> dict[str, Any]:
        return deploy_dags(cloud.storage, found, files, **options)

    return do


@pytest.fixture
def there(cloud: Cloud, found: Environment) -> Callable[[], dict[str, bytes]]:
    """What is below dags/ now: path -> content."""

    def read() -> dict[str, bytes]:
        names = [stored.name for stored in cloud.storage.list(found.bucket, "dags/")]
        return {name.removeprefix("dags/"): (cloud.storage.read(found.bucket, name) or (b"", 0))[0] for name in names}

    return read


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder as a team keeps it."""
    root = tmp_path / "src"
    for path in ("one.py", "team/two.py", "team/sql/q.sql", "team/__pycache__/two.pyc", "team/.airflowignore", ".env"):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return root


def test_deployed_once(
    deploy: Callable[..., dict[str, Any]], there: Callable[[], dict[str, bytes]], found: Environment, tmp_path: Path
) -> None:
    """Written, unchanged, one of two written, deleted, unchanged; the result names each file."""
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("1")
    two.write_text("2")
    uris = [f"gs://{found.bucket}/dags/one.py", f"gs://{found.bucket}/dags/two.py"]
    first = deploy(str(tmp_path / "*.py"))
    assert (first["outcome"], first["message"]) == ("written", "one.py, two.py copied to dev")
    assert (first["files"], first["written"], first["unchanged"], first["deleted"]) == (uris, uris, [], [])
    again = deploy(f"{one}\n{two}")
    assert (again["outcome"], again["message"]) == ("unchanged", "one.py, two.py already in dev")
    assert again["unchanged"] == uris
    two.write_text("2b")
    changed = deploy([str(one), str(two)])
    assert (changed["outcome"], changed["written"], changed["unchanged"]) == ("written", uris[1:], uris[:1])
    assert there()["two.py"] == b"2b"
    gone = deploy(str(two), delete=True)
    assert (gone["outcome"], gone["message"], gone["deleted"]) == ("deleted", "two.py deleted from dev", uris[1:])
    none = deploy(str(two), delete=True)
    assert (none["outcome"], none["message"]) == ("unchanged", "two.py not in dev")
    assert list(there()) == ["one.py"]


@pytest.mark.parametrize(
    ("files", "destination", "targets"),
    [
        ("{}", "", {"src/one.py", "src/team/two.py", "src/team/sql/q.sql"}),
        ("{}/", "", {"one.py", "team/two.py", "team/sql/q.sql"}),
        ("{}/team", "", {"team/two.py", "team/sql/q.sql"}),
        ("{}/team/", "", {"two.py", "sql/q.sql"}),
        ("{}/**/*.py", "", {"one.py", "team/two.py"}),
        ("{}/*/*.py", "", {"team/two.py"}),
        ("{}/team/*", "", {"two.py"}),
        ("{}/team/two.py", "", {"two.py"}),
        ("{}/team/two.py, {}/one.py", "group/x", {"group/x/two.py", "group/x/one.py"}),
        ("{}/team/.airflowignore", "team", {"team/.airflowignore"}),
    ],
)
def test_what_is_taken_and_where_it_goes(
    deploy: Callable[..., dict[str, Any]],
    there: Callable[[], dict[str, bytes]],
    cloud: Cloud,
    found: Environment,
    tree: Path,
    files: str,
    destination: str,
    targets: set[str],
) -> None:
    """Folders and patterns keep their sub-folders; hidden files are taken when they are named only. From a bucket the
    same files come out."""
    result = deploy(files.replace("{}", str(tree)), destination=destination)
    assert set(there()) == targets
    assert {uri.split("/dags/")[1] for uri in result["written"]} == targets
    for path in tree.rglob("*"):
        if path.is_file():
            cloud.storage.upload(found.bucket, f"data/src/{path.relative_to(tree)}", path)
    again = deploy(files.replace("{}", f"gs://{found.bucket}/data/src"), destination=destination)
    assert (again["outcome"], set(again["unchanged"])) == ("unchanged", set(result["written"]))


def test_from_another_bucket(
    deploy: Callable[..., dict[str, Any]],
    there: Callable[[], dict[str, bytes]],
    sandbox: Running,
    cloud: Cloud,
    project: str,
    tree: Path,
) -> None:
    """Copied on Google's side, and again only what changed."""
    sandbox.setup(buckets=[f"{project}/{project}-ci"])
    cloud.storage.upload(f"{project}-ci", "build/7/one.py", tree / "one.py")
    assert deploy(f"gs://{project}-ci/build/7/")["outcome"] == "written"
    assert there() == {"one.py": b"one.py"}
    assert deploy(f"gs://{project}-ci/build/7/*.py")["outcome"] == "unchanged"
    cloud.storage.write(f"{project}-ci", "build/7/one.py", b"new")
    assert deploy(f"gs://{project}-ci/build/7/one.py")["outcome"] == "written"
    assert there() == {"one.py": b"new"}


def test_nothing_else_is_touched(
    deploy: Callable[..., dict[str, Any]],
    there: Callable[[], dict[str, bytes]],
    cloud: Cloud,
    found: Environment,
    tree: Path,
) -> None:
    """Other people's files, among them .airflowignore and files of the same name elsewhere, stay byte for byte."""
    others = {
        "other.py": b"o",
        ".airflowignore": b"x",
        "team/.airflowignore": b"y",
        "lib/two.py": b"z",
        "team.py": b"t",
    }
    for name, content in others.items():
        cloud.storage.write(found.bucket, f"dags/{name}", content)
    deploy(f"{tree}/")
    assert others.items() <= there().items()
    deploy(f"{tree}/", delete=True)
    assert there() == others


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ("", {}, "no DAG file was named"),
        ("/nowhere.py", {}, "there is no such DAG file: /nowhere.py"),
        ("/nowhere/*.py", {"delete": True}, r"there is no such DAG file: /nowhere/\*.py"),
        (["/a.py", "gs://", "/b.py"], {}, "no such DAG file: /a.py; gs:// names no bucket; there is no .*: /b.py"),
        ("{}/one.py, {}/team/one.py", {}, "one.py and .*/team/one.py would both become dags/one.py"),
        ("{}/one.py", {"destination": "../data"}, "'one.py' below '../data' is not below dags/"),
        ("gs://BUCKET/dags/", {"delete": True}, "does not name one file below dags/"),
        ("gs://BUCKET/dags/*.py", {"delete": True}, "does not name one file below dags/"),
        ("gs://BUCKET/config/pip/pip.conf", {"delete": True}, "does not name one file below dags/"),
    ],
)
def test_what_is_refused(
    deploy: Callable[..., dict[str, Any]],
    there: Callable[[], dict[str, bytes]],
    found: Environment,
    tree: Path,
    files: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    """Every problem is named, and nothing is written."""
    (tree / "team" / "one.py").write_text("another one")
    if isinstance(files, str):
        files = files.replace("{}", str(tree)).replace("BUCKET", found.bucket)
    with pytest.raises(InvalidInputError, match=message):
        deploy(files, **options)
    assert there() == {}


def test_deleted_by_name(
    deploy: Callable[..., dict[str, Any]], there: Callable[[], dict[str, bytes]], tree: Path
) -> None:
    """What a deployment named can be deleted by these names, also when the files are gone here."""
    result = deploy(f"{tree}/team")
    for path in (tree / "team").rglob("*.py"):
        path.unlink()
    assert deploy(result["files"], delete=True)["deleted"] == result["files"]
    assert there() == {}
    deploy(str(tree / "one.py"))
    (tree / "one.py").unlink()
    assert deploy(str(tree / "one.py"), delete=True)["outcome"] == "deleted"


def test_many_files(
    deploy: Callable[..., dict[str, Any]], there: Callable[[], dict[str, bytes]], sandbox: Running, tmp_path: Path
) -> None:
    """Forty at once; when one fails the others are written, and another try writes only that one."""
    for number in range(40):
        (tmp_path / f"dag_{number:02}.py").write_text(str(number))
    sandbox.fault("storage.objects.insert", status=400, message="as asked", times=2)
    with pytest.raises(Exception, match="could not upload to the object"):
        deploy(str(tmp_path / "*.py"))
    assert len(there()) == 38
    assert sandbox.unused() == []
    again = deploy(str(tmp_path / "*.py"))
    assert len(again["written"]) == 2
    assert again["message"].endswith("copied to dev")
    assert len(there()) == 40
    assert deploy(str(tmp_path / "*.py"))["message"] == (
        "dag_00.py, dag_01.py, dag_02.py, dag_03.py, dag_04.py and 35 more already in dev"
    )


def test_somebody_else_writes_at_the_same_time(
    cloud: Cloud, found: Environment, tmp_path: Path, there: Callable[[], dict[str, bytes]]
) -> None:
    """A file that changed between our look and our write is not overwritten: another try looks again."""
    (tmp_path / "a.py").write_text("ours")

    class Racing:
        """The real storage, with somebody who is quicker."""

        def __getattr__(self, name: str) -> Any:
            return getattr(cloud.storage, name)

        def upload(self, bucket: str, name: str, source: Path, **options: Any) -> int:
            cloud.storage.write(bucket, name, b"theirs")
            return cloud.storage.upload(bucket, name, source, **options)

    with pytest.raises(ConcurrentChangeError):
        deploy_dags(Racing(), found, str(tmp_path / "a.py"))  # type: ignore[arg-type]
    assert there() == {"a.py": b"theirs"}
    assert deploy_dags(cloud.storage, found, str(tmp_path / "a.py"))["outcome"] == "written"


def test_an_outage_that_passes(deploy: Callable[..., dict[str, Any]], sandbox: Running, tmp_path: Path) -> None:
    """An outage that passes is not seen; Google's client may send a write again that is bound to a generation."""
    (tmp_path / "a.py").write_text("1")
    sandbox.fault("storage.objects.insert", status=503)
    assert deploy(str(tmp_path / "a.py"))["outcome"] == "written"
    assert sandbox.unused() == []
