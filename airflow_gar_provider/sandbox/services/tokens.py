"""Access tokens: the token endpoint for keys, and impersonation."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from ..errors import ApiError, permission_denied
from ..identity import Principal
from ..jsonapi import JsonCall, Route
from ..web import Answer, json_answer
from .iam import IAM_HOST

if TYPE_CHECKING:
    from ..id_tokens import IdTokens
    from ..identity import Identity
    from ..policies import Policies

ENDPOINT_HOST = "oauth2.googleapis.com"
CREDENTIALS_HOST = "iamcredentials.googleapis.com"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_MAXIMUM_LIFETIME = 3600


class Tokens:
    """The token endpoint and impersonation."""

    def __init__(self, identity: Identity, policies: Policies, id_tokens: IdTokens) -> None:
        self._identity = identity
        self._id_tokens = id_tokens
        self._policies = policies

    def endpoint_routes(self) -> list[Route]:
        """The methods of oauth2.googleapis.com."""
        return [Route("oauth2.token", "POST", "/token", self.token)]

    def certificate_routes(self) -> list[Route]:
        """The paths of www.googleapis.com with which ID tokens are checked."""
        return [Route("oauth2.certs", "GET", "/oauth2/v1/certs", self.certificates)]

    def credentials_routes(self) -> list[Route]:
        """The methods of iamcredentials.googleapis.com."""
        one, name = "/v1/projects/{project}/serviceAccounts/{account}", "google.iam.credentials.v1.IAMCredentials."
        return [
            Route(f"{name}GenerateAccessToken", "POST", f"{one}:generateAccessToken", self.generate),
            Route(f"{name}GenerateIdToken", "POST", f"{one}:generateIdToken", self.generate_id_token),
            Route(f"{name}SignBlob", "POST", f"{one}:signBlob", None),
            Route(f"{name}SignJwt", "POST", f"{one}:signJwt", None),
            Route(f"{name}GetAllowedLocations", "GET", f"{one}/allowedLocations", self.allowed_locations),
        ]

    async def token(self, call: JsonCall) -> Any:
        """An access token for a JWT that an issued key signed."""
        form = dict(parse_qsl((await call.request.body()).decode()))
        if form.get("grant_type") != _JWT_BEARER:
            return _grant_error("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")
        try:
            claims = self._identity.verified_claims(form.get("assertion", ""))
        except ApiError:
            return _grant_error("invalid_grant", "Invalid JWT Signature.")
        if claims.get("aud") not in {f"https://{ENDPOINT_HOST}/token", "https://www.googleapis.com/oauth2/v4/token"}:
            return _grant_error("invalid_grant", "Invalid JWT: audience is not the token endpoint.")
        if self._identity.disabled(str(claims["iss"])):
            return _grant_error("invalid_grant", "Invalid grant: account disabled.")
        if "target_audience" in claims:
            # An ID token instead of an access token: gcloud asks for both when an account is activated.
            return {"id_token": self._id_tokens.issue(str(claims["iss"]), str(claims["target_audience"]))}
        token = self._identity.issue_token(str(claims["iss"]))
        return {"access_token": token.value, "expires_in": int(token.expires - time.time()), "token_type": "Bearer"}

    async def certificates(self, call: JsonCall) -> Any:
        """The certificates of the keys that sign ID tokens."""
        return self._id_tokens.certificates()

    async def generate_id_token(self, call: JsonCall) -> Any:
        """serviceAccounts.generateIdToken: along a chain like an access token."""
        body, target = await call.body(), call.variables["account"]
        if not body.get("audience"):
            raise ApiError("INVALID_ARGUMENT", "Request must contain an audience.")
        self._follow(call, body, "getOpenIdToken")
        include = bool(body.get("includeEmail"))
        return {"token": self._id_tokens.issue(target, str(body["audience"]), include_email=include)}

    async def generate(self, call: JsonCall) -> Any:
        """serviceAccounts.generateAccessToken: each account of the chain must be allowed on the next."""
        body, target = await call.body(), call.variables["account"]
        if not body.get("scope"):
            raise ApiError("INVALID_ARGUMENT", "Request must contain at least one scope.")
        lifetime = str(body.get("lifetime") or "3600s")
        match = re.fullmatch(r"(\d+)(\.\d+)?s", lifetime)
        if match is None or not 0 < int(match.group(1)) <= _MAXIMUM_LIFETIME:
            raise ApiError("INVALID_ARGUMENT", f"The access token lifetime {lifetime} cannot exceed 3600s.")
        self._follow(call, body, "getAccessToken")
        token = self._identity.issue_token(target, timedelta(seconds=int(match.group(1))))
        return {"accessToken": token.value, "expireTime": _seconds(token.expires)}

    def _follow(self, call: JsonCall, body: dict[str, Any], verb: str) -> None:
        """Every account of the chain may delegate to the next, and the last one may do `verb` for the target."""
        chain = [str(name).rpartition("/")[2] for name in body.get("delegates") or []] + [call.variables["account"]]
        principal = call.principal
        for position, account in enumerate(chain):
            self._allow(principal, account, verb if position == len(chain) - 1 else "implicitDelegation")
            principal = Principal(account)

    def _allow(self, principal: Principal | None, account: str, verb: str) -> None:
        permission = f"iam.serviceAccounts.{verb}"
        record = self._identity.accounts.get(account)
        project = account.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
        resource = f"projects/{project}/serviceAccounts/{account}"
        text = f"Permission '{permission}' denied on resource (or it may not exist)."
        self._policies.require(principal, permission, resource, service=IAM_HOST, message=text)
        if record is None or self._identity.disabled(account):
            raise permission_denied(text, permission=permission, resource=resource, service=IAM_HOST)

    async def allowed_locations(self, call: JsonCall) -> Any:
        """serviceAccounts.getAllowedLocations: google-auth asks in the background; no account is bound to places."""
        return {"encodedLocations": "0x0", "locations": []}


def _seconds(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _grant_error(error: str, description: str) -> Answer:
    return json_answer({"error": error, "error_description": description}, 400)
