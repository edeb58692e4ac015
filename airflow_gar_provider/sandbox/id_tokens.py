"""ID tokens: who an account is, signed for one audience, and the certificates that a reader checks them with."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from .identity import Identity

ISSUER = "https://accounts.google.com"
_SECONDS = 3600
_SIGNER = "federated-signon.system.gserviceaccount.com"


class IdTokens:
    """Signs with a key that is made when it is first needed and ends with the sandbox."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._key: rsa.RSAPrivateKey | None = None

    def issue(self, email: str, audience: str, *, include_email: bool = True) -> str:
        """A token for `audience`; `email` is in it when asked for, as Google does."""
        record = self._identity.accounts.get(email) or {}
        moment = int(time.time())
        claims: dict[str, Any] = {"aud": audience, "azp": record.get("uniqueId", email), "iss": ISSUER}
        claims.update({"sub": record.get("uniqueId", email), "iat": moment, "exp": moment + _SECONDS})
        if include_email:
            claims.update({"email": email, "email_verified": True})
        head = {"alg": "RS256", "kid": self._key_id(), "typ": "JWT"}
        text = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        signature = self._signer().sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_base64(signature)}"

    def certificates(self) -> dict[str, str]:
        """What `www.googleapis.com/oauth2/v1/certs` serves: the id of each key and its certificate (PEM)."""
        key, moment = self._signer(), datetime.now(timezone.utc)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _SIGNER)])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(moment - timedelta(hours=1))
        certificate = builder.not_valid_after(moment + timedelta(days=14)).sign(key, hashes.SHA256())
        return {self._key_id(): certificate.public_bytes(serialization.Encoding.PEM).decode()}

    def _signer(self) -> rsa.RSAPrivateKey:
        if self._key is None:
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._key

    def _key_id(self) -> str:
        return f"{self._signer().public_key().public_numbers().n % (1 << 160):040x}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
