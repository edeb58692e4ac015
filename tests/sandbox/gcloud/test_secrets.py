"""`gcloud secrets`: secrets, versions, access; the bytes are those that went in."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
API = "https://secretmanager.googleapis.com/v1"


def stored(gcloud: Gcloud, http: requests.Session, version: str) -> bytes:
    """What a version holds, by Google's API."""
    url = f"{API}/projects/{gcloud.project}/secrets/key/versions/{version}:access"
    return base64.b64decode(http.get(url, timeout=30).json()["payload"]["data"])


def test_a_secret_is_made_and_versions_are_added_read_and_put_away(
    gcloud: Gcloud, http: requests.Session, tmp_path: Path
) -> None:
    """create, versions add, access, list, disable, enable, destroy: only an enabled version is read."""
    assert gcloud("secrets create key --replication-policy=automatic").err == "Created secret [key].\n"
    file = tmp_path / "key.json"
    file.write_bytes(b'{"a": "\xc3\xa9"}\n')
    assert gcloud(f"secrets versions add key --data-file={file}").err == "Created version [1] of the secret [key].\n"
    gcloud("secrets versions add key --data-file=-", stdin="second")
    assert (stored(gcloud, http, "1"), stored(gcloud, http, "latest")) == (file.read_bytes(), b"second")
    assert gcloud("secrets versions access latest --secret=key").out == "second"
    gcloud(f"secrets versions access 1 --secret=key --out-file={tmp_path}/back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert gcloud("secrets versions disable 2 --secret=key").err == "Disabled version [2] of the secret [key].\n"
    said = gcloud.fails("secrets versions access 2 --secret=key")
    assert "FAILED_PRECONDITION: Secret Version [projects/" in said
    assert "/secrets/key/versions/2] is in DISABLED state." in said
    gcloud("secrets versions enable 2 --secret=key")
    gcloud("secrets versions destroy 1 --secret=key")
    found = gcloud("secrets versions list key --format='csv[no-heading](name.basename(),state)'").out
    assert found == "2,enabled\n1,destroyed\n"
    found = gcloud("secrets versions list key --filter=state:enabled --format='value(name.basename())'").out
    assert found == "2\n"
    assert stored(gcloud, http, "latest") == b"second"


def test_a_secret_is_labelled_found_and_deleted(gcloud: Gcloud, http: requests.Session) -> None:
    """create with data, update, list with a filter, delete; twice is a conflict, gone is not found."""
    gcloud("secrets create key --data-file=- --labels=team=data", stdin="x")
    assert stored(gcloud, http, "1") == b"x"
    said = gcloud.fails("secrets create key --replication-policy=automatic")
    assert (
        f"ERROR: (gcloud.secrets.create) Resource in projects [{gcloud.project}] is the subject of a conflict" in said
    )
    gcloud("secrets update key --update-labels=tier=one")
    assert gcloud.json("secrets describe key")["labels"] == {"team": "data", "tier": "one"}
    gcloud("secrets create other")
    found = gcloud("secrets list --filter=labels.team=data --format='value(name.basename())'").out
    assert found == "key\n"
    assert gcloud("secrets delete key").err == "Deleted secret [key].\n"
    said = gcloud.fails("secrets versions access latest --secret=key")
    assert "ERROR: (gcloud.secrets.versions.access) NOT_FOUND: Secret [projects/" in said
    assert "/secrets/key] not found or has no versions." in said
    listed = http.get(f"{API}/projects/{gcloud.project}/secrets", timeout=30).json()["secrets"]
    assert [item["name"].rpartition("/")[2] for item in listed] == ["other"]


def test_reading_needs_the_accessor_role(gcloud: Gcloud) -> None:
    """Refused by name of the permission; add-iam-policy-binding on the secret opens it, for it alone."""
    account = f"reader@{gcloud.project}.iam.gserviceaccount.com"
    gcloud.sandbox.setup(accounts=[account])
    gcloud("secrets create key --data-file=-", stdin="x")
    reader = gcloud.as_(account)
    said = reader.fails("secrets versions access 1 --secret=key")
    assert "PERMISSION_DENIED: Permission 'secretmanager.versions.access' denied for resource" in said
    role = "roles/secretmanager.secretAccessor"
    gcloud(f"secrets add-iam-policy-binding key --member=serviceAccount:{account} --role={role}")
    assert reader("secrets versions access 1 --secret=key").out == "x"


def test_a_busy_service_is_asked_again(gcloud: Gcloud) -> None:
    """503 twice on access: gcloud tries again."""
    gcloud("secrets create key --data-file=-", stdin="x")
    method = "google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion"
    gcloud.sandbox.fault(method, status=503, times=2)
    assert gcloud("secrets versions access 1 --secret=key").out == "x"
    assert gcloud.sandbox.unused() == []
