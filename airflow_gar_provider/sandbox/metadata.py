"""The metadata server: who this process is, as Google's clients ask for it on a Google machine."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING

from .web import Answer, json_answer, text_answer

if TYPE_CHECKING:
    from .id_tokens import IdTokens
    from .identity import Identity
    from .web import Request

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")
_ROOT = "/computeMetadata/v1"
_FLAVOR = {"metadata-flavor": "Google", "server": "Metadata Server for VM"}


class MetadataServer:
    """Answers for the caller; under `/sandbox/as/SECRET` for the account that the secret stands for."""

    def __init__(self, identity: Identity, id_tokens: IdTokens, caller: str, project: str) -> None:
        self._identity = identity
        self._id_tokens = id_tokens
        self._caller = caller
        self._project = project
        self._prefixes: dict[str, tuple[str, str]] = {}

    def prefix(self, email: str, project: str) -> str:
        """A path prefix (for GCE_METADATA_HOST) under which the metadata server is another account's."""
        for path, owner in self._prefixes.items():
            if owner == (email, project):
                return path
        path = f"/sandbox/as/{secrets.token_urlsafe(18)}"
        self._prefixes[path] = (email, project)
        return path

    def answer(self, request: Request) -> Answer | None:  # noqa: PLR0911 - one per kind of path
        """The answer of the metadata server; None when the path is not one of its own."""
        path, email, project = request.path, self._caller, self._project
        for prefix, owner in self._prefixes.items():
            if path.startswith(prefix):
                path, (email, project) = path.removeprefix(prefix) or "/", owner
        if path == "/":
            return text_answer("computeMetadata/\n", headers=_FLAVOR)
        if not path.startswith("/computeMetadata"):
            return None
        if request.header("metadata-flavor") != "Google":
            return text_answer('Missing required header "Metadata-Flavor": "Google"\n', 403, _FLAVOR)
        record = self._identity.project(project)
        plain = {
            f"{_ROOT}/project/project-id": project,
            f"{_ROOT}/project/numeric-project-id": record["projectNumber"] if record else "",
            f"{_ROOT}/universe/universe-domain": "googleapis.com",
            f"{_ROOT}/universe/universe_domain": "googleapis.com",
        }
        if path in plain:
            return text_answer(plain[path], headers={**_FLAVOR, "content-type": "application/text"})
        accounts = f"{_ROOT}/instance/service-accounts"
        for name in ("default", email):
            if path.startswith(f"{accounts}/{name}/"):
                return self._account(path.removeprefix(f"{accounts}/{name}/"), email, request)
        # gsutil asks without the last slash; the real server sends it on to the folder.
        if path in {accounts, f"{accounts}/"}:
            return text_answer(f"default/\n{email}/\n", headers=_FLAVOR)
        return text_answer("Not Found\n", 404, _FLAVOR)

    def _account(self, path: str, email: str, request: Request) -> Answer:  # noqa: PLR0911 - one per kind of path
        if path == "token":
            token = self._identity.issue_token(email)
            value = {
                "access_token": token.value,
                "expires_in": int(token.expires - time.time()),
                "token_type": "Bearer",
            }
            return json_answer(json.dumps(value).encode(), headers=_FLAVOR)
        if path == "identity":
            audience = request.parameter("audience")
            if not audience:
                return text_answer("non-empty audience parameter required\n", 400, _FLAVOR)
            # The email is in the long form only.
            long = request.parameter("format") == "full"
            return text_answer(self._id_tokens.issue(email, audience, include_email=long), headers=_FLAVOR)
        if path == "email":
            return text_answer(email, headers=_FLAVOR)
        if path == "scopes":
            return text_answer("\n".join(_SCOPES), headers=_FLAVOR)
        if path == "" and request.parameter("recursive") == "true":
            return json_answer({"aliases": ["default"], "email": email, "scopes": list(_SCOPES)}, headers=_FLAVOR)
        return text_answer("aliases\nemail\nidentity\nscopes\ntoken\n", 200 if path == "" else 404, _FLAVOR)
