"""What may be published together: names, sizes, and the Pythons that are to install it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_gar_provider.core.distribution import Distribution
from airflow_gar_provider.core.publishable import Rules, problems_of
from airflow_gar_provider.core.sdist import Sdist
from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import InvalidInputError
from tests.wheels import make_sdist, make_wheel


def wheel(folder: Path, name: str = "acme_demo", version: str = "1.0", **options: str) -> Distribution:
    path = make_wheel(folder, name, version, **options)  # type: ignore[arg-type]
    return Wheel.from_file(path.name, lambda: path.open("rb"))


LINUX = "manylinux_2_17_x86_64"
FITS = {
    "pure": ("py3-none-any", "", "3.11", True),
    "its own CPython": (f"cp311-cp311-{LINUX}", "", "3.11", True),
    "an older stable ABI": (f"cp38-abi3-{LINUX}", "", "3.11", True),
    "a newer stable ABI": (f"cp312-abi3-{LINUX}", "", "3.11", False),
    "another CPython": (f"cp310-cp310-{LINUX}", "", "3.11", False),
    "another machine": ("cp311-cp311-macosx_11_0_arm64", "", "3.11", False),
    "musl": ("cp311-cp311-musllinux_1_2_x86_64", "", "3.11", False),
    "plain Linux": ("cp311-cp311-linux_x86_64", "", "3.11.8", True),
    "Python 2": ("py2-none-any", "", "3.11", False),
    "a Python that is too old": ("py3-none-any", "Requires-Python: >=3.12\n", "3.11", False),
    "some patch release will do": ("py3-none-any", "Requires-Python: >=3.11.4\n", "3.11", True),
    "this patch release will not": ("py3-none-any", "Requires-Python: >=3.11.9\n", "3.11.8", False),
    "what is no specifier is passed over, as pip does": ("py3-none-any", "Requires-Python: new\n", "3.11", True),
}


@pytest.mark.parametrize("case", FITS)
def test_what_installs_where(tmp_path: Path, case: str) -> None:
    """Tags and Requires-Python against the Python of the environments."""
    tag, metadata, python, fits = FITS[case]
    problems = problems_of([wheel(tmp_path, tag=tag, metadata=metadata)], Rules.read(target_python=python))
    assert (problems == []) is fits
    if not fits:
        assert f"acme-demo 1.0: nothing of it installs on Python {python}" in problems[0]


def test_one_file_of_a_release_is_enough(tmp_path: Path) -> None:
    """Wheels for other machines may lie beside the right one; an sdist fits everywhere."""
    other = wheel(tmp_path, tag="cp311-cp311-macosx_11_0_arm64")
    source = make_sdist(tmp_path)
    sdist = Sdist.from_file(source.name, lambda: source.open("rb"))
    rules = Rules.read(target_python="3.11, 3.12")
    assert problems_of([other, wheel(tmp_path)], rules) == []
    assert problems_of([other, sdist], rules) == []
    assert len(problems_of([other], rules)) == 2


def test_every_problem_of_every_file(tmp_path: Path) -> None:
    """An epoch, a name that is not allowed, a file that is too large: all at once, each with its file."""
    rules = Rules.read(allowed_prefixes="Acme_", max_size_mb=0.0001)
    problems = problems_of([wheel(tmp_path), wheel(tmp_path, "other", "1!2.0")], rules)
    assert [problem.split(": ")[0] for problem in problems] == [
        "acme_demo-1.0-py3-none-any.whl",
        "other-1!2.0-py3-none-any.whl",
        "other-1!2.0-py3-none-any.whl",
        "other-1!2.0-py3-none-any.whl",
        "other-1!2.0-py3-none-any.whl",
    ]
    text = "\n".join(problems)
    for expected in (
        "version 1!2.0 has an epoch",
        "characters that the index cannot serve back",
        "0.0 MB are allowed (max_size_mb)",
        "the name other begins with none of the allowed prefixes (acme-)",
    ):
        assert expected in text


def test_two_files_of_one_name(tmp_path: Path) -> None:
    """The same bytes twice are one file; other bytes are a mistake."""
    (tmp_path / "b").mkdir()
    one, two = wheel(tmp_path), wheel(tmp_path / "b", metadata="Summary: other\n")
    assert problems_of([one, one], Rules()) == []
    assert problems_of([one, two], Rules()) == [
        "acme_demo-1.0-py3-none-any.whl: two sources have this name and different content: name one of them only"
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"target_python": "py311"}, "target_python is a version such as 3.11, not 'py311'"),
        ({"max_size_mb": "big"}, "max_size_mb is a number, not 'big'"),
    ],
)
def test_rules_that_are_none(parameters: dict[str, object], message: str) -> None:
    """A parameter that cannot be meant is refused."""
    with pytest.raises(InvalidInputError, match=message):
        Rules.read(**parameters)
