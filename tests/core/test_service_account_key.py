"""A key is read from what people have, and its secret shows nowhere by accident."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.errors import InvalidKeyError
from tests.keys import key_file, make_key


def test_read_from_json_and_base64() -> None:
    """The file as it is, in base64, and in an index URL of either of Google's two user names."""
    file = key_file()
    text = json.dumps(file, indent=2)
    key = ServiceAccountKey.parse(text)
    assert (key.email, key.id) == (file["client_email"], file["private_key_id"])
    encoded = base64.b64encode(text.encode()).decode()
    host = "europe-west1-python.pkg.dev/p/r/simple/"
    assert ServiceAccountKey.parse(encoded.encode()) == key
    assert ServiceAccountKey.of_url(f"https://_json_key_base64:{encoded}@{host}") == key
    assert ServiceAccountKey.of_url(f"https://_json_key_base64:{quote(encoded, safe='')}@{host}") == key
    assert ServiceAccountKey.of_url(f"https://_json_key:{quote(text, safe='')}@{host}") == key
    assert ServiceAccountKey.of_url(f"https://oauth2accesstoken:x@{host}") is None
    assert ServiceAccountKey.of_url(f"https://_json_key_base64:bm90LWEta2V5@{host}") is None


@given(st.text(alphabet="?>~\x7f/+aé", max_size=12))
def test_the_password_needs_no_escaping(text: str) -> None:
    """Whatever a key file holds, no character of its password means something in a URL or in pip.conf."""
    file = {**key_file(), "universe_domain": text}
    key = ServiceAccountKey.parse(json.dumps(file, ensure_ascii=False))
    assert not set(key.password) & set("/+%@:#? ")
    assert json.loads(base64.b64decode(key.password)) == file
    parts = urlsplit(f"https://_json_key_base64:{key.password}@h/p/r/simple/")
    assert (parts.password, parts.hostname) == (key.password, "h")


BAD = [
    "",
    "{",
    "not base64 at all",
    base64.b64encode(b"\xff\xfe").decode(),
    json.dumps({**key_file(), "type": "authorized_user"}),
    json.dumps({**key_file(), "client_email": "me@example.com"}),
    json.dumps({**key_file(), "private_key_id": "a/../b"}),
    json.dumps({**key_file(), "private_key": "very-secret"}),
    json.dumps([1]),
    json.dumps({**key_file(), "client_email": 5}),
    json.dumps(key_file()) + "very-secret",
    "x" * 20000,
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_key(text: str) -> None:
    """It is refused in one sentence that quotes nothing of it, also in no error behind it."""
    with pytest.raises(InvalidKeyError, match="is not a service account's key file") as caught:
        ServiceAccountKey.parse(text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "secret" not in str(caught.value)


def test_it_shows_no_secret() -> None:
    """Neither repr nor str, nor any text that went through redaction, in plain, base64 or URL-encoded form."""
    key = make_key()
    assert not [secret for secret in key.secrets if secret in f"{key!r} {key}"]
    for secret in (*key.secrets[:2], key.password, f"https://_json_key_base64:{key.password}@h/"):
        assert not [found for found in key.secrets if found in redact(f"pip said {secret} today")]
