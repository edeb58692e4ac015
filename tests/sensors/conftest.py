"""The sensors are run on the same sandbox as the operators."""

from __future__ import annotations

from tests.operators.conftest import Ti, conn, context, ti
from tests.steps.conftest import clock, cloud, cloud_of, environment, owner, published, repository

__all__ = [
    "Ti",
    "clock",
    "cloud",
    "cloud_of",
    "conn",
    "context",
    "environment",
    "owner",
    "published",
    "repository",
    "ti",
]
