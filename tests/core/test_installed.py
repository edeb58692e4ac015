"""What the declared map rules out, and what it leaves open."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.installed import contradictions
from airflow_gar_provider.core.requirement import parse_requirements


@pytest.mark.parametrize(
    ("packages", "wanted", "problems"),
    [
        ({"acme": "==1.0"}, "acme==1.0", []),
        ({"Ac_Me": "==1.0"}, "ac-me>=1", []),
        ({"acme": "[geo]==1.0"}, "acme==1.0", []),
        ({"acme": ">=1"}, "acme==1.0", []),  # any version may be installed
        ({"acme": ""}, "acme==1.0", []),
        ({"acme": "==1.0 --hash=x"}, "acme==2.0", []),  # not readable: pip list decides
        ({}, "acme", ["acme is not declared"]),
        ({"acme": "==1.0"}, "acme>=2", ["acme is declared as '==1.0', wanted '>=2'"]),
        ({"acme": "==1.0"}, "acme[geo]==1.0", ["acme is declared as '==1.0', wanted '[geo]==1.0'"]),
        ({"a": "==1"}, "a==2, b", ["a is declared as '==1', wanted '==2'", "b is not declared"]),
    ],
)
def test_contradictions(packages: dict[str, str], wanted: str, problems: list[str]) -> None:
    """Only what cannot be true any more is a contradiction."""
    assert contradictions(packages, parse_requirements(wanted)) == problems
