"""The sandbox's time, in one place."""

from __future__ import annotations

from datetime import datetime, timezone


def now() -> datetime:
    """The time that resources, tokens and log entries are stamped with (UTC)."""
    return datetime.now(timezone.utc)


def rfc3339(moment: datetime) -> str:
    """A moment as Google's JSON APIs print it."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
