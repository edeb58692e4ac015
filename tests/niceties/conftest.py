"""The operators on the sandbox, as their own tests have it; and a fleet in a real Airflow."""

from __future__ import annotations

from tests.operators.conftest import (
    clock,
    cloud,
    cloud_of,
    conn,
    context,
    environment,
    owner,
    published,
    repository,
    site,
    ti,
)
from tests.rollout.conftest import world

__all__ = [
    "clock",
    "cloud",
    "cloud_of",
    "conn",
    "context",
    "environment",
    "owner",
    "published",
    "repository",
    "site",
    "ti",
    "world",
]
