"""Wheels and sdists of any bytes: published, or refused with a typed error."""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
import zipfile
from typing import Any

import requests
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_gar_provider.core.metadata import CoreMetadata
from airflow_gar_provider.core.sdist import Sdist
from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import GoogleApiError, InvalidWheelError
from airflow_gar_provider.gcp.remote_wheel import metadata_of
from tests.fuzz.archives import DAMAGE, GOOD, METADATA, SDISTS, WHEELS, Tar, Zip, damaged, with_info
from tests.fuzz.strategies import FUZZ, TEXT

NAME = "acme_demo-1.0"


def _outside(member: str) -> bool:
    """Whether a name leads out of the folder that an archive is unpacked in; by other means than the product's."""
    path = posixpath.normpath(posixpath.join("/folder", member))
    return member.startswith("/") or not (path == "/folder" or path.startswith("/folder/"))


@FUZZ
@given(WHEELS)
@example(Zip(with_info([], GOOD, "Tag: \n", None)))
@example(Zip(with_info([], GOOD, "Wheel-Version: 1.0\nTag: a-b\n", None)))
def test_wheels(made: Zip) -> None:
    """A wheel that is accepted can be unpacked whole, stays in its folder, and is what its name says."""
    content = made.content()
    try:
        wheel = Wheel.from_file(f"{NAME}-py3-none-any.whl", lambda: io.BytesIO(content))
    except InvalidWheelError as error:
        assert error.problems
        assert not error.retryable
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert not [name for name in archive.namelist() if _outside(name)]
    assert (wheel.name, wheel.sha256, wheel.size) == ("acme-demo", hashlib.sha256(content).hexdigest(), len(content))
    for field, value in wheel.form():
        assert isinstance(field, str)
        assert isinstance(value, str)


@FUZZ
@given(SDISTS)
def test_sdists(made: Tar) -> None:
    """The same of sdists."""
    content = made.content()
    try:
        sdist = Sdist.from_file(f"{NAME}.tar.gz", lambda: io.BytesIO(content))
    except InvalidWheelError as error:
        assert error.problems
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert not [name for name in archive.getnames() if _outside(name)]
    assert (sdist.name, sdist.sha256, sdist.size) == ("acme-demo", hashlib.sha256(content).hexdigest(), len(content))


@FUZZ
@given(TEXT, st.sampled_from([".whl", "-py3-none-any.whl", ".tar.gz", "-1.0-py3-none-any.whl", "-1.0.tar.gz", ""]))
def test_file_names(text: str, ending: str) -> None:
    """A file's name, whatever it is: typed errors."""
    for kind in (Wheel, Sdist):
        try:
            kind.from_file(text + ending, lambda: io.BytesIO(b""))
        except InvalidWheelError as error:
            assert error.problems


@FUZZ
@given(METADATA.map(lambda text: text.encode("utf-8", "surrogatepass")), DAMAGE)
def test_metadata(content: bytes, damage: list[tuple[str, float, int]]) -> None:
    """Metadata of any text: read, with findings; what of it is sent is text."""
    metadata = CoreMetadata.from_bytes(damaged(content, damage))
    for field, value in metadata.form():
        assert field
        assert isinstance(value, str)
    metadata.lines("requires_dist")


def _answer(content: bytes, span: str, lie: int) -> requests.Response:
    """A registry's answer to a range."""
    size = len(content)
    first, _, last = span.removeprefix("bytes=").rpartition("-")
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first else size
    answer = requests.Response()
    answer.request = requests.Request("GET", "https://europe-west1-python.pkg.dev/p/r/a.whl").prepare()
    answer.status_code = 206 if start < size else 416
    answer._content = content[start:end]
    answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{max(size + lie, 0)}"
    return answer


class _Registry:
    """A session whose every URL is one file."""

    def __init__(self, content: bytes, lie: int) -> None:
        self.http = self
        self._content, self._lie = content, lie

    def get(self, _: str, headers: dict[str, str], **__: Any) -> requests.Response:
        return _answer(self._content, headers["Range"], self._lie)


@FUZZ
@given(WHEELS, st.sampled_from([0, 0, 1, -5, 100_000]))
@example(Zip([], record=False), 0)
@example(Zip([], damage=[("cut", 0.0, 1)], record=False), 0)
def test_wheels_in_the_registry(made: Zip, lie: int) -> None:
    """What others published is read from afar: its METADATA, or a typed error; also when the sizes are a lie."""
    session: Any = _Registry(made.content(), lie)
    try:
        assert isinstance(metadata_of(session, "https://europe-west1-python.pkg.dev/p/r/a.whl"), str)
    except GoogleApiError as error:
        assert "wheel" in error.what


def test_the_strategies_make_good_ones_too() -> None:
    """Or every test above would only prove that rubbish is refused."""
    info = f"{NAME}.dist-info"
    about = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    good = Zip([("acme_demo.py", b"x"), (f"{info}/METADATA", GOOD.encode()), (f"{info}/WHEEL", about)]).content()
    assert Wheel.from_file(f"{NAME}-py3-none-any.whl", lambda: io.BytesIO(good)).warnings == ()
    tar = Tar([(f"{NAME}/PKG-INFO", GOOD.encode(), tarfile.REGTYPE)]).content()
    assert Sdist.from_file(f"{NAME}.tar.gz", lambda: io.BytesIO(tar)).version == "1.0"
