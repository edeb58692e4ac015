"""The operators are run on the same sandbox as the steps."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running
from tests.steps.conftest import clock, cloud, cloud_of, environment, owner, published, repository, site

__all__ = ["clock", "cloud", "cloud_of", "environment", "owner", "published", "repository", "site"]


class Ti:
    """As much of a task instance as the operators use."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "dag", "run", "task", -1, 1, 0

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


@pytest.fixture
def ti() -> Ti:
    return Ti()


@pytest.fixture
def context(ti: Ti) -> Any:
    return {"ti": ti}


@pytest.fixture
def conn(monkeypatch: pytest.MonkeyPatch, google_: Running, owner: str, tmp_path: Path) -> None:
    """A connection without a key: Application Default Credentials, here those of the test's owner."""
    with google_.session(owner) as session:
        made = session.post(
            f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{owner}/keys", json={}, timeout=30
        ).json()
    path = tmp_path / "credentials.json"
    path.write_bytes(base64.b64decode(made["privateKeyData"]))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform"}')
