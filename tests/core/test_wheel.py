"""Wheels: what is checked before a byte is sent."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import GarProviderError, InvalidWheelError
from tests.wheels import make_wheel


def read(path: Path) -> Wheel:
    with path.open("rb") as stream:
        return Wheel.from_file(path.name, stream)


def test_what_is_read(tmp_path: Path) -> None:
    """Name, version, hashes, and what it requires."""
    path = make_wheel(
        tmp_path, "Acme_Demo", "1.2", metadata="Requires-Python: >=3.9\nRequires-Dist: a>=1\nRequires-Dist: b\n"
    )
    wheel = read(path)
    assert (wheel.name, wheel.version, wheel.file) == ("acme-demo", "1.2", "Acme_Demo-1.2-py3-none-any.whl")
    assert wheel.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert wheel.size == path.stat().st_size
    assert wheel.requires_python == ">=3.9"
    assert wheel.requires_dist == ("a>=1", "b")


def test_the_form_is_twines(tmp_path: Path) -> None:
    """twine is the oracle: field for field, the form is what twine would send for the same file."""
    from twine.package import PackageFile
    from twine.repository import Repository

    metadata = (
        "Summary: x\nKeywords: k1,k2\nClassifier: A\nClassifier: B\nRequires-Dist: a>=1\nRequires-Python: >=3.9\n"
        "Project-URL: Home, https://example.com\nAuthor-email: a@example.com\nProvides-Extra: geo\n"
        "License-File: LICENSE\nDescription-Content-Type: text/markdown\nPlatform: any\n\nLong *text*\n"
    )
    path = make_wheel(tmp_path, "acme_demo", "1.2", metadata=metadata)
    fields = PackageFile.from_filename(str(path), comment=None).metadata_dictionary()
    theirs = Repository._convert_metadata_to_list_of_tuples(fields)
    # twine writes the file's spelling of the name, we write the metadata's; the registry normalises both.
    expected = sorted(
        (k, v) for k, v in [*theirs, (":action", "file_upload"), ("protocol_version", "1")] if k != "name"
    )
    assert sorted((k, v) for k, v in read(path).form() if k != "name") == expected


def bad_zip(folder: Path) -> Path:
    path = folder / "a-1.0-py3-none-any.whl"
    path.write_bytes(b"this is no zip file")
    return path


def truncated(folder: Path) -> Path:
    path = make_wheel(folder, "a", "1.0")
    path.write_bytes(path.read_bytes()[:-40])
    return path


def damaged(folder: Path) -> Path:
    path = folder / "a-1.0-py3-none-any.whl"
    with zipfile.ZipFile(make_wheel(folder, "a", "1.0")) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"VERSION = '1.0'", b"VERSION = '9.0'", 1))
    return path


BAD = {
    "not a zip": (bad_zip, "it is not a wheel (a readable zip file)"),
    "truncated": (truncated, "it is not a wheel (a readable zip file)"),
    "bytes that fail their CRC": (damaged, "is damaged (its CRC does not match)"),
    "not a wheel's name": (lambda f: make_wheel(f, "a", "1.0", file="a.whl"), "its name is not that of a wheel"),
    "another extension": (lambda f: make_wheel(f, "a", "1.0", file="a-1.0.zip"), "its name is not that of a wheel"),
    "another name inside": (
        lambda f: make_wheel(f, "a", "1.0", metadata_name="b"),
        "its file name says a, its metadata says b",
    ),
    "another version inside": (
        lambda f: make_wheel(f, "a", "1.0", metadata_version="1.1"),
        "its file name says version 1.0, its metadata says 1.1",
    ),
    "other tags inside": (
        lambda f: make_wheel(f, "a", "1.0", tag="cp311-cp311-linux_x86_64").rename(f / "a-1.0-py3-none-any.whl"),
        "its WHEEL file says cp311-cp311-linux_x86_64",
    ),
    "a path that leads outside": (
        lambda f: make_wheel(f, "a", "1.0", members={"../../evil.py": "x"}),
        "would be written outside the package",
    ),
    "two packages": (
        lambda f: make_wheel(f, "a", "1.0", members={"b-1.dist-info/METADATA": "Name: b"}),
        "it has 2 top-level .dist-info/METADATA files",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files(tmp_path: Path, kind: str) -> None:
    """Each is refused with its reason."""
    make, message = BAD[kind]
    with pytest.raises(InvalidWheelError) as caught:
        read(make(tmp_path))  # type: ignore[operator]
    assert message in str(caught.value)


def test_vendored_metadata_does_not_count(tmp_path: Path) -> None:
    """Big wheels carry METADATA files of vendored packages, deeper in the tree."""
    path = make_wheel(tmp_path, "a", "1.0", members={"a/_vendor/b-1.dist-info/METADATA": "Name: b"})
    assert read(path).name == "a"


@given(st.binary(max_size=300))
def test_no_bytes_make_another_error(content: bytes) -> None:
    """Whatever the file holds, it is a typed error."""
    with pytest.raises(GarProviderError):
        Wheel.from_file("a-1.0-py3-none-any.whl", io.BytesIO(content))
