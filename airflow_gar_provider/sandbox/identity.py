"""Who calls: accounts, keys, access tokens, and the reading of every form of credentials that Google's clients send."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .clock import now, rfc3339
from .errors import INVALID_CREDENTIALS, ApiError

if TYPE_CHECKING:
    from .store import Store

TOKEN_SECONDS = 3600
_CLOCK_SKEW = 300


@dataclass(frozen=True)
class Principal:
    """An authenticated caller."""

    email: str
    """The account's address."""

    @property
    def member(self) -> str:
        """The caller as an IAM policy names it."""
        kind = "serviceAccount" if self.email.endswith("gserviceaccount.com") else "user"
        return f"{kind}:{self.email}"


@dataclass(frozen=True)
class IssuedToken:
    """An access token and what it stands for."""

    value: str
    """The secret itself."""
    email: str
    """Whose token it is."""
    expires: float
    """When it stops working (seconds since the epoch)."""


class Identity:
    """Accounts, keys and tokens. Tokens and proxy secrets live in memory; of a key only the public half is kept."""

    def __init__(self, store: Store) -> None:
        self.accounts = store.collection("service_accounts")
        self.keys = store.collection("service_account_keys")
        self.projects = store.collection("projects")
        self._tokens: dict[str, IssuedToken] = {}
        self._proxy_users: dict[str, tuple[str, str]] = {}

    def add_project(self, project: str) -> None:
        """Create a project (nothing happens when it exists)."""
        if project not in self.projects:
            # A stable number per id, so that console links survive restarts.
            digest = hashlib.sha256(project.encode()).digest()
            number = 10**11 + int.from_bytes(digest[:5], "big") % (9 * 10**11)
            self.projects.put(
                project, {"projectId": project, "projectNumber": str(number), "createTime": rfc3339(now())}
            )

    def project(self, project: str) -> dict[str, str] | None:
        """A project's record by its id or number."""
        record: dict[str, str] | None = self.projects.get(project)
        if record is None and project.isdigit():
            return next((value for _, value in self.projects.items() if value["projectNumber"] == project), None)
        return record

    def add_account(self, email: str, display_name: str = "") -> dict[str, str]:
        """Create a service account (nothing happens when it exists)."""
        existing: dict[str, str] | None = self.accounts.get(email)
        if existing is not None:
            return existing
        project = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
        # Never the same twice: an account that is made anew under its old name is another account.
        number = 10**20 + secrets.randbelow(9 * 10**20)
        record = {
            "name": f"projects/{project}/serviceAccounts/{email}",
            "projectId": project,
            "uniqueId": str(number),
            "email": email,
            "displayName": display_name,
            "oauth2ClientId": str(number),
        }
        self.accounts.put(email, record)
        return record

    def account_exists(self, email: str) -> bool:
        """False for a service account that should be in a known project and is not."""
        project = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
        return email in self.accounts or project not in self.projects

    def change_account(self, email: str, **fields: Any) -> dict[str, Any]:
        """Change a service account's record; a field that is None is taken away."""
        record = {name: value for name, value in {**self.accounts.get(email), **fields}.items() if value is not None}
        self.accounts.put(email, record)
        return record

    def delete_account(self, email: str) -> None:
        """Remove a service account with its keys and tokens."""
        for key, record in list(self.keys.items()):
            if record["email"] == email:
                self.keys.delete(key)
        self.revoke_tokens(email)
        self.accounts.delete(email)

    def disabled(self, email: str) -> bool:
        """True for an account that may not authenticate."""
        return bool((self.accounts.get(email) or {}).get("disabled"))

    def _principal(self, email: str) -> Principal:
        # Tokens outlive the time when their account is disabled, and work again when it is enabled.
        if self.disabled(email):
            raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS)
        return Principal(email)

    # Tokens

    def issue_token(self, email: str, lifetime: timedelta = timedelta(seconds=TOKEN_SECONDS)) -> IssuedToken:
        """A fresh access token."""
        token = IssuedToken(f"ya29.sandbox-{secrets.token_urlsafe(32)}", email, time.time() + lifetime.total_seconds())
        self._tokens[token.value] = token
        return token

    def revoke_tokens(self, email: str) -> int:
        """End every token of an account at once; returns how many there were."""
        doomed = [value for value, token in self._tokens.items() if token.email == email]
        for value in doomed:
            del self._tokens[value]
        return len(doomed)

    def proxy_user(self, email: str) -> tuple[str, str]:
        """User and secret for the proxy that make a process an account (a build's stand-in for the metadata server)."""
        user, secret = f"build-{secrets.token_hex(6)}", secrets.token_urlsafe(24)
        self._proxy_users[user] = (secret, email)
        return user, secret

    def forget_proxy_user(self, user: str) -> None:
        """The process has ended."""
        self._proxy_users.pop(user, None)

    def proxy_account(self, header: str | None) -> str | None:
        """The account of a `Proxy-Authorization` header; PermissionError when its secret is wrong."""
        if header is None:
            return None
        user, secret = _basic(header)
        expected, email = self._proxy_users.get(user, ("", ""))
        if not expected or not secrets.compare_digest(expected.encode(), secret.encode()):
            raise PermissionError("unknown proxy user")
        return email

    # Credentials of a request

    def bearer(self, header: str | None, *, host: str) -> Principal | None:
        """The caller of an API by its `Authorization` header; None without one, UNAUTHENTICATED for a bad one."""
        if not header:
            return None
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "bearer":
            raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS)
        return self.token(value.strip(), host=host)

    def token(self, value: str, *, host: str) -> Principal:
        """The caller by an access token or a self-signed JWT."""
        issued = self._tokens.get(value)
        if issued is not None and issued.expires > time.time():
            return self._principal(issued.email)
        if issued is None and value.count(".") == 2:
            claims = self.verified_claims(value)
            audience = str(claims.get("aud", ""))
            # A self-signed token names the API as its audience, or carries a scope instead.
            if "scope" in claims or audience.rstrip("/") == f"https://{host}":
                return self._principal(str(claims["iss"]))
        raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS)

    def basic_or_bearer(self, header: str | None, *, host: str) -> Principal | None:
        """The caller of a package registry: like `bearer`, and the user names that Artifact Registry knows."""
        if not header or not header.lower().startswith("basic "):
            return self.bearer(header, host=host)
        user, password = _basic(header)
        if user == "oauth2accesstoken":
            return self.token(password, host=host)
        if user == "_json_key_base64":
            return self._key_file(password)
        if user == "_json_key":
            return self._key_json(password)
        raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS)

    def _key_file(self, encoded: str) -> Principal:
        try:
            return self._key_json(base64.b64decode(encoded, validate=False).decode())
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS) from error

    def _key_json(self, text: str) -> Principal:
        try:
            key = json.loads(text)
            email, key_id, private = (
                str(key["client_email"]),
                str(key["private_key_id"]),
                str(key["private_key"]).encode(),
            )
            public = serialization.load_pem_private_key(private, password=None).public_key()
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS) from error
        record = self.keys.get(key_id)
        if record is None or record["disabled"] or record["email"] != email or record["public"] != _pem(public):
            raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS)
        return self._principal(email)

    def verified_claims(self, token: str) -> dict[str, Any]:
        """The claims of a JWT that an issued key signed; UNAUTHENTICATED when anything about it is wrong."""
        try:
            head, body, signature = token.split(".")
            header, claims = json.loads(_unbase64(head)), json.loads(_unbase64(body))
            record = self.keys.get(str(header.get("kid")))
            if (
                record is None
                or record["disabled"]
                or header.get("alg") != "RS256"
                or claims.get("iss") != record["email"]
            ):
                raise ValueError("not one of the issued keys")
            public = serialization.load_pem_public_key(record["public"].encode())
            if not isinstance(public, rsa.RSAPublicKey):
                raise TypeError("not an RSA key")
            public.verify(_unbase64(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
            if not time.time() - _CLOCK_SKEW < float(claims["exp"]) < time.time() + TOKEN_SECONDS + 2 * _CLOCK_SKEW:
                raise ValueError("expired")
        except (ValueError, KeyError, TypeError, InvalidSignature) as error:
            raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS) from error
        return dict(claims)

    async def create_key(self, email: str) -> tuple[dict[str, Any], dict[str, str]]:
        """A new key of an account: its record and the key file (whose private half is not kept)."""
        private = await asyncio.to_thread(rsa.generate_private_key, public_exponent=65537, key_size=2048)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        key_id, account = secrets.token_hex(20), self.accounts.get(email)
        record = {
            "name": f"{account['name']}/keys/{key_id}",
            "email": email,
            "public": _pem(private.public_key()),
            "disabled": False,
            "validAfterTime": rfc3339(now()),
        }
        self.keys.put(key_id, record)
        file = {
            "type": "service_account",
            "project_id": account["projectId"],
            "private_key_id": key_id,
            "private_key": pem,
            "client_email": email,
            "client_id": account["uniqueId"],
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": "https://oauth2.googleapis.com/token",
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email}",
            "universe_domain": "googleapis.com",
        }
        return record, file


def _pem(public: Any) -> str:
    pem: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _basic(header: str) -> tuple[str, str]:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote(user), password
