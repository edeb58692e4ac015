"""No credential survives, wherever in a log it stands; what people need to read does."""

from __future__ import annotations

import base64
import json
import random
import string
import time

import pytest

from airflow_gar_provider.core.redaction import redact

_LETTERS = string.ascii_letters + string.digits


def word(random_: random.Random, length: int, more: str = "") -> str:
    return "".join(random_.choice(_LETTERS + more) for _ in range(length))


def key_file(random_: random.Random) -> str:
    """A service account's key as Google writes it; the key itself is noise."""
    lines = "\n".join(word(random_, 64, "+/") for _ in range(4))
    private = f"-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n"
    value = {"type": "service_account", "private_key_id": word(random_, 40), "private_key": private}
    return json.dumps(value, indent=random_.choice([None, 2]))


def planted(random_: random.Random) -> tuple[str, list[str]]:
    """A piece of text with a secret in it, and the parts that must not be seen."""
    password = word(random_, random_.randint(8, 40), "+=._~-")
    token = f"ya29.{word(random_, 60, '-_.')}x"
    encoded = base64.b64encode(key_file(random_).encode()).decode()
    web_token = ".".join(
        base64.urlsafe_b64encode(part.encode()).decode().rstrip("=")
        for part in ('{"alg":"RS256"}', json.dumps({"iss": word(random_, 20)}), word(random_, 64))
    )
    pem = json.loads(key_file(random_))["private_key"]
    body = pem.split("\n")[1:4]
    choices: list[tuple[str, list[str]]] = [
        (f"https://user:{password}@host.example/simple/", [password]),
        (f"https://{password}@host.example/simple/", [password]),
        (f"https://us.er:a@b{password}@europe-west1-python.pkg.dev/p/r/simple/", [password]),
        (f"https://user:{password}/{password}@host.example/simple/", [password]),
        (
            f"https://_json_key_base64:{encoded}@europe-west1-python.pkg.dev/p/r/simple/",
            [encoded[:40], encoded[-40:-4]],
        ),
        (f"index-url = https//_json_key_base64:{encoded}", [encoded[:40], encoded[-40:-4]]),
        (f"oauth2accesstoken:{token}", [token[5:]]),
        (f"oauth2accesstoken%3A{token}", [token[5:]]),
        (token, [token[5:]]),
        (f"machine host.example login user password {password}", [password]),
        (f"Authorization: Bearer {password}", [password]),
        (f"'authorization': 'Basic {password}'", [password]),
        (f"-H 'Proxy-Authorization: Basic {password}'", [password]),
        (f"curl --password {password}", [password]),
        (f"access_token={password}&x=1", [password]),
        (f'{{"access_token": "{password}", "expires_in": 3599}}', [password]),
        (f'"client_secret": "{password}"', [password]),
        (web_token, [web_token.split(".")[1], web_token.split(".")[2]]),
        (f"id_token: {web_token}", [web_token.split(".")[2]]),
        (pem, body),
        (pem.replace("\n", "\\n"), body),
        (pem[: len(pem) // 2], body[:1]),
        ("\n".join(pem.split("\n")[2:]), body[1:]),
        (key_file(random.Random(7)), [json.loads(key_file(random.Random(7)))["private_key_id"]]),
        (encoded, [encoded[20:60]]),
        (f"AIza{word(random_, 35, '-_')}", []),
        (f"1//0{word(random_, 60, '-_')}", []),
    ]
    return random_.choice(choices)


_AROUND = ("", "Looking in indexes: ", "WARNING: 401 Error, Credentials not correct for ", "ERROR: ", "  | ", "\t", "(")


def test_a_planted_secret_never_survives() -> None:
    """A thousand lines with secrets of every shape, in lines as pip and Google print them, next to each other."""
    random_ = random.Random(20261122)
    for _ in range(1000):
        pieces, secrets = [], []
        for _ in range(random_.randint(1, 3)):
            text, parts = planted(random_)
            pieces.append(random_.choice(_AROUND) + text)
            secrets += parts
        shown = redact(random_.choice([" ", "\n", ", "]).join(pieces))
        for secret in secrets:
            assert secret not in shown, (secret, shown)


@pytest.mark.parametrize(
    "line",
    [
        "Looking in indexes: https://europe-west1-python.pkg.dev/acme-packages/python/simple/",
        "ERROR: Could not find a version that satisfies the requirement acme==1.0 (from versions: 0.9, 1.0rc1)",
        "Collecting acme@ git+https://example.com/acme",
        "  Using cached acme_demo-1.0-py3-none-any.whl.metadata (1.2 kB)",
        "dev-sa@acme-data.iam.gserviceaccount.com may not read projects/p/locations/us/repositories/r",
        "https://host/file.whl#sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "mysql-connector-python 8.0.32 has requirement protobuf<=3.20.3,>=3.11.0, but you have protobuf 4.23.0.",
        "Check the Cloud Build log at https://console.cloud.google.com/cloud-build/builds/UUID?project=1 for details.",
        "projects/p/locations/l/operations/0a1b2c3d-0000-1111-2222-333344445555",
        "the password of the account is wrong; a token is missing",
        "google-auth-oauthlib 1.2.1 requires requests-oauthlib>=0.7.0, which is not installed.",
        "gcloud artifacts repositories add-iam-policy-binding r --member=serviceAccount:a@b.iam.gserviceaccount.com",
    ],
)
def test_what_people_need_stays(line: str) -> None:
    """Names, versions, digests, links, commands."""
    assert redact(line) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("before https://u:p@host/simple/ after", "before https://****@host/simple/ after"),
        ("Authorization: Bearer abcdef1234567890 after", "Authorization: **** after"),
        ("GET /?access_token=abc&alt=json", "GET /?access_token=****&alt=json"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- after", "**** after"),
    ],
)
def test_the_words_around_stay(text: str, shown: str) -> None:
    """Only the secret goes."""
    assert redact(text) == shown


def test_twice_is_once() -> None:
    """What is redacted stays as it is when another edge redacts it again."""
    random_ = random.Random(1)
    for _ in range(500):
        once = redact(planted(random_)[0])
        assert redact(once) == once


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "https://" + "a:" * 50_000, "eyJ" + "a" * 100_000, "A" * 20 + "\\n" * 50_000, "user:" * 40_000],
)
def test_long_lines_are_cheap(text: str) -> None:
    """A log line of 200 kB costs no minute: no pattern backtracks without end."""
    begun = time.process_time()
    redact(text)
    assert time.process_time() - begun < 2
