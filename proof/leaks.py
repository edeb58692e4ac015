"""Where secrets are looked for that went through the product: the scanner, and the secrets ("canaries").

A canary is made when it is needed, and is a key to nothing. It is found as it is, as JSON and `repr` escape it, in
base64 (whatever stands before it: three alignments; the URL-safe alphabet, too), percent-encoded, and both of these on
top of each other. Beside the canaries, shapes are found: what looks like a credential of Google's, whoever it is of.
Bytes are searched, so that a database, its write-ahead log and a compressed log are files like any other.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

_SHORTEST = 8
"""Bytes of a form that is looked for: a shorter one is found by chance."""


@dataclass(frozen=True)
class Leak:
    """A secret where none may be."""

    where: str
    """File, table or exception."""
    what: str
    """Name of the canary, or of the shape."""
    form: str
    """How it stood there."""
    at: int
    """Byte."""

    def __str__(self) -> str:
        """One line; the secret itself is not in it."""
        return f"{self.where}: {self.what} ({self.form}) at byte {self.at}"


@dataclass(frozen=True)
class Exempt:
    """A place where a secret may be."""

    where: str
    """Regular expression of the whole place."""
    why: str
    """One sentence."""


def word(prefix: str = "") -> str:
    """A secret: letters and digits that nobody has seen before."""
    return prefix + secrets.token_hex(16)


def token() -> str:
    """What looks like an access token of Google's."""
    return f"ya29.{secrets.token_urlsafe(48)}"


def web_token() -> str:
    """What looks like a JSON web token."""
    head, body = ({"alg": "RS256", "typ": "JWT"}, {"iss": word(), "sub": word()})
    parts = [json.dumps(part, separators=(",", ":")).encode() for part in (head, body)] + [secrets.token_bytes(48)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def key_file(email: str) -> dict[str, str]:
    """A service account's key file, whose private half is noise."""
    lines = base64.encodebytes(secrets.token_bytes(600)).decode()
    return {
        "type": "service_account",
        "project_id": "canary",
        "private_key_id": secrets.token_hex(20),
        "private_key": f"-----BEGIN PRIVATE KEY-----\n{lines}-----END PRIVATE KEY-----\n",
        "client_email": email,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def pieces(secret: str) -> list[str]:
    """What of a secret is looked for: a short one whole; of a key, whose lines may come apart, four of its lines."""
    lines = [line for line in secret.splitlines() if len(line) >= 32 and "-----" not in line]
    if len(lines) < 2:
        return [secret]
    return [lines[number * (len(lines) - 1) // 3] for number in range(4)]


def _base64(content: bytes, *, url_safe: bool) -> Iterator[tuple[str, bytes]]:
    """What is the same in the base64 of any text that holds the content: by how many bytes stand before it."""
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    for before in range(3):
        encoded = encode(b"\0" * before + content)
        first, last = -(-8 * before // 6), 8 * (before + len(content)) // 6
        yield f"{'URL-safe ' if url_safe else ''}base64, {before} before", encoded[first:last]


def forms(secret: str) -> dict[bytes, str]:
    """Every form of a secret -> what it is called."""
    found: dict[bytes, str] = {}
    plain = secret.encode()
    texts = [
        ("plain", plain),
        ("JSON", json.dumps(secret)[1:-1].encode()),
        ("repr", repr(secret)[1:-1].encode()),
        ("percent-encoded", quote(secret, safe="").encode()),
        ("percent-encoded but for slashes", quote(secret).encode()),
        ("percent-encoded twice", quote(quote(secret, safe=""), safe="").encode()),
        ("UTF-16", secret.encode("utf-16-le")),
        ("hexadecimal", plain.hex().encode()),
    ]
    for name, text in texts:
        found.setdefault(text, name)
    for name, text in texts[:4]:
        for url_safe in (False, True):
            for how, encoded in _base64(text, url_safe=url_safe):
                found.setdefault(encoded, f"{how}, of {name}")
                found.setdefault(quote(encoded, safe="").encode(), f"percent-encoded {how}, of {name}")
    return {form: name for form, name in found.items() if len(form) >= _SHORTEST}


SHAPES: Mapping[str, re.Pattern[bytes]] = {
    "a key in an index URL": re.compile(rb"_json_key(?:_base64)?(?::|%3A)(?!\*\*\*\*)[A-Za-z0-9+/=%_-]{16}"),
    "an access token": re.compile(rb"ya29\.(?!\*)[\w-]{10}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\\+n|\s)*[A-Za-z0-9+/]{16}"),
    "a private key in base64": re.compile(
        b"|".join(re.escape(form) for _, form in _base64(b"-----BEGIN PRIVATE KEY-----", url_safe=False))
    ),
    "a JSON web token": re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}"),
    "an Authorization header": re.compile(
        rb"(?i)authorization\\*[\"']?\s*[:=]\s*\\*[\"']?(?:(?:bearer|basic|token)\s+)?(?!\*\*\*\*|bearer\b|basic\b)[\w.~+/=-]{12}"
    ),
    "a URL with a password": re.compile(rb"https?://[^\s/@:\"'<>\\]{1,64}:(?!\*\*\*\*)[^\s/@\"'<>\\]{4,200}@[\w.-]+"),
}  # fmt: skip


@dataclass
class Scanner:
    """Looks for canaries and shapes in bytes, files, folders and exceptions."""

    canaries: Mapping[str, str]
    """Name -> secret."""
    exempt: tuple[Exempt, ...] = ()
    ignored: Mapping[str, re.Pattern[bytes]] = field(default_factory=dict)
    """Shape -> what of it is no secret (an example in a document, a name)."""
    scanned: int = 0
    """Bytes looked at, so that a scan of nothing is seen."""
    places: int = 0

    def __post_init__(self) -> None:
        self._forms = {
            form: (name, how)
            for name, secret in self.canaries.items()
            for piece in pieces(secret)
            for form, how in forms(piece).items()
        }

    def scan(self, where: str, content: bytes) -> list[Leak]:
        """Leaks in bytes; what is compressed is unpacked and looked at, too."""
        if any(re.fullmatch(one.where, where) for one in self.exempt):
            return []
        self.scanned += len(content)
        self.places += 1
        found = [
            Leak(where, name, how, content.find(form)) for form, (name, how) in self._forms.items() if form in content
        ]
        for name, shape in SHAPES.items():
            for match in shape.finditer(content):
                if name in self.ignored and self.ignored[name].search(match[0]):
                    continue
                found.append(Leak(where, name, "shape", match.start()))
                break
        for inner in _unpacked(content):
            found += [
                Leak(leak.where, leak.what, f"compressed, {leak.form}", leak.at) for leak in self.scan(where, inner)
            ]
        return found

    def scan_tree(self, folder: Path, pattern: str = "*") -> list[Leak]:
        """Leaks in the files of a folder, named by their path in it."""
        files = sorted(path for path in folder.rglob(pattern) if path.is_file() and not path.is_symlink())
        return [leak for path in files for leak in self.scan(str(path.relative_to(folder)), path.read_bytes())]

    def scan_rows(self, table: str, names: Iterable[str], rows: Iterable[Iterable[object]]) -> list[Leak]:
        """Leaks in the rows of a table, by column: what the pages of a database have in pieces is whole here."""
        found, columns = [], list(names)
        for number, row in enumerate(rows):
            for column, value in zip(columns, row, strict=True):
                if value is not None:
                    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
                    found += self.scan(f"{table}.{column} row {number}", content)
        return found

    def scan_error(self, where: str, error: BaseException) -> list[Leak]:
        """Leaks in an exception: its text, its `repr`, its arguments, its attributes; and all that it was caused by."""
        found: list[Leak] = []
        for number, one in enumerate(chain_of(error)):
            attributes = {name: value for name, value in vars(one).items() if not isinstance(value, BaseException)}
            for name, text in (
                ("str", str(one)),
                ("repr", repr(one)),
                ("args", repr(one.args)),
                ("vars", repr(attributes)),
            ):
                found += self.scan(f"{where}, {type(one).__name__} {number}, {name}", text.encode("utf-8", "replace"))
        return found


def chain_of(error: BaseException) -> list[BaseException]:
    """An exception, and every `__cause__` and `__context__` behind it, also those that a traceback leaves out."""
    found: list[BaseException] = []
    todo = [error]
    while todo:
        one = todo.pop()
        if not any(one is known for known in found):
            found.append(one)
            todo += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    return found


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What a gzip file or a zlib stream (Airflow's compressed DAGs) holds."""
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:1] == b"\x78":
        try:
            yield zlib.decompress(content)
        except zlib.error:
            return
