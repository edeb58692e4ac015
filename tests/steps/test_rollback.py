"""Rollback: a package that breaks DAGs goes back to its earlier version, and is held."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    HeldVersionError,
    InstallFailedError,
    RollbackFailedError,
    RolledBackError,
    UnavailableError,
    VerificationError,
)
from airflow_gar_provider.gcp.composer import Composer
from airflow_gar_provider.steps.hold import hold, holds, release
from airflow_gar_provider.steps.install import Pending, begin
from airflow_gar_provider.steps.pip_backup import PIP_CONF, backup_name, restore
from airflow_gar_provider.steps.point import point, written_by
from airflow_gar_provider.steps.record import RunRecord
from airflow_gar_provider.steps.rollback import restore_pip_conf
from tests.steps.installing import UPDATE, Site

USES = """
from airflow import DAG
from acme_demo import distance
with DAG("uses", schedule=None):
    pass
"""
BROKEN = "import no_such_module_at_all\n"
GOOD = {"acme_demo.py": "VERSION = '1.0'\ndef distance(): return 1\n"}
WORSE = {"acme_demo.py": "VERSION = '2.0'\n"}
FAILURE = "cannot import name 'distance' from 'acme_demo'"


class Lying(Composer):
    """Google's Composer, whose `pip list` says that nothing is installed: a verification that fails at once."""

    def pip_list(self, *_: Any) -> str:
        return "pip 24.0"


def lying(site: Site) -> Site:
    """The same site, in a new process, where every verification fails."""
    other = site.another_worker()
    other.cloud.composer = Lying(other.cloud.session)
    return other


@pytest.fixture
def ready(site: Site) -> Site:
    """Two versions are published and may be read; 1.0 is installed, and another package that is not ours."""
    site.publish("1.0", members=GOOD)
    site.publish("2.0", members=WORSE)
    site.publish("1.0", "acme_other")
    site.grant()
    site.install(requirements="acme-demo==1.0, acme-other==1.0", run="dag/before/install")
    return site


@pytest.mark.slow
def test_new_import_errors_are_rolled_back_and_the_version_is_held(ready: Site) -> None:
    """A DAG that can no longer be imported fails the step with file and last line; the old version comes back.

    What was broken before does not count. The version is refused until it is released.
    """
    ready.deploy("uses.py", USES)
    ready.deploy("broken.py", BROKEN)
    wish = ready.wish("acme-demo==2.0", rollback=True, import_errors=True)
    with pytest.raises(RolledBackError) as caught:
        ready.install(wish)
    text = str(caught.value)
    assert "uses.py can no longer be imported: ImportError: " + FAILURE in text
    assert "broken.py" not in text
    assert "acme-demo==1.0 is declared again" in text
    assert not caught.value.retryable
    assert caught.value.as_result()["outcome"] == "rolled_back"
    assert json.loads(json.dumps(caught.value.as_result()))["held"] == ["acme-demo 2.0"]
    assert ready.packages() == {"acme-demo": "==1.0", "acme-other": "==1.0"}
    assert ready.updates() == 3
    assert ready.stored()["outcome"] == "rolled_back"

    with pytest.raises(HeldVersionError, match=r"acme-demo 2\.0: rolled back by dag/run/install") as refused:
        begin(ready.cloud, wish, ready.clock)
    assert FAILURE in str(refused.value)
    assert ready.updates() == 3
    assert release(ready.cloud.storage, ready.now().bucket, "acme-demo", "2.0") == ["2.0"]
    assert isinstance(begin(ready.cloud, ready.wish("acme-demo==2.0"), ready.clock), Pending)


@pytest.mark.slow
def test_without_rollback_new_import_errors_fail_the_task(ready: Site) -> None:
    """The packages stay as they are now, and nothing is held."""
    ready.deploy("uses.py", USES)
    with pytest.raises(VerificationError, match=FAILURE) as caught:
        ready.install(requirements="acme-demo==2.0", import_errors=True)
    assert not caught.value.retryable
    assert ready.packages()["acme-demo"] == "==2.0"
    assert holds(ready.cloud.storage, ready.now().bucket, ["acme-demo"]) == {}


@pytest.mark.slow
def test_a_crash_in_each_part_of_a_rollback_is_completed(ready: Site) -> None:
    """Before its update, after its lost answer, after its end: the next process goes on, in one update."""
    wish = ready.wish("acme-demo==2.0", rollback=True)
    pending = ready.start(wish)
    ready.wait(pending)
    ready.sandbox.fault(UPDATE, kind="status", status=503)
    with pytest.raises(UnavailableError):
        lying(ready).proceed(wish, pending)
    assert ready.stored()["phase"] == "rolling_back"
    ready.sandbox.fault(UPDATE, kind="lost_answer")
    with pytest.raises(UnavailableError):
        ready.another_worker().install(wish)
    found = begin(ready.another_worker().cloud, wish, ready.clock)
    assert isinstance(found, Pending)
    ready.wait(found)
    with pytest.raises(RolledBackError, match=r"acme-demo==2\.0 is declared, but not installed"):
        ready.another_worker().install(wish)
    assert ready.packages() == {"acme-demo": "==1.0", "acme-other": "==1.0"}
    assert ready.updates() == 3
    assert ready.sandbox.unused() == []


@pytest.mark.slow
def test_a_rollback_that_fails_is_tried_again(ready: Site) -> None:
    """Both failures are told; the next try goes on with the rollback."""
    wish = ready.wish("acme-demo==2.0", rollback=True)
    pending = ready.start(wish)
    ready.wait(pending)
    ready.sandbox.fault(UPDATE, kind="failed_operation", message="Internal error.")
    broken = lying(ready)
    following = broken.proceed(wish, pending)
    assert isinstance(following, Pending)
    with pytest.raises(RollbackFailedError, match="Its rollback failed as well: Internal error") as caught:
        broken.install(wish)
    assert "acme-demo==2.0 is declared, but not installed" in str(caught.value)
    assert caught.value.retryable
    with pytest.raises(RolledBackError):
        ready.another_worker().install(wish)
    assert ready.packages()["acme-demo"] == "==1.0"


@pytest.mark.slow
def test_others_packages_are_left_alone(ready: Site) -> None:
    """What somebody declared or changed since our update stays; removals and spellings of ours come back."""
    wish = ready.wish("acme-demo==2.0", absent=("acme-other",), rollback=True)
    pending = ready.start(wish)
    ready.wait(pending)
    ready.publish("1.0", "acme_theirs")
    ready.patch({"acme-theirs": "==1.0"}).result(timeout=120)
    with pytest.raises(RolledBackError):
        lying(ready).install(wish)
    assert ready.packages() == {"acme-demo": "==1.0", "acme-other": "==1.0", "acme-theirs": "==1.0"}


@pytest.mark.slow
def test_a_failed_build_leaves_the_old_packages_and_says_so(ready: Site) -> None:
    """There is nothing to roll back: no second update, nothing held; the run has an end."""
    ready.publish("3.0", metadata="Requires-Dist: acme-no-such-package==1.0\n")
    with pytest.raises(InstallFailedError, match="keeps running with the packages that it had before"):
        ready.install(requirements="acme-demo==3.0", rollback=True, checks=frozenset())
    assert ready.updates() == 2
    assert ready.packages()["acme-demo"] == "==1.0"
    assert holds(ready.cloud.storage, ready.now().bucket, ["acme-demo"]) == {}
    assert ready.stored()["outcome"] == "failed"


def test_a_rollback_needs_its_record(site: Site) -> None:
    """Without the right to write it, nothing is begun: a rollback could not know what was before."""
    site.publish("1.0")
    project = site.environment.project
    name = f"narrow@{project}.iam.gserviceaccount.com"
    grants = [
        f"serviceAccount:{name}={role}@projects/{project}"
        for role in ("roles/composer.admin", "roles/iam.serviceAccountUser")
    ]
    site.sandbox.setup(accounts=[name], grants=grants)
    with pytest.raises(AccessDeniedError, match="a rollback needs the record"):
        begin(site.cloud_of(name), site.wish(repository=None, rollback=True, checks=frozenset()), site.clock)
    assert site.updates() == 0


# pip.conf


def restored(site: Site, before: int, ours: int) -> str:
    record = RunRecord("run", pip_conf=before, pip_conf_ours=ours)
    return restore_pip_conf(site.cloud.storage, site.now().bucket, record)


def test_pip_conf_comes_back(site: Site) -> None:
    """From the backup of its generation; a second time changes nothing; without one before, it goes."""
    bucket, storage = site.now().bucket, site.cloud.storage
    before = storage.write(bucket, PIP_CONF, b"[global]\nold = 1\n")
    storage.write(bucket, backup_name(before), b"[global]\nold = 1\n")
    ours = storage.write(bucket, PIP_CONF, b"[global]\nnew = 1\n")
    assert restored(site, before, ours) == "pip.conf as it was before"
    assert site.pip_conf() == "[global]\nold = 1\n"
    assert restored(site, before, ours) == "pip.conf as it was before"
    ours = storage.write(bucket, PIP_CONF, b"[global]\nnew = 1\n")
    assert restored(site, 0, ours) == "pip.conf as it was before"
    assert site.pip_conf() is None


def test_somebody_elses_pip_conf_is_left(site: Site) -> None:
    """Written after ours, or without a backup of what was before: it stays, and that is said."""
    bucket, storage = site.now().bucket, site.cloud.storage
    ours = storage.write(bucket, PIP_CONF, b"[global]\nours = 1\n")
    storage.write(bucket, PIP_CONF, b"[global]\ntheirs = 1\n")
    assert restored(site, 0, ours) == "pip.conf was left: somebody else changed it since"
    assert restored(site, 17, ours) == "pip.conf could not be restored: its backup is gone"
    assert site.pip_conf() == "[global]\ntheirs = 1\n"


def test_pip_conf_is_ours_only_when_its_own_notes_say_so(site: Site) -> None:
    """Somebody writes it before our write, and again after it: what we replaced is theirs, what is there is theirs."""
    environment, storage = site.now(), site.cloud.storage
    bucket = environment.bucket
    storage.write(bucket, PIP_CONF, b"[global]\ntimeout = 1\n")
    theirs = storage.write(bucket, PIP_CONF, b"[global]\ntimeout = 2\n")
    point(storage, environment, site.repository, run="run", clock=site.clock)
    ours = next(found.generation for found in storage.list(bucket, PIP_CONF))
    assert written_by(storage, bucket, "run") == (ours, theirs)
    assert written_by(storage, bucket, "another") is None
    storage.write(bucket, PIP_CONF, b"[global]\ntimeout = 3\n")
    assert written_by(storage, bucket, "run") is None
    with pytest.raises(ConcurrentChangeError, match=r"pip\.conf was replaced meanwhile"):
        restore(storage, bucket, str(theirs), only_over=ours)
    assert site.pip_conf() == "[global]\ntimeout = 3\n"


@pytest.mark.slow
def test_pip_conf_is_part_of_the_unit(site: Site) -> None:
    """The record holds its generation, never its content; after a failed build it is as it was before."""
    site.publish("1.0")
    old = "[global]\ntimeout = 42\n"
    generation = site.cloud.storage.write(site.now().bucket, PIP_CONF, old.encode())
    with pytest.raises(InstallFailedError):
        site.install(rollback=True)  # the environment may not read the repository
    assert site.pip_conf() == old
    assert site.stored()["pip_conf"] == generation
    assert "timeout" not in json.dumps(site.stored())


# Holds


def test_holds(site: Site) -> None:
    """Several versions of a package; one or all are released; what is no hold is not obeyed."""
    storage, bucket = site.cloud.storage, site.now().bucket
    hold(storage, bucket, "acme-demo", {"2.0": "it broke"})
    hold(storage, bucket, "acme-demo", {"3.0": "it broke, too"})
    assert holds(storage, bucket, ["acme-demo", "acme-other"]) == {
        "acme-demo": {"2.0": "it broke", "3.0": "it broke, too"}
    }
    assert release(storage, bucket, "acme-demo", "2.0") == ["2.0"]
    assert release(storage, bucket, "acme-demo", "2.0") == []
    assert release(storage, bucket, "acme-demo") == ["3.0"]
    assert holds(storage, bucket, ["acme-demo"]) == {}
    storage.write(bucket, "data/gar/holds/acme-demo.json", b"[]")
    assert holds(storage, bucket, ["acme-demo"]) == {"acme-demo": {}}


def test_a_hold_can_be_ignored(site: Site) -> None:
    """`ignore_hold` installs it; all held versions are named at once; a version that is there already is no request."""
    site.publish("1.0")
    site.publish("1.0", "acme_two")
    storage, bucket = site.cloud.storage, site.now().bucket
    hold(storage, bucket, "acme-demo", {"1.0": "bad"})
    hold(storage, bucket, "acme-two", {"1.0": "worse"})
    both = "acme-demo==1.0, acme-two==1.0"
    with pytest.raises(HeldVersionError) as caught:
        begin(site.cloud, site.wish(both), site.clock)
    assert caught.value.held == ("acme-demo 1.0: bad", "acme-two 1.0: worse")
    assert (site.updates(), site.pip_conf(), site.record()) == (0, None, None)
    assert isinstance(begin(site.cloud, site.wish(both, ignore_hold=True), site.clock), Pending)
