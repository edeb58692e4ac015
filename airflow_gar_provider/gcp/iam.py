"""IAM: the keys of service accounts."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.errors import InvalidKeyError, NotFoundError
from airflow_gar_provider.gcp.session import (
    CALL_TIMEOUT,
    Session,
    error_of_response,
    google_errors,
    read_again,
    understood,
)

_URL = "https://iam.googleapis.com/v1/projects/-/serviceAccounts"
# google-cloud-iam's admin client is no dependency of the Google provider; these five calls need none.


@dataclass(frozen=True)
class KeyInfo:
    """What IAM says of a key; nothing of it is secret."""

    id: str
    """The last part of its resource name."""
    disabled: bool
    """A disabled key is refused until it is enabled again."""
    created: datetime
    """When it was made (its `validAfterTime`)."""


class Iam:
    """One identity's view of service accounts' keys. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_key(self, email: str) -> ServiceAccountKey:
        """Make a key. This answer is the only time that its private half is seen. Not retried: each call makes one."""
        remedy = (
            "the caller needs iam.serviceAccountKeys.create on the account (roles/iam.serviceAccountKeyAdmin); the "
            "policy iam.disableServiceAccountKeyCreation forbids it, and an account holds ten keys at most"
        )
        answer = self._call("POST", email, "", "create a key of the service account", remedy=remedy)
        try:
            content = base64.b64decode(answer["privateKeyData"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise InvalidKeyError("IAM's answer holds no key file", resource=email) from None
        return ServiceAccountKey.parse(content)

    def list_keys(self, email: str) -> tuple[KeyInfo, ...]:
        """The keys that people made; not those that Google rotates for itself."""
        remedy = "the caller needs iam.serviceAccountKeys.list on the account (roles/iam.serviceAccountKeyAdmin)"
        what = "list the keys of the service account"
        answer = read_again(lambda: self._call("GET", email, "", what, remedy=remedy, query="?keyTypes=USER_MANAGED"))
        with understood(what, resource=email):
            return tuple(
                KeyInfo(key["name"].rpartition("/")[2], bool(key.get("disabled")), _time(key["validAfterTime"]))
                for key in answer.get("keys", [])
            )

    def disable_key(self, email: str, key_id: str) -> None:
        """Make a key useless, in a way that can be taken back. A key that is gone is no error."""
        self._change("POST", email, f"/{key_id}:disable", "disable a key of the service account")

    def delete_key(self, email: str, key_id: str) -> None:
        """Delete a key for ever. A key that is gone is no error."""
        self._change("DELETE", email, f"/{key_id}", "delete a key of the service account")

    def _change(self, method: str, email: str, path: str, what: str) -> None:
        remedy = "the caller needs roles/iam.serviceAccountKeyAdmin on the account"
        try:
            self._call(method, email, path, what, remedy=remedy)
        except NotFoundError:
            return

    def _call(self, method: str, email: str, path: str, what: str, *, remedy: str, query: str = "") -> Any:
        body: dict[str, Any] | None = {} if method == "POST" else None
        with google_errors(what, resource=email):
            response = self._session.http.request(
                method, f"{_URL}/{email}/keys{path}{query}", json=body, timeout=CALL_TIMEOUT
            )
        if response.status_code >= 400:
            raise error_of_response(response, what, resource=email, remedy=remedy)
        with understood(what, resource=email):
            return response.json() if response.content else {}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
