"""Wheels: what is checked before a byte is sent."""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.sdist import Sdist
from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import GarProviderError, InvalidWheelError
from tests.wheels import make_sdist, make_wheel


def read(path: Path) -> Wheel:
    return Wheel.from_file(path.name, lambda: path.open("rb"))


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


COMMON = "Summary: x\nKeywords: k1,k2\nPlatform: any\nAuthor: A\nHome-page: https://example.com\n"
SINCE_1_2 = "Classifier: A\nClassifier: B\nRequires-Dist: a>=1\nRequires-Dist: b\nRequires-Python: >=3.9\n"
SINCE_1_2 += "Project-URL: Home, https://example.com\nProject-URL: Docs, https://example.com/d\nMaintainer: M\n"
SINCE_2_1 = "Provides-Extra: geo\nDescription-Content-Type: text/markdown\n"
FORMS = {
    "1.1": COMMON + "Classifier: A\nLicense: MIT\n",
    "1.2": COMMON + SINCE_1_2 + "License: MIT\n",
    "2.1": COMMON + SINCE_1_2 + SINCE_2_1 + "License-File: LICENSE\n\nLong *text*, ä\n",
    "2.2": COMMON + SINCE_1_2 + SINCE_2_1 + "Dynamic: License\nLicense-File: LICENSE\n\nLong\n",
    "2.3": COMMON + SINCE_1_2 + SINCE_2_1 + "Author-email: a@example.com\n\nLong\n",
    "2.4": COMMON + SINCE_1_2 + SINCE_2_1 + "License-Expression: MIT\nLicense-File: LICENSE\nLicense-File: NOTICE\n",
    "2.5": COMMON + SINCE_1_2 + SINCE_2_1 + "Import-Name: acme_demo\nImport-Namespace: acme\n",
}


def twines_form(path: Path) -> list[tuple[str, str]]:
    """What twine would send. It leaves BLAKE2 out where the machine forbids it; we do so everywhere."""
    from twine.package import PackageFile
    from twine.repository import Repository

    fields = PackageFile.from_filename(str(path), comment=None).metadata_dictionary()
    theirs = [*Repository._convert_metadata_to_list_of_tuples(fields), (":action", "file_upload")]
    return sorted((k, v) for k, v in [*theirs, ("protocol_version", "1")] if k != "blake2_256_digest")


@pytest.mark.parametrize("version", FORMS)
def test_the_form_is_twines(tmp_path: Path, version: str) -> None:
    """twine is the oracle: field for field, the form is what twine would send for the same file."""
    if version == "2.5" and int(installed_version("twine").split(".")[0]) < 7:
        pytest.skip("twine knows metadata 2.5 from its version 7 on")
    path = make_wheel(tmp_path, "acme_demo", "1.2", metadata=FORMS[version])
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b"Metadata-Version: 2.1", f"Metadata-Version: {version}".encode()))
    assert sorted(read(path).form()) == twines_form(path)


def test_an_sdists_form_is_twines(tmp_path: Path) -> None:
    """An sdist is for any Python: `source`."""
    path = make_sdist(tmp_path, "acme_demo", "1.2")
    form = Sdist.from_file(path.name, lambda: path.open("rb")).form()
    assert sorted(form) == twines_form(path)
    assert {("filetype", "sdist"), ("pyversion", "source")} <= set(form)


SDISTS = {
    "no gzip": (lambda f: (f / "a-1.0.tar.gz").write_text("x"), "it is not an sdist (a readable .tar.gz)"),
    "truncated": (lambda f: cut(make_sdist(f, "a", members={"a-1.0/b": "x" * 9999})), "it is not an sdist"),
    "damaged": (lambda f: spoil(make_sdist(f, "a")), "it is not an sdist (a readable .tar.gz): CRC check failed"),
    "no metadata": (lambda f: make_sdist(f, "a", metadata=""), "it has no PKG-INFO in its top-level folder"),
    "another name": (
        lambda f: make_sdist(f, "a", metadata="Metadata-Version: 2.1\nName: b\nVersion: 1.0\n"),
        "its file name says a, its metadata says b",
    ),
    "outside": (lambda f: make_sdist(f, "a", members={"a-1.0/../../x": ""}), "would be written outside the package"),
    "two folders": (lambda f: make_sdist(f, "a", members={"b/x": ""}), "it has 2 top-level folders instead of one"),
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the first byte of gzip's CRC
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("kind", SDISTS)
def test_bad_sdists(tmp_path: Path, kind: str) -> None:
    """Each is refused with its reason."""
    make, message = SDISTS[kind]
    make(tmp_path)  # type: ignore[no-untyped-call]
    with pytest.raises(InvalidWheelError) as caught:
        Sdist.from_file("a-1.0.tar.gz", lambda: (tmp_path / "a-1.0.tar.gz").open("rb"))
    assert message in str(caught.value)


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


def bomb(folder: Path) -> Path:
    """A small file whose directory promises four gigabytes."""
    path = make_wheel(folder, "a", "1.0")
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02") + 24  # the unpacked size of the first member, in the directory
    path.write_bytes(data[:at] + (0xF0000000).to_bytes(4, "little") + data[at + 4 :])
    return path


def wheel_file(folder: Path, text: str) -> Path:
    """A wheel whose WHEEL file says something else."""
    path = make_wheel(folder, "a", "1.0")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members["a-1.0.dist-info/WHEEL"] = text.encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


BAD = {
    "a zip bomb": (bomb, "it is a zip bomb"),
    "a wheel of the future": (lambda f: wheel_file(f, "Wheel-Version: 2.0\nTag: py3-none-any\n"), "pip installs 1.x"),
    "a name that is another folder's": (
        lambda f: make_wheel(f, "b", "1.0", metadata_name="a").rename(f / "a-1.0-py3-none-any.whl"),
        "its .dist-info folder is 'b-1.0.dist-info': pip refuses it in a wheel of a",
    ),
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
        "it has 2 top-level .dist-info folders",
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


def test_what_pip_forgives_is_a_warning(tmp_path: Path) -> None:
    """Style, a RECORD that is wrong, members that are there twice: real wheels have them, and pip installs them."""
    path = make_wheel(tmp_path, "a", "1.0", metadata="License-Expression: MIT\nNonsense: 1\n")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members["a-1.0.dist-info/RECORD"] = b"a.py,sha256=AAAA,1\nnowhere.py,,\n"
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        for name, content in [*members.items(), ("a.py", b"again")]:
            archive.writestr(name, content)
    text = "\n".join(read(path).warnings)
    for expected in (
        "introduced in metadata version 2.4",
        "its metadata has an unknown or malformed field 'nonsense'",
        "member 'a.py' is there more than once",
        "RECORD does not list 'a-1.0.dist-info/METADATA', 'a-1.0.dist-info/WHEEL'",
        "RECORD lists what is not there: 'nowhere.py'",
        "RECORD has another hash of 'a.py'",
    ):
        assert expected in text


@given(st.binary(max_size=300))
def test_no_bytes_make_another_error(content: bytes) -> None:
    """Whatever the file holds, it is a typed error."""
    with pytest.raises(GarProviderError):
        Wheel.from_file("a-1.0-py3-none-any.whl", lambda: io.BytesIO(content))
