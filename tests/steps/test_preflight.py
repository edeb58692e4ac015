"""Preflight against the sandbox: exact pins from the standard repository, and every finding before a build."""

from __future__ import annotations

import hashlib
import http.server
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_gar_provider.core.environment import Environment, EnvironmentName, Wish
from airflow_gar_provider.core.preflight import CHECKS, checks_of
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.errors import PreflightError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.point import PIP_CONF
from airflow_gar_provider.steps.preflight import prepare
from airflow_gar_provider.steps.repository import create_repository
from tests.conftest import LOCATION, Running, wheel
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"
PREPARE = Callable[..., list[str]]


@pytest.fixture
def found(cloud: Cloud, environment: EnvironmentName) -> Environment:
    return cloud.composer.get_environment(environment)


@pytest.fixture
def prepared(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> PREPARE:
    """Prepares a wish with the repository; returns the requirements that come out, as text."""

    def do(requirements: str, **other: object) -> list[str]:
        fields: dict[str, object] = {"repository": repository, **other}
        environment = fields.pop("environment", found)
        assert isinstance(environment, Environment)
        wish = Wish(environment.name, parse_requirements(requirements), **fields)  # type: ignore[arg-type]
        return [str(requirement) for requirement in prepare(cloud, wish, environment, clock).requirements]

    return do


@pytest.fixture
def public(sandbox: Running) -> Iterator[dict[str, bytes]]:
    """Somebody else's index on this machine: put files in by name; `url` is where it is."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place, _, name = self.path.strip("/").partition("/")
            package = name.strip("/")
            links = [
                f'<a href="/files/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>'
                for file, content in files.items()
                if _package(file) == package
            ]
            content = files.get(package) if place == "files" else "".join(links).encode()
            self.send_response(200 if content else 404)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        files["url"] = f"http://127.0.0.1:{server.server_port}/".encode()
        yield files
        server.shutdown()
        thread.join()


def _package(file: str) -> str:
    return re.sub(r"[-_.]+", "-", file.partition("-")[0]).lower()


@pytest.fixture
def virtual(cloud: Cloud, repository: RepositoryName, public: dict[str, bytes]) -> RepositoryName:
    """The private repository, and the public index behind it."""
    remote, both = (replace(repository, name=name) for name in ("pypi", "all"))
    create_repository(cloud.artifact_registry, remote, mode="remote", upstreams=public["url"].decode())
    upstreams = {str(repository): 100, str(remote): 10}
    create_repository(cloud.artifact_registry, both, mode="virtual", upstreams=upstreams)
    return both


def refused(prepared: PREPARE, requirements: str, **other: object) -> list[tuple[str, str, str]]:
    with pytest.raises(PreflightError) as caught:
        prepared(requirements, **other)
    return [(finding.check, finding.text, finding.remedy) for finding in caught.value.findings]


@pytest.mark.parametrize(
    ("asked", "pinned"),
    [
        ("acme-demo", "acme-demo==1.10"),
        ("acme-demo<1.10", "acme-demo==1.9"),
        ("Acme_Demo[geo]~=1.0", "acme-demo[geo]==1.10"),
        ("acme-demo==1.9", "acme-demo==1.9"),
        ("acme-demo>=2.0rc1", "acme-demo==2.0rc1"),
    ],
)
def test_ranges_become_exact_pins(
    prepared: PREPARE, published: Callable[[Path], str], tmp_path: Path, asked: str, pinned: str
) -> None:
    """The newest that matches, that is no pre-release, and that fits; extras stay."""
    for version in ("1.9", "1.10", "2.0rc1"):
        published(make_wheel(tmp_path, version=version))
    published(make_wheel(tmp_path, version="1.11", tag="cp27-cp27m-win32"))
    assert prepared(asked) == [pinned]
    assert prepared(asked, checks=frozenset()) == [pinned]


def test_the_standard_repository_decides_and_not_the_public_one(
    prepared: PREPARE,
    published: Callable[[Path], str],
    tmp_path: Path,
    virtual: RepositoryName,
    public: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A higher version of a private name in the public index is not taken; a public name stays as it is written."""
    caplog.set_level(logging.INFO)
    published(make_wheel(tmp_path, version="1.0"))
    public.update([wheel("acme_demo", "99.0"), wheel("numpy_like", "2.0")])
    wanted = prepared("acme-demo, numpy-like>=1", repository=virtual)
    assert wanted == ["acme-demo==1.0", "numpy-like>=1"]
    assert "numpy-like>=1 is not in the standard repository: it stays as it is written" in caplog.text


def test_everything_is_told_at_once_and_nothing_is_changed(
    prepared: PREPARE,
    published: Callable[[Path], str],
    tmp_path: Path,
    sandbox: Running,
    environment: EnvironmentName,
    found: Environment,
) -> None:
    """State, requirement, version, name, platform, Python: one error; neither bucket nor environment is written."""
    published(make_wheel(tmp_path, version="1.0"))
    published(make_wheel(tmp_path, "acme_win", tag="cp311-cp311-win_amd64"))
    published(make_wheel(tmp_path, "acme_new", metadata="Requires-Python: >=3.99\n"))
    findings = refused(
        prepared,
        "acme-demo==9.9, nobody==1.0, acme-win, acme-new==1.0, apache-airflow==1.0",
        environment=replace(found, state="HIBERNATED"),
    )
    assert [check for check, _, _ in findings] == ["state", "requirement", "index", "index", "wheel", "wheel", "index"]
    text = "\n".join(text for _, text, _ in findings)
    for part in (
        "the environment is in state HIBERNATED",
        "acme-demo==9.9 is not in projects/",
        "1.0: not ==9.9",
        "nobody==1.0 is not in projects/",
        "it holds no version of it",
        "acme_win-1.0-cp311-cp311-win_amd64.whl does not run on Python 3.",
        "acme_new-1.0-py3-none-any.whl needs Python >=3.99",
    ):
        assert part in text
    methods = {call["method"] for call in sandbox.calls(environment.project)}
    assert not {UPDATE, "storage.objects.insert"} & methods


def test_each_check_can_be_skipped_by_name(
    prepared: PREPARE, published: Callable[[Path], str], tmp_path: Path, found: Environment
) -> None:
    """What is skipped is not found, what is not skipped still is."""
    published(make_wheel(tmp_path, "acme_win", tag="cp311-cp311-win_amd64"))
    sick = replace(found, state="ERROR")
    wish = "acme-win==1.0, nobody==1.0, apache-airflow==1.0"
    for skipped, left in (
        (["state"], ["requirement", "wheel", "index", "index"]),
        (["state", "index"], ["requirement", "wheel"]),
        (["wheel", "requirement"], ["state", "index", "index"]),
    ):
        findings = refused(prepared, wish, environment=sick, checks=checks_of(True, skipped))
        assert [check for check, _, _ in findings] == left
    assert prepared(wish, environment=sick, checks=frozenset({"access", "confusion"})) == wish.split(", ")


def test_what_is_declared_already_is_not_looked_at(
    prepared: PREPARE, found: Environment, sandbox: Running, project: str
) -> None:
    """A second run costs no call to the registry, and does not fail for what is no longer there."""
    declared = replace(found, packages={"nobody": "==1.0"})
    before = len(sandbox.calls(project))
    assert prepared("nobody==1.0", environment=declared) == ["nobody==1.0"]
    assert len(sandbox.calls(project)) == before


def test_the_index_is_the_one_of_pip_conf(
    prepared: PREPARE,
    cloud: Cloud,
    found: Environment,
    repository: RepositoryName,
    published: Callable[[Path], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without `repository` what the environment's own file names is looked at; a foreign index is not guessed at."""
    published(make_wheel(tmp_path, version="1.0"))
    assert prepared("acme-demo==9.9", repository=None) == ["acme-demo==9.9"]
    assert "whether the index has acme-demo==9.9 is not known" in caplog.text

    def write(text: str) -> None:
        cloud.storage.write(found.bucket, PIP_CONF, text.encode())

    write(f"[global]\nindex-url = {repository.index_url}\n")
    assert prepared("acme-demo", repository=None) == ["acme-demo==1.0"]
    assert [check for check, _, _ in refused(prepared, "acme-demo==9.9", repository=None)] == ["index"]

    write(f"[global]\nindex-url = {repository.index_url}\nno-index = true\n")
    ((check, text, _),) = refused(prepared, "acme-demo==1.0", repository=None)
    assert (check, "no-index" in text) == ("index", True)

    write("index-url = broken\n")
    ((check, text, _),) = refused(prepared, "acme-demo==1.0")
    assert (check, "pip.conf" in text) == ("index", True)

    write(f"[global]\nindex-url = {replace(repository, name='elsewhere').index_url}\n")
    findings = refused(prepared, "acme-demo==1.0", repository=None)
    assert "repositories/elsewhere, which does not exist" in findings[0][1]


def test_access_that_is_missing_for_certain_is_a_finding(
    prepared: PREPARE,
    published: Callable[[Path], str],
    tmp_path: Path,
    sandbox: Running,
    found: Environment,
    repository: RepositoryName,
    cloud: Cloud,
    owner: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is certain when the account itself may be asked; else it is a warning, and both carry the grant."""
    published(make_wheel(tmp_path))
    assert prepared("acme-demo==1.0") == ["acme-demo==1.0"]
    assert "gcloud artifacts repositories add-iam-policy-binding python" in caplog.text
    role = f"serviceAccount:{owner}=roles/iam.serviceAccountTokenCreator@projects/{found.name.project}"
    sandbox.setup(grants=[role])
    ((check, text, remedy),) = refused(prepared, "acme-demo==1.0")
    assert check == "access"
    assert f"{found.service_account} may not read projects/" in text
    assert "gcloud artifacts repositories add-iam-policy-binding python" in remedy
    assert f"serviceAccount:{found.service_account}" in remedy
    assert prepared("acme-demo==1.0", checks=checks_of(True, "access")) == ["acme-demo==1.0"]
    # Where pip.conf carries a key, the build reads with that, whatever the account may.
    url = repository.index_url.replace("https://", "https://_json_key_base64:bm90LWEta2V5@")
    cloud.storage.write(found.bucket, PIP_CONF, f"[global]\nindex-url = {url}\n".encode())
    assert prepared("acme-demo==1.0", repository=None) == ["acme-demo==1.0"]


def test_private_names_that_reach_pip_open_and_are_public_too(
    prepared: PREPARE,
    published: Callable[[Path], str],
    tmp_path: Path,
    virtual: RepositoryName,
    public: dict[str, bytes],
    found: Environment,
) -> None:
    """Through two wheels, an extra and a marker; a pin beside it, or in the environment's list, closes the gap."""
    published(make_wheel(tmp_path, "acme_core", "1.4"))
    published(make_wheel(tmp_path, "acme_old", "1.0"))
    published(make_wheel(tmp_path, "acme_geo", "1.0", metadata="Requires-Dist: acme-core>=1\n"))
    requires = (
        "Requires-Dist: acme-geo==1.0; extra == 'geo'\nRequires-Dist: acme-old; python_version < '3'\n"
        "Requires-Dist: numpy-like\n"
    )
    published(make_wheel(tmp_path, "acme_app", "2.0", metadata=requires))
    public.update([wheel("acme_core", "99.0"), wheel("acme_old", "99.0"), wheel("numpy_like", "2.0")])

    def check(requirements: str, **other: object) -> object:
        return prepared(requirements, repository=virtual, **other)

    assert check("acme-app") == ["acme-app==2.0"]
    ((name, text, remedy),) = refused(prepared, "acme-app[geo]", repository=virtual)
    assert name == "confusion"
    assert "acme-geo 1.0 requires acme-core>=1, a private name, and the public index behind projects/" in text
    assert "serves acme-core 99.0 too: pip takes the highest version of both" in text
    assert "require acme-core==1.4 beside it" in remedy
    assert check("acme-app[geo], acme-core==1.4") == ["acme-app[geo]==2.0", "acme-core==1.4"]
    assert check("acme-app[geo]", environment=replace(found, packages={"Acme_Core": "==1.4"}))
    assert check("acme-app[geo]", checks=frozenset(CHECKS) - {"confusion"})


def test_a_big_wheel_is_not_downloaded_for_its_metadata(
    prepared: PREPARE,
    published: Callable[[Path], str],
    tmp_path: Path,
    virtual: RepositoryName,
    public: dict[str, bytes],
    cloud: Cloud,
    repository: RepositoryName,
) -> None:
    """Its table of contents and its METADATA are read by ranges."""
    import random

    from airflow_gar_provider.gcp.remote_wheel import metadata_of

    noise = random.Random(1).randbytes(3_000_000).decode("latin-1")
    published(make_wheel(tmp_path, "acme_big", members={"acme_big.txt": noise}, metadata="Requires-Dist: acme-x\n"))
    (file,) = cloud.package_index.files(repository, "acme-big") or ()
    sizes: list[int] = []
    cloud.session.http.hooks["response"].append(lambda answer, **_: sizes.append(len(answer.content)))
    assert "Requires-Dist: acme-x" in metadata_of(cloud.session, file.url)
    assert 0 < sum(sizes) < 300_000


def test_who_may_not_look_is_told_and_goes_on(
    cloud_of: Callable[[str], Cloud],
    sandbox: Running,
    prepared: PREPARE,
    published: Callable[[Path], str],
    tmp_path: Path,
    found: Environment,
    repository: RepositoryName,
    clock: QuickClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A caller without rights on registry, bucket and images checks less; nothing is guessed, nothing fails."""
    published(make_wheel(tmp_path))
    blind = f"blind@{found.name.project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[blind])
    wish = Wish(found.name, parse_requirements("acme-demo>=1, other==2"), repository=repository)
    assert prepare(cloud_of(blind), wish, found, clock).requirements == wish.requirements
    for said in ("pip.conf cannot be read", "is not known to this task", "wheels are not held against it"):
        assert said in caplog.text


def test_a_source_distribution_alone_is_a_warning(
    prepared: PREPARE, virtual: RepositoryName, public: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """The environment's build may be able to build it."""
    public["acme_src-1.0.tar.gz"] = b"x"
    assert prepared("acme-src==1.0", repository=virtual) == ["acme-src==1.0"]
    assert "of acme-src==1.0 there is only a source distribution" in caplog.text


def test_an_upstream_that_the_virtual_repository_cannot_see(
    cloud: Cloud,
    project: str,
    repository: RepositoryName,
    prepared: PREPARE,
    published: Callable[[Path], str],
    tmp_path: Path,
    sandbox: Running,
) -> None:
    """What the standard repository has and the virtual one does not serve would not be found by pip."""
    published(make_wheel(tmp_path))
    other = RepositoryName.parse(f"projects/{project}/locations/{LOCATION}/repositories/front")
    empty = replace(repository, name="empty")
    create_repository(cloud.artifact_registry, empty)
    create_repository(cloud.artifact_registry, other, mode="virtual", upstreams={str(empty): 1})
    findings = refused(prepared, "acme-demo==1.0", repository=other)
    assert [check for check, _, _ in findings] == ["index"]
    assert "empty: it holds no version of it" in findings[0][1] or "front" in findings[0][1]


@pytest.mark.slow
def test_a_thousand_requirements(
    prepared: PREPARE, published: Callable[[Path], str], tmp_path: Path, sandbox: Running, project: str
) -> None:
    """One page each, several at once; policy and sources are read once, not once per package."""
    published(make_wheel(tmp_path))
    before = len(sandbox.calls(project))
    names = [f"acme-none{number}==1.0" for number in range(999)]
    findings = refused(prepared, ", ".join(["acme-demo", *names]))
    assert [check for check, _, _ in findings] == ["index"] * 999
    assert len(sandbox.calls(project)) - before < 1010
