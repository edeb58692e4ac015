"""pip itself resolves before an update, for the environment's Python and what is installed there."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_gar_provider.core.environment import Environment, EnvironmentName, Wish
from airflow_gar_provider.core.preflight import checks_of
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.errors import InterruptedWaitError, PreflightError, ResolverError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.preflight import prepare, supply_of
from airflow_gar_provider.steps.resolve import resolve
from tests.conftest import Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

pytestmark = pytest.mark.slow
RESOLVE = Callable[..., list[str]]
CHECKS = checks_of("resolve", ["access"])


@pytest.fixture
def found(cloud: Cloud, environment: EnvironmentName) -> Environment:
    return cloud.composer.get_environment(environment)


@pytest.fixture
def resolved(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> RESOLVE:
    def do(
        requirements: str, *, declared: dict[str, str] | None = None, clock: Clock = clock, **other: object
    ) -> list[str]:
        fields = {"repository": repository, "checks": CHECKS, **other}
        wish = Wish(found.name, parse_requirements(requirements), **fields)  # type: ignore[arg-type]
        prepared = prepare(cloud, wish, replace(found, packages=declared or {}), clock)
        return [str(requirement) for requirement in prepared.requirements]

    return do


@pytest.fixture
def publish(published: Callable[[Path], str], tmp_path: Path) -> Callable[..., None]:
    def do(name: str, version: str = "1.0", *requires: str) -> None:
        metadata = "".join(f"Requires-Dist: {text}\n" for text in requires)
        published(make_wheel(tmp_path, name, version, metadata=metadata))

    return do


def refused(resolved: RESOLVE, requirements: str, **other: object) -> list[str]:
    with pytest.raises(PreflightError) as caught:
        resolved(requirements, **other)
    assert {finding.check for finding in caught.value.findings} == {"resolve"}
    return [finding.text for finding in caught.value.findings]


def test_agreement_names_what_is_added_and_pins_it_on_request(
    resolved: RESOLVE, publish: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """A dependency is added, one that is preinstalled stays: it is not even looked for in the index."""
    caplog.set_level(logging.INFO)
    publish("acme_core", "1.4")
    publish("acme_core", "2.0")
    publish("acme_app", "1.0", "acme-core<2", "packaging>=20", "apache-airflow>=2")
    assert resolved("acme-app") == ["acme-app==1.0"]
    assert "the update brings: acme-app 1.0 (new), acme-core 1.4 (new)" in caplog.text
    assert resolved("acme-app", pin_dependencies=True) == ["acme-app==1.0", "acme-core==1.4"]


def test_a_conflict_names_both_sides(resolved: RESOLVE, publish: Callable[..., None]) -> None:
    """Between two wanted packages, and with one that somebody else listed."""
    for version in ("1.0", "2.0"):
        publish("acme_core", version)
    publish("acme_a", "1.0", "acme-core==1.0")
    publish("acme_b", "1.0", "acme-core==2.0")
    (text,) = refused(resolved, "acme-a, acme-b")
    assert "acme-a 1.0 depends on acme-core==1.0" in text
    assert "acme-b 1.0 depends on acme-core==2.0" in text
    (text,) = refused(resolved, "acme-b", declared={"acme-a": "==1.0"})
    assert "acme-a 1.0 depends on acme-core==1.0" in text


def test_what_is_preinstalled_does_not_move_by_itself(resolved: RESOLVE, publish: Callable[..., None]) -> None:
    """The conflict names the installed version; with pin_dependencies it moves, unless that breaks another package."""
    here = importlib.metadata.version("readme_renderer")
    publish("readme_renderer", "99.0")
    publish("readme_renderer", "0.1")
    publish("acme_app", "1.0", "readme-renderer==99.0")
    (text,) = refused(resolved, "acme-app")
    assert "acme-app 1.0 depends on readme-renderer==99.0" in text
    assert f"The user requested (constraint) readme-renderer=={here}" in text
    assert resolved("acme-app", pin_dependencies=True) == ["acme-app==1.0", "readme-renderer==99.0"]
    # `pip check` of the build would find this one: twine is installed, and needs a newer one.
    twine = importlib.metadata.version("twine")
    (text,) = refused(resolved, "readme-renderer==0.1")
    assert text.startswith(f"twine {twine}, which is installed, needs readme-renderer>=")
    assert text.endswith("but the update would leave readme-renderer 0.1")


def test_what_pip_cannot_find_is_quoted(resolved: RESOLVE, publish: Callable[..., None]) -> None:
    """A dependency that nobody serves is found in seconds."""
    publish("acme_app", "1.0", "acme-nowhere>=1")
    (text,) = refused(resolved, "acme-app")
    assert "Could not find a version that satisfies the requirement acme-nowhere>=1" in text


def test_no_token_is_left_anywhere(
    resolved: RESOLVE,
    publish: Callable[..., None],
    cloud: Cloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not on pip's command line, in its variables, in the log, in a file that others can read, or in one that stays."""
    caplog.set_level(logging.DEBUG)
    publish("acme_app")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: dict[str, object] = {}

    class Watched(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            (folder,) = tmp_path.glob("gar-resolve-*")
            seen["modes"] = {path.name: oct(path.stat().st_mode & 0o777) for path in (folder, folder / "netrc")}
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and str(folder) in _read(process / "cmdline"):
                    seen["process"] = _read(process / "cmdline") + _read(process / "environ")

    assert resolved("acme-app==1.0", clock=Watched()) == ["acme-app==1.0"]
    token = cloud.session.token()
    modes = seen["modes"]
    assert isinstance(modes, dict)
    assert set(modes.values()) == {"0o700", "0o600"}
    assert "--dry-run" in str(seen["process"])
    assert token not in str(seen["process"])
    assert token not in caplog.text
    assert not list(tmp_path.glob("gar-resolve-*"))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


class Racing(Clock):
    """Ten minutes pass between two looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 601
        return self._now


def test_a_killed_task_and_a_search_without_end_leave_no_pip(resolved: RESOLVE, publish: Callable[..., None]) -> None:
    """The process ends with the wait."""
    publish("acme_app")
    stopped = Clock()
    stopped.stop()
    with pytest.raises(InterruptedWaitError):
        resolved("acme-app==1.0", clock=stopped)
    with pytest.raises(ResolverError, match="pip found no answer within 600 s; it was last at:"):
        resolved("acme-app==1.0", clock=Racing())
    mine = [path for path in Path("/proc").glob("[0-9]*/stat") if f") S {os.getpid()} " in _read(path)]
    assert not [path for path in mine if "--dry-run" in _read(path.parent / "cmdline")]


def test_a_worker_without_pip(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock, tmp_path: Path
) -> None:
    """It is a clear error, not a conflict."""
    venv.create(tmp_path / "bare", with_pip=False)
    wish = Wish(found.name, parse_requirements("acme-app==1.0"), repository=repository)
    supply, _ = supply_of(cloud, found, repository)
    with pytest.raises(ResolverError, match="needs pip beside Airflow"):
        resolve(cloud, wish, found, supply, clock, python=str(tmp_path / "bare" / "bin" / "python"))


def test_who_may_not_list_packages_resolves_on_its_own(
    resolved: RESOLVE, publish: Callable[..., None], sandbox: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the environment's packages there are no constraints, and the log says so."""
    publish("acme_app")
    method = "google.cloud.orchestration.airflow.service.v1.Environments.ExecuteAirflowCommand"
    sandbox.fault(method, kind="status", status=403)
    assert resolved("acme-app==1.0") == ["acme-app==1.0"]
    assert "what the environment has is not known" in caplog.text
    assert sandbox.unused() == []
