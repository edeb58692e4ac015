"""Secret Manager: what a version of a secret holds."""

from __future__ import annotations

import re
from functools import cached_property

import google_crc32c
from google.cloud import secretmanager_v1

from airflow_gar_provider.errors import GoogleApiError, InvalidNameError
from airflow_gar_provider.gcp.grpc_client import grpc_client
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, RETRY, Session, google_errors

_NAME = re.compile(r"(?P<secret>projects/[^/]+/secrets/[A-Za-z0-9_-]{1,255})(?:/versions/(?P<version>[A-Za-z0-9_-]+))?")


class SecretManager:
    """One identity's view of Secret Manager. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def _client(self) -> secretmanager_v1.SecretManagerServiceClient:
        return grpc_client(secretmanager_v1.SecretManagerServiceClient, self._session)

    def read(self, name: str) -> bytes:
        """What `projects/P/secrets/S`, or `…/versions/V` of it, holds; without a version its newest.

        The checksum that Google sends is compared (Secret Manager: "Data integrity assurance").
        """
        match = _NAME.fullmatch(name)
        if not match:
            raise InvalidNameError(
                f"{name!r} is not the name of a secret",
                remedy="write projects/PROJECT/secrets/SECRET, or projects/PROJECT/secrets/SECRET/versions/VERSION",
            )
        version = f"{match['secret']}/versions/{match['version'] or 'latest'}"
        with google_errors(
            "read the secret",
            resource=version,
            remedy="the caller needs secretmanager.versions.access there (roles/secretmanager.secretAccessor), and "
            "the version must be enabled",
        ):
            payload = self._client.access_secret_version(name=version, retry=RETRY, timeout=CALL_TIMEOUT).payload
        if payload.data_crc32c and payload.data_crc32c != google_crc32c.value(payload.data):
            raise GoogleApiError("the secret was damaged on its way", resource=version, remedy="try again")
        return bytes(payload.data)
