"""Wheels and sdists, good, odd, and damaged."""

# ruff: noqa: E501 -- tables of odd things, which are easier to read in long lines

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import tarfile
import warnings
import zipfile
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.fuzz.strategies import TEXT

MEMBER = st.one_of(
    st.sampled_from(
        [
            "acme_demo.py", "acme_demo/__init__.py", "acme_demo/", "acme_demo-1.0.data/scripts/x", "a/b/c/d.so", "../x", "/etc/x",
            "a/../../x", "..\\x", "C:\\x", "c:x", "\\\\server\\x", "./a", "a//b", "", ".", "..", "a\0b", "\u00e9.py", "x" * 300,
            "acme_demo-1.0.dist-info/METADATA", "acme_demo-1.0.dist-info/RECORD", "acme_demo-1.0.dist-info/WHEEL",
            "Acme.Demo-1.0.dist-info/METADATA", "other-2.0.dist-info/METADATA", "acme_demo-1.0.dist-info/licenses/L",
        ]
    ),
    st.text(min_size=1, max_size=12),
)  # fmt: skip
_HEADER = st.sampled_from(
    [
        "Name: acme-demo", "Name: other", "Version: 1.0", "Version: 2.0", "Version: x", "Metadata-Version: 2.1",
        "Metadata-Version: 9.9", "Requires-Dist: a>=1", "Requires-Dist: @@@", "Requires-Python: >=3.9", "Requires-Python: ~",
        "Dynamic: Name", "License-File: ../../x", "Project-URL: a, https://u:p@h/", "Project-URL: x", "Description: a\n  b",
        "Keywords: a,b", "Classifier: Private :: Do Not Upload", "Provides-Extra: \u0130", "Summary: a\n b", "Nonsense", ": x",
        "Author-Email: <", "Description-Content-Type: text/x; charset=\u00e9", "License-Expression: MIT OR", "Name : x",
    ]
)  # fmt: skip
METADATA = st.builds(
    lambda good, lines, body: ("Metadata-Version: 2.1\nName: acme-demo\nVersion: 1.0\n" if good else "") + "\n".join(lines) + body,
    st.booleans(),
    st.lists(_HEADER | TEXT, max_size=5),
    st.sampled_from(["", "\n", "\n\nbody", "\n\n" + "x" * 2000]),
)  # fmt: skip
WHEEL_FILE = st.sampled_from(
    [
        "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "Wheel-Version: 2.0\n", "", "Tag: \n", "Tag: a-b\n",
        "Wheel-Version: 1.0\nTag: a-b-c-d\n", "Wheel-Version: 1.0\nTag: py2.py3-none-any\n", "Wheel-Version: 1.x\n",
        "Wheel-Version: \u00e9\n", "\ufeffWheel-Version: 1.0\n", "Wheel-Version: 1.0\nTag: py3-none-\n",
    ]
)  # fmt: skip
RECORD = st.sampled_from(
    [
        "", "\0", "a,b", "acme_demo.py,sha256=AAAA,1\n", "acme_demo.py,md5=AAAA,1\n", "acme_demo.py,sha256=,\n", '"a\n', "a," * 50,
        "acme_demo.py,sha512=,\nacme_demo.py,sha256,\n", "\u00e9,,\n", ",,,\n", "x" * 140_000,
    ]
) | TEXT  # fmt: skip


@dataclass(frozen=True)
class Zip:
    """A zip file to be: its members, and what is done to its bytes afterwards."""

    members: list[tuple[str, bytes]]
    compression: int = zipfile.ZIP_DEFLATED
    links: frozenset[int] = frozenset()
    """Members that are symbolic links."""
    damage: list[tuple[str, float, int]] = field(default_factory=list)
    """Kind, where (0 to 1 of the length), and a number."""
    record: bool = True
    """Whether RECORD is made, with the right hashes, when there is none."""

    def content(self) -> bytes:
        """The bytes."""
        members = list(self.members)
        if self.record and "acme_demo-1.0.dist-info/RECORD" not in dict(members):
            rows = io.StringIO()
            for name, content in members:
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                csv.writer(rows).writerow([name, f"sha256={digest}", len(content)])
            members.append(("acme_demo-1.0.dist-info/RECORD", rows.getvalue().encode("utf-8", "replace")))
        buffer = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", self.compression) as archive:
            warnings.simplefilter("ignore")  # the same name twice
            for number, (name, content) in enumerate(members):
                info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
                info.compress_type = self.compression
                if number in self.links:
                    info.external_attr = 0o120777 << 16
                archive.writestr(info, content)
        return damaged(buffer.getvalue(), self.damage)


def damaged(content: bytes, damage: list[tuple[str, float, int]]) -> bytes:
    """The bytes with something done to them."""
    data = bytearray(content)
    for kind, where, number in damage:
        at = min(int(where * len(data)), max(len(data) - 1, 0))
        if kind == "flip" and data:
            data[at] ^= 1 << (number % 8)
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = bytes([number % 256]) * (number % 40)
        elif kind == "double":
            data[at:at] = data[at : at + number]
        elif kind == "tail":  # most of a zip file's meaning is in its last bytes: its directory, sizes, offsets, CRCs
            back = min(1 + number % 400, len(data))
            if back:
                data[-back] = (data[-back] + 1 + number) % 256
        elif kind == "huge":
            back = min(1 + number % 300, len(data))
            data[-back : len(data) - back + 4] = b"\xff\xff\xff\x7f"
    return bytes(data)


DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "double", "tail", "tail", "huge"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 2000),
    ),
    max_size=3,
)
CONTENT = st.sampled_from([b"", b"x = 1\n", b"\0" * 5000]) | st.binary(max_size=20)


def with_info(
    others: list[tuple[str, bytes]], metadata: str, about: str, record: str | None
) -> list[tuple[str, bytes]]:
    info = "acme_demo-1.0.dist-info"
    files = {"METADATA": metadata, "WHEEL": about} | ({"RECORD": record} if record is not None else {})
    return [*others, *((f"{info}/{name}", text.encode("utf-8", "surrogatepass")) for name, text in files.items())]


GOOD = "Metadata-Version: 2.1\nName: acme-demo\nVersion: 1.0\n"
GOOD_WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
COMPRESSIONS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
WHEELS = st.one_of(
    st.builds(
        Zip,
        st.just(with_info([("acme_demo.py", b"x = 1\n" * 50)], GOOD, GOOD_WHEEL, None)),
        COMPRESSIONS,
        damage=DAMAGE,
    ),
    st.builds(
        Zip,
        st.builds(
            with_info,
            st.lists(st.tuples(MEMBER, CONTENT), max_size=4),
            st.just(GOOD) | METADATA,
            st.just(GOOD_WHEEL) | WHEEL_FILE,
            st.none() | RECORD,
        ),
        COMPRESSIONS,
        st.frozensets(st.integers(0, 3), max_size=2),
    ),
    st.builds(Zip, st.lists(st.tuples(MEMBER, CONTENT), max_size=5), damage=DAMAGE, record=st.booleans()),
)
"""Wheels of `acme_demo-1.0`: good ones that were damaged, odd ones, and what is hardly one."""


@dataclass(frozen=True)
class Tar:
    """A tar.gz to be."""

    members: list[tuple[str, bytes, bytes]]
    """Name, content, type."""
    format: int = tarfile.PAX_FORMAT
    inner: list[tuple[str, float, int]] = field(default_factory=list)
    """Damage before it is compressed."""
    outer: list[tuple[str, float, int]] = field(default_factory=list)

    def content(self) -> bytes:
        """The bytes."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=self.format) as archive:
            for name, content, kind in self.members:
                info = tarfile.TarInfo(name.encode("utf-8", "replace").decode())
                info.type, info.linkname = kind, "../x"
                info.size = len(content) if kind == tarfile.REGTYPE else 0
                try:
                    archive.addfile(info, io.BytesIO(content))
                except ValueError:  # a name that the format cannot hold
                    continue
        return damaged(gzip.compress(damaged(buffer.getvalue(), self.inner), 1, mtime=0), self.outer)


_KIND = st.sampled_from(
    [tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
_FORMAT = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
_IN_ROOT = st.tuples(
    MEMBER.map(lambda name: f"acme_demo-1.0/{name}") | st.just("acme_demo-1.0/PKG-INFO") | MEMBER,
    CONTENT | METADATA.map(lambda text: text.encode("utf-8", "surrogatepass")),
    _KIND,
)
SDISTS = st.one_of(
    st.builds(
        Tar,
        st.just([("acme_demo-1.0/PKG-INFO", GOOD.encode(), tarfile.REGTYPE), ("acme_demo-1.0/a.py", b"x\n" * 600, tarfile.REGTYPE)]),
        _FORMAT,
        DAMAGE,
        DAMAGE,
    ),
    st.builds(Tar, st.lists(_IN_ROOT, max_size=5), _FORMAT, DAMAGE),
)  # fmt: skip
"""Sdists of `acme_demo-1.0`."""
