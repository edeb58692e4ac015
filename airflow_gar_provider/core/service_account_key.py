"""A service account's key, as Artifact Registry takes it in an index URL; its secret shows nowhere by accident."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from airflow_gar_provider.errors import InvalidKeyError

USER = "_json_key_base64"
"""The user name with which Artifact Registry reads a password as a key file in base64 (Google: "Set up authentication
for Python package repositories", "Using a service account key")."""
_ACCOUNT = re.compile(r"[a-z0-9.-]+(?::[a-z0-9.-]+)?@[a-z0-9.-]+\.gserviceaccount\.com")
_LONGEST = 16_384
"""Characters; a key file has about 2,400."""


@dataclass(frozen=True)
class ServiceAccountKey:
    """One key of a service account. `repr` and `str` name it without its secret."""

    email: str
    """The account that it belongs to."""
    id: str
    """The key's id, by which IAM names it; no secret."""
    _file: str = field(repr=False, compare=False)
    """The key file: JSON, as it was given."""

    @classmethod
    def parse(cls, text: str | bytes) -> ServiceAccountKey:
        """Read a key file, as JSON or as JSON in base64. Raises InvalidKeyError, which quotes nothing of it."""
        try:
            content = (text.decode() if isinstance(text, bytes) else text).strip()
            if len(content) > _LONGEST:
                raise ValueError
            if not content.startswith("{"):
                content = base64.b64decode(content, validate=True).decode()
            value = json.loads(content)
            email, key_id, private = value["client_email"], value["private_key_id"], value["private_key"]
            known = _ACCOUNT.fullmatch(email) and re.fullmatch(r"[0-9A-Za-z_-]+", key_id)
            if value.get("type") != "service_account" or not known or "PRIVATE KEY-----" not in private:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        else:
            return cls(email, key_id, content)
        # Behind the block: the errors of the JSON parser and of the decoder carry the whole text.
        raise InvalidKeyError(
            "what was given is not a service account's key file",
            remedy="give the JSON file that `gcloud iam service-accounts keys create` writes, or its base64",
        )

    @classmethod
    def of_url(cls, url: str) -> ServiceAccountKey | None:
        """The key that an index URL carries; None when it carries none that can be read."""
        match = re.match(r"https?://_json_key(?:_base64)?:(?P<password>[^/@]+)@", url)
        if not match:
            return None
        try:
            return cls.parse(unquote(match["password"]))
        except InvalidKeyError:
            return None

    @property
    def password(self) -> str:
        """The key file as a password: base64 of which no character needs escaping in a URL or in pip.conf.

        `/` and `+` would need it. They come from `?`, `>` and `~` alone, in text that is ASCII; JSON may write those as
        `\\u003f`. So the same key always gives the same URL, and no `%` reaches pip.conf.
        """
        # `type` first: by the beginning that it gives, redaction knows a key file in base64 without anything around it.
        value = {"type": "service_account", **dict(sorted(json.loads(self._file).items()))}
        text = json.dumps(value, separators=(",", ":"))
        for character in "?>~\x7f":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return base64.b64encode(text.encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every form in which the secret could turn up in a text, for a log that masks them.

        As few as hide them all, for a log pays for each one at every line: the private half as it is, as JSON writes
        it, and both as URLs do; the file in base64, as we write it and as it was given, without the `=` at the end
        that URLs write in two ways.
        """
        private = str(json.loads(self._file)["private_key"])
        escaped = json.dumps(private)[1:-1]
        files = [self.password, base64.b64encode(self._file.encode()).decode()]
        texts = [private, escaped, quote(private, safe=""), quote(escaped, safe="")]
        return tuple(dict.fromkeys([*texts, *(text.rstrip("=") for text in files)]))
