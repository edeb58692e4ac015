"""Service account keys for tests, made when they are needed: nothing here is, or was, a key to anything."""

from __future__ import annotations

import base64
import itertools
import json
import random

from airflow_gar_provider.core.service_account_key import ServiceAccountKey

_numbers = itertools.count(1)


def key_file(email: str = "reader@acme-packages.iam.gserviceaccount.com") -> dict[str, str]:
    """What a key file holds, with noise where the private half would be."""
    number = next(_numbers)
    noise = base64.encodebytes(random.Random(number).randbytes(600)).decode()
    return {
        "type": "service_account",
        "project_id": "acme-packages",
        "private_key_id": f"{number:040x}",
        "private_key": f"-----BEGIN PRIVATE KEY-----\n{noise}-----END PRIVATE KEY-----\n",
        "client_email": email,
        "token_uri": "https://oauth2.googleapis.com/token?x=>~",
    }


def make_key(email: str = "reader@acme-packages.iam.gserviceaccount.com") -> ServiceAccountKey:
    """A key as the product holds it."""
    return ServiceAccountKey.parse(json.dumps(key_file(email), indent=2))
