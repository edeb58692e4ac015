"""Requirements: what Composer accepts, and why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.requirement import Requirement, parse_names, parse_requirements, split_list
from airflow_gar_provider.errors import GarProviderError, InvalidRequirementError


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("mypythonlib==1.2.0", "mypythonlib", "==1.2.0"),
        ("My_Python.Lib == 1.2", "my-python-lib", "==1.2"),
        ("acme[Geo,b]>=1,<2", "acme", "[b,geo]<2,>=1"),
        ("acme", "acme", ""),
        ("\nacme==1.0\r\n", "acme", "==1.0"),
        ("ruamel.yaml==0.18", "ruamel-yaml", "==0.18"),
    ],
)
def test_parse(text: str, name: str, value: str) -> None:
    """A requirement is an entry of Composer's map: the PEP 503 name, and extras with specifier."""
    requirement = Requirement.parse(text)
    assert (requirement.name, requirement.value) == (name, value)
    assert Requirement.parse(str(requirement)) == requirement


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a @ https://example.com/a.whl", "has a URL; publish the wheel and require a==VERSION"),
        ("https://example.com/a-1-py3-none-any.whl", "is a URL or a file"),
        ("git+https://example.com/a", "is a URL or a file"),
        ("./dist/a-1-py3-none-any.whl", "is a URL or a file"),
        ("a; python_version < '3.11'", "has a marker"),
        ("--extra-index-url x", "is a pip option"),
        ("-r requirements.txt", "is a pip option"),
        ("a==", "is not a requirement"),
        ("==1.0", "is not a requirement"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """What Composer would refuse after minutes is refused at once, with the reason."""
    with pytest.raises(InvalidRequirementError) as caught:
        parse_requirements([text])
    assert reason in str(caught.value)


def test_every_problem_is_named() -> None:
    """Three bad requirements of four make one error with three lines."""
    with pytest.raises(InvalidRequirementError) as caught:
        parse_requirements("good==1\n-e .\na @ file:///x\nb; extra == 'x'")
    assert len(caught.value.problems) == 3


def test_twice() -> None:
    """The same package with two versions is an error; said twice alike it is one."""
    assert len(parse_requirements("a==1, A==1")) == 1
    with pytest.raises(InvalidRequirementError, match="a is required twice: a==1 and a==2"):
        parse_requirements(["a==1", "a==2"])


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (None, []),
        ("", []),
        ("a==1, b", ["a==1", "b"]),
        ("a[x,y]>=1,<2, b", ["a[x,y]>=1,<2", "b"]),
        ("a>=1, <2\nb", ["a>=1, <2", "b"]),
        (["a", "b, c"], ["a", "b", "c"]),
        (("a",), ["a"]),
        ("['dev', 'prod']", ["dev", "prod"]),
        ("[]", []),
        ("[not a list", ["[not a list"]),
    ],
)
def test_split_list(value: object, items: list[str]) -> None:
    """Forms and templates give strings: commas and newlines separate, but not inside a requirement."""
    assert split_list(value) == items


@pytest.mark.parametrize("value", [3, {"a": 1}, b"a", [1]])
def test_split_list_refuses(value: object) -> None:
    """Anything else is an error, not a guess."""
    with pytest.raises(GarProviderError, match="expected a list or a string"):
        split_list(value)


def test_pins_and_ranges() -> None:
    """A pin is one exact version; installed pre-releases count."""
    assert Requirement.parse("a==1.2").pinned == "1.2"
    assert Requirement.parse("a==1.*").pinned is None
    assert Requirement.parse("a>=1").pinned is None
    assert Requirement.parse("a>=1").allows("1.1rc1")
    assert not Requirement.parse("a==1.0").allows("1.0.1")
    assert not Requirement.parse("a==1.0").allows("not a version")


def test_same_as() -> None:
    """Composer's value may be written in another way and mean the same."""
    requirement = Requirement.parse("a[x]>=1,<2")
    assert requirement.same_as("[X]<2, >=1")
    assert not requirement.same_as(">=1,<2")
    assert not requirement.same_as("[x]>=1")


def test_names() -> None:
    """Names to be absent carry no version."""
    assert parse_names("My_Pkg, my-pkg\nb") == ("my-pkg", "b")
    with pytest.raises(InvalidRequirementError, match="is not the name of a package"):
        parse_names("a==1")


@given(st.text(max_size=60))
def test_no_input_makes_another_error(text: str) -> None:
    """Whatever is typed into a form is either understood or a typed error."""
    try:
        for requirement in parse_requirements(text):
            assert Requirement.parse(str(requirement)) == requirement
    except GarProviderError:
        pass
