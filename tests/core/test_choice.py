"""The newest version that matches and fits, and why another one is not it."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import pytest
from packaging.tags import Tag, sys_tags

from airflow_gar_provider.core.choice import CandidateFile, Choice, Target, choose
from airflow_gar_provider.core.requirement import Requirement

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
PYTHON = Target("3.11.8")


def wheels(*versions: str, tag: str = "py3-none-any", requires_python: str | None = None) -> list[CandidateFile]:
    return [CandidateFile(f"acme_demo-{version}-{tag}.whl", requires_python) for version in versions]


def chosen(requirement: str, files: list[CandidateFile], **rules: object) -> Choice:
    return choose(Requirement.parse(requirement), files, **rules)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        ("acme-demo", "1.10"),
        ("acme-demo<1.10", "1.9"),
        ("acme-demo>=1,!=1.10", "1.9"),
        ("acme-demo~=1.2.0", "1.2.3"),
        ("acme-demo==1.2.*", "1.2.3"),
        ("acme-demo==1.2.3", "1.2.3"),
        ("acme-demo===1.9", "1.9"),
        ("acme-demo>=2.0rc1", "2.0rc1"),
        ("acme-demo==2.0rc1", "2.0rc1"),
        ("acme-demo>1.10", None),
    ],
)
def test_the_newest_that_matches(requirement: str, version: str | None) -> None:
    """By PEP 440, not by text; a pre-release only when the requirement names one."""
    assert chosen(requirement, wheels("1.2.3", "1.9", "1.10", "2.0rc1")).version == version


def test_prereleases_on_request() -> None:
    """The switch lets them in; without it they are never a fallback, unlike in pip."""
    assert chosen("acme-demo", wheels("1.0", "2.0rc1"), prereleases=True).version == "2.0rc1"
    none = chosen("acme-demo", wheels("2.0rc1"))
    assert none.version is None
    assert none.why_none() == "2.0rc1: a pre-release, and the requirement names none"


@pytest.mark.parametrize(
    ("files", "version", "reason"),
    [
        (wheels("1.0", tag="cp310-cp310-manylinux2014_x86_64"), None, "does not run on Python 3.11 on Linux x86_64"),
        (wheels("1.0", tag="cp311-cp311-win_amd64"), None, "does not run on Python 3.11 on Linux x86_64"),
        (wheels("1.0", tag="cp311-cp311-musllinux_1_2_x86_64"), None, "does not run on"),
        (wheels("1.0", tag="cp311-cp311-manylinux_2_28_aarch64"), None, "does not run on"),
        (wheels("1.0", tag="cp312-abi3-manylinux2014_x86_64"), None, "does not run on"),
        (wheels("1.0", requires_python=">=3.12"), None, "needs Python >=3.12, not 3.11.8"),
        (wheels("1.0", tag="cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"), "1.0", ""),
        (wheels("1.0", tag="cp39-abi3-manylinux_2_28_x86_64"), "1.0", ""),
        (wheels("1.0", tag="py2.py3-none-any"), "1.0", ""),
        (wheels("1.0", requires_python=">=3.11.5"), "1.0", ""),
        (wheels("1.0", requires_python="not a specifier"), "1.0", ""),
    ],
)
def test_files_have_to_fit(files: list[CandidateFile], version: str | None, reason: str) -> None:
    """Tags and Requires-Python are held against the environment; without one, against nothing."""
    choice = chosen("acme-demo", files, target=PYTHON)
    assert choice.version == version
    assert reason in (choice.why_none() if version is None else "")
    assert chosen("acme-demo", files).version == "1.0"


def test_an_older_version_that_fits_is_taken() -> None:
    """And the newer one that does not is among the reasons, as one that the requirement would allow."""
    choice = chosen("acme-demo", wheels("1.0") + wheels("2.0", requires_python=">=3.13"), target=PYTHON)
    assert choice.version == "1.0"
    assert [(entry.version, entry.matches) for entry in choice.rejected] == [("2.0", True)]


def test_of_one_version_the_most_specific_wheel_comes_first_and_an_sdist_last() -> None:
    """An sdist alone fits too: that it is one is said."""
    files = [
        CandidateFile("acme_demo-1.0.tar.gz"),
        *wheels("1.0"),
        *wheels("1.0", tag="cp311-cp311-manylinux2014_x86_64"),
    ]
    choice = chosen("acme-demo", files, target=PYTHON)
    assert [file.file.removeprefix("acme_demo-1.0") for file in choice.files] == [
        "-cp311-cp311-manylinux2014_x86_64.whl",
        "-py3-none-any.whl",
        ".tar.gz",
    ]
    assert not choice.is_sdist
    assert chosen("acme-demo", files[:1], target=PYTHON).is_sdist


def test_a_withdrawn_version_is_for_exact_pins_only() -> None:
    """PEP 592."""
    files = [*wheels("1.0"), CandidateFile("acme_demo-1.1-py3-none-any.whl", yanked=True)]
    assert chosen("acme-demo", files).version == "1.0"
    assert chosen("acme-demo==1.1", files).version == "1.1"


def test_minimum_age() -> None:
    """A version is as old as its first file; what is younger, or of unknown age, is left for later."""
    files = [
        CandidateFile("acme_demo-1.0-py3-none-any.whl", created=NOW - timedelta(days=10)),
        CandidateFile("acme_demo-1.1-py3-none-any.whl", created=NOW - timedelta(days=3)),
        CandidateFile("acme_demo-1.1.tar.gz", created=NOW - timedelta(minutes=5)),
        CandidateFile("acme_demo-1.2-py3-none-any.whl", created=NOW - timedelta(hours=5)),
        CandidateFile("acme_demo-1.3-py3-none-any.whl"),
    ]
    choice = chosen("acme-demo", files, minimum_age=timedelta(days=2), now=NOW)
    assert choice.version == "1.1"
    assert choice.why_none() == "1.3: its age is not known; 1.2: published 5 hours ago, younger than 2 days"
    with pytest.raises(ValueError, match="measured up to `now`"):
        chosen("acme-demo", files, minimum_age=timedelta(days=2))


def test_other_packages_and_odd_files_are_passed_over() -> None:
    """An index page may list files that are no packages; a name is compared as PEP 503 says."""
    names = ("acme_demo-1.0.exe", "other-9-py3-none-any.whl", "acme-demo-weird.whl", "Acme.Demo-1.0.tar.gz")
    choice = chosen("acme-demo", [CandidateFile(name) for name in names])
    assert (choice.version, [file.file for file in choice.files]) == ("1.0", ["Acme.Demo-1.0.tar.gz"])


def test_long_lists_of_reasons_are_cut() -> None:
    """Hundreds of versions make no readable message."""
    choice = chosen("acme-demo>100", wheels(*map(str, range(20))))
    assert choice.why_none() == "; ".join(f"{n}: not >100" for n in range(19, 13, -1)) + "; and 14 more"
    assert chosen("acme-demo", []).why_none() == "it has no version there"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compares with the tags of this Linux")
def test_tags_are_those_that_pip_takes() -> None:
    """Held against what `packaging` computes for the Python that runs here; only a newer glibc is taken beyond it."""
    here = Target(f"{sys.version_info[0]}.{sys.version_info[1]}")
    real = set(sys_tags())
    assert [str(tag) for tag in real if not here.takes(tag) and "x86_64" in str(tag)] == []
    for interpreter in ("cp39", "cp310", "cp311", "cp312", "cp313", "cp3", "py2", "py3", "py311", "py313", "pp311"):
        for abi in ("none", "abi3", "cp39", "cp311", "cp313t", "cp27mu"):
            for platform in ("any", "manylinux_2_17_x86_64", "manylinux1_x86_64", "linux_x86_64", "win_amd64"):
                tag = Tag(interpreter, abi, platform)
                assert here.takes(tag) == (tag in real), tag


@pytest.mark.parametrize(
    ("python", "minor", "full"), [("3.11", (3, 11), "3.11.0"), ("3.11.8", (3, 11), "3.11.8"), ("3", (3, 0), "3.0.0")]
)
def test_markers(python: str, minor: tuple[int, int], full: str) -> None:
    """What a wheel's own requirements are evaluated with."""
    target = Target(python)
    assert target.minor == minor
    assert target.markers["python_full_version"] == full
    assert target.markers["sys_platform"] == "linux"
