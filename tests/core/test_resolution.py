"""What pip resolved, held against what an environment has."""

from __future__ import annotations

import io
import zipfile

import pytest

from airflow_gar_provider.core.resolution import Needs, broken, moved, parse_tree, pinned_down, resolved, stand_in

LINES = """twine==7.0.0
├── Keyring [required: >=21, installed: 25.7.0]
│   └── jaraco.classes [required: Any, installed: 3.4.0]
│       └── more-itertools [required: Any, installed: 10.0]
└── rich [required: >=14,<16, installed: 15.0]
alone==1.0
"""
DASHES = """Warning!!! Possibly conflicting dependencies found:
twine==7.0.0
  - Keyring [required: >=21, installed: 25.7.0]
    - jaraco.classes [required: Any, installed: 3.4.0]
      - more-itertools [required: Any, installed: 10.0]
  - rich [required: >=14,<16, installed: 15.0]
alone==1.0
"""
TREE = (
    Needs("twine", "7.0.0", "keyring", ">=21"),
    Needs("keyring", "25.7.0", "jaraco-classes", ""),
    Needs("jaraco-classes", "3.4.0", "more-itertools", ""),
    Needs("twine", "7.0.0", "rich", ">=14,<16"),
)


@pytest.mark.parametrize("output", [LINES, DASHES])
def test_pipdeptree(output: str) -> None:
    """Both of its forms, at every depth: a package that others require has no root of its own."""
    assert parse_tree(output) == TREE


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (
            {"rich": "13.0"},
            ["twine 7.0.0, which is installed, needs rich>=14,<16, but the update would leave rich 13.0"],
        ),
        ({"rich": "15.5"}, []),
        ({"rich": "16.0", "twine": "8.0"}, []),
        ({"more-itertools": "1"}, []),
        ({"new": "1"}, []),
    ],
)
def test_what_an_update_would_break(after: dict[str, str], told: list[str]) -> None:
    """Only what stays, and only what was whole before."""
    installed = {"twine": "7.0.0", "rich": "15.0"}
    assert broken(TREE, installed, after) == told
    assert broken(TREE, {**installed, "rich": "12.0"}, after) == []


def test_what_moves() -> None:
    """Equal versions, however they are written, do not."""
    assert moved({"a": "1.0", "b": "2"}, {"a": "1", "b": "3", "c": "1"}) == {"b": ("2", "3"), "c": (None, "1")}
    assert resolved({"install": [{"metadata": {"name": "My_Pkg", "version": "1"}}]}) == {"my-pkg": "1"}
    assert resolved({}) == {}


def test_constraints_that_are_in_the_way() -> None:
    """Only constraints: what the user asked for stays asked for."""
    lines = [
        "    The user requested acme-core==2",
        "    The user requested (constraint) Acme.Core==1",
        "    acme-app 1 depends on acme-core==2",
    ]
    assert pinned_down(lines) == ("acme-core",)


def test_a_stand_in_is_a_wheel() -> None:
    """With name, version, and nothing that it requires."""
    name, content = stand_in("apache-airflow", "2.11.1+composer", "cp311-cp311-manylinux_2_50_x86_64")
    assert name == "apache_airflow-2.11.1+composer-cp311-cp311-manylinux_2_50_x86_64.whl"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        metadata = archive.read("apache_airflow-2.11.1+composer.dist-info/METADATA").decode()
    assert metadata == "Metadata-Version: 2.1\nName: apache-airflow\nVersion: 2.11.1+composer\n"
