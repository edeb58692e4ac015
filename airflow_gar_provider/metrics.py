"""What operators count: Airflow's own metrics, all of them `gar.*`, with one tag at most, `outcome`.

Plain StatsD knows no tags, and Airflow drops them there. So a counter is sent twice, as Airflow does with its own: with
the tag, and with the outcome in its name (`gar.install.finished` and `gar.install.finished.installed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import stats

if TYPE_CHECKING:
    from airflow_gar_provider.errors import GarProviderError


def count(name: str, outcome: str, number: int = 1) -> None:
    """Add to the counter `gar.NAME`."""
    client = stats()
    client.incr(f"gar.{name}", number, tags={"outcome": outcome})
    client.incr(f"gar.{name}.{outcome}", number)


def took(name: str, seconds: float) -> None:
    """Tell a duration, `gar.NAME`; sent in milliseconds, as every client of Airflow's takes a bare number."""
    stats().timing(f"gar.{name}", seconds * 1000)


def level(name: str, value: float) -> None:
    """Set the gauge `gar.NAME`."""
    stats().gauge(f"gar.{name}", value)


def count_publication(files: Iterable[Mapping[str, Any]]) -> None:
    """The files of a publication by outcome, and the bytes that were really sent."""
    sent = 0
    for file in files:
        count("publish.files", file["outcome"])
        sent += file["size"] if file["outcome"] == "uploaded" else 0
    if sent:
        stats().incr("gar.publish.bytes", sent)


def count_install(result: Mapping[str, Any]) -> None:
    """An install that ended well: how, and how long Composer's operation took when there was one."""
    count("install.finished", result["outcome"])
    if result.get("seconds"):
        took("install.duration", result["seconds"])


def count_failed_install(error: GarProviderError) -> None:
    """A try of an install that failed: `failed`, `rolled_back`, or `to_retry` for what may pass."""
    count("install.finished", "to_retry" if error.retryable else str(error.as_result()["outcome"]))
