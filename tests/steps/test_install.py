"""Install: one update, followed and verified. The sandbox really runs pip."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from airflow_gar_provider.core.environment import Wish
from airflow_gar_provider.errors import EnvironmentDagError, VerificationError
from airflow_gar_provider.steps.environment_dag import run_environment_dag
from airflow_gar_provider.steps.install import request
from airflow_gar_provider.steps.point import point
from airflow_gar_provider.steps.verify import Settled, verify
from tests.steps.installing import UPDATE, Site

WHICH = """
try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.decorators import task
with DAG("which", schedule=None):
    @task
    def which():
        import acme_demo
        return acme_demo.VERSION
    which()
"""


def version_there(site: Site, run_id: str) -> Any:
    """What a DAG in the environment computes with what is installed there."""
    ran = run_environment_dag(
        site.cloud.airflow_of(site.now()),
        site.now(),
        "which",
        run_id=run_id,
        earlier_run_id=None,
        conf=None,
        unpause=False,
        timeout=20_000,
        clock=site.clock,
    )
    return ran["returned"]


@pytest.mark.slow
def test_installed_once_then_upgraded(site: Site) -> None:
    """Installed, then unchanged without an update, then upgraded with the version before, then taken out.

    A DAG in the environment sees each: what it prints is computed by what is installed there.
    """
    site.grant()
    site.deploy("which.py", WHICH)
    site.publish("1.0")
    site.publish("1.1")
    first = site.install()
    assert first["outcome"] == "installed"
    assert first["packages"] == [{"package": "acme-demo", "before": None, "after": "1.0"}]
    assert first["message"] == "dev now has acme-demo 1.0"
    assert first["seconds"] > 0
    assert version_there(site, "one") == {"which": "1.0"}

    again = site.install(run="dag/next/install")
    assert (again["outcome"], again["message"]) == ("unchanged", "dev already had acme-demo 1.0")
    assert site.updates() == 1
    assert site.record("dag/next/install") is None  # a run that changes nothing leaves nothing behind

    second = site.install(requirements="acme-demo==1.1", run="dag/other/install")
    assert second["packages"] == [{"package": "acme-demo", "before": "1.0", "after": "1.1"}]
    assert version_there(site, "two") == {"which": "1.1"}

    third = site.install(requirements="", absent=("acme-demo",), run="dag/third/install")
    assert third["packages"] == [{"package": "acme-demo", "before": "1.1", "after": None}]
    assert site.packages() == {}
    with pytest.raises(EnvironmentDagError, match="ModuleNotFoundError: No module named 'acme_demo'"):
        version_there(site, "three")


@pytest.mark.slow
def test_everything_in_one_update(site: Site) -> None:
    """An upgrade, a downgrade, an extra, a dotted name, a removal and two spellings: one update; the rest stays."""
    site.grant()
    for name, versions in {
        "acme_up": ("1.0", "2.0"),
        "acme_down": ("1.0", "2.0"),
        "acme_geo": ("1.0",),
        "acme.dotted": ("1.0",),
        "acme_gone": ("1.0",),
        "acme_stays": ("1.0",),
        "acme_two": ("1.0",),
    }.items():
        for version in versions:
            site.publish(version, name, metadata="Provides-Extra: geo\n" if name == "acme_geo" else "")
    there = {
        "acme-up": "==1.0",
        "Acme_Down": "==2.0",
        "Acme_Gone": "==1.0",
        "acme-stays": ">=0.5",
        "acme_two": "==1.0",
        "acme-two": "==1.0",
    }
    point(site.cloud.storage, site.now(), site.repository, clock=site.clock)
    site.patch(there).result(timeout=120)
    wanted = "acme-up==2.0, acme.down==1.0, acme-geo[geo]==1.0, acme.dotted==1.0, acme_two==1.0"
    result = site.install(requirements=wanted, absent=("acme-gone",))
    assert site.updates() == 2  # one was not ours
    assert result["outcome"] == "installed"
    assert {entry["package"]: (entry["before"], entry["after"]) for entry in result["packages"]} == {
        "acme-up": ("1.0", "2.0"),
        "acme-down": ("2.0", "1.0"),
        "acme-geo": (None, "1.0"),
        "acme-dotted": (None, "1.0"),
        "acme-two": ("1.0", "1.0"),
        "acme-gone": ("1.0", None),
    }
    assert site.packages() == {
        "acme-up": "==2.0",
        "acme-down": "==1.0",
        "acme-geo": "[geo]==1.0",
        "acme-dotted": "==1.0",
        "acme-stays": ">=0.5",
        "acme-two": "==1.0",
    }


@pytest.mark.slow
def test_a_package_that_the_image_brings(site: Site) -> None:
    """Asked for in the version that is there, it is declared; taken out, it is not declared any more, and stays."""
    pinned = f"idna=={metadata.version('idna')}"
    wish = site.wish(pinned, repository=None)
    assert site.install(wish)["packages"] == [{"package": "idna", "before": None, "after": metadata.version("idna")}]
    assert site.packages() == {"idna": f"=={metadata.version('idna')}"}
    gone = site.install(requirements="", absent=("idna",), repository=None, run="dag/2/install")
    assert (gone["outcome"], site.packages()) == ("installed", {})
    nothing = site.install(requirements="", absent=("certifi",), repository=None, run="dag/3/install")
    assert nothing["outcome"] == "unchanged"
    assert site.updates() == 2


def test_verification_says_what_is_missing(site: Site) -> None:
    """Neither declared nor installed: both are told."""
    with pytest.raises(VerificationError) as caught:
        verify(site.cloud, Settled(site.wish(), site.now(), None, None), site.clock)
    assert "acme-demo is declared as 'absent', wanted '==1.0'" in str(caught.value)
    assert "acme-demo==1.0 is declared, but not installed" in str(caught.value)


def test_a_thousand_requirements(site: Site) -> None:
    """One update takes them all, and no message gets a page long."""
    names = [f"acme-part-{number}" for number in range(1000)]
    site.sandbox.fault(UPDATE, kind="failed_operation", message="Internal error. Try again.")
    wish: Wish = site.wish("\n".join(f"{name}==1.0" for name in names), repository=None)
    pending = request(site.cloud, wish, site.clock)
    assert pending is not None
    assert site.sandbox.unused() == []
    assert len(site.stored()["pins"]) == 1000
    with pytest.raises(Exception, match="the update failed") as caught:
        site.install(wish)
    assert len(str(caught.value)) < 1500
    assert site.updates() == 1
    assert site.packages() == {}
