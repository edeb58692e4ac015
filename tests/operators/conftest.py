"""The operators are run on the same sandbox as the steps."""

from __future__ import annotations

from tests.steps.conftest import clock, cloud, cloud_of, environment, owner, published, repository

__all__ = ["clock", "cloud", "cloud_of", "environment", "owner", "published", "repository"]
