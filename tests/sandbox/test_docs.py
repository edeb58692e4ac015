"""The documents name tests, options, paths and fault kinds that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from airflow_gar_provider.sandbox.cli import _parser
from airflow_gar_provider.sandbox.faults import KINDS
from tests.conftest import Running

ROOT = Path(__file__).parents[2]
BEHAVIOUR = (ROOT / "docs" / "google-behaviour.md").read_text()
GUIDE = (ROOT / "docs" / "sandbox.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in BEHAVIOUR.splitlines()
    if line.startswith("| ") and not line.startswith("| behaviour")
]


def functions(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_every_behaviour_has_a_source_a_confidence_and_tests_that_exist(row: list[str]) -> None:
    behaviour, source, confidence, tests = row
    assert behaviour
    assert source
    assert confidence in {"documented", "client source", "user report", "inferred"}
    named = re.findall(r"`([^`:]+)::(\w+)`", tests)
    assert named
    for path, name in named:
        assert name in functions(ROOT / path), f"{path}::{name}"


def test_the_guide_has_every_option_and_every_verb() -> None:
    verbs = next(action for action in _parser()._actions if hasattr(action, "choices") and action.choices)
    assert isinstance(verbs.choices, dict)
    options = {
        option
        for parser in verbs.choices.values()
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    assert options - set(re.findall(r"--[a-z-]+[a-z]", GUIDE)) == set()
    assert all(f"sandbox {verb}" in GUIDE for verb in verbs.choices)


def test_the_guide_has_every_kind_of_fault() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", GUIDE.partition("## Faults")[2], re.M)) == set(KINDS)


def test_the_guides_control_paths_answer(sandbox: Running) -> None:
    table = GUIDE.partition("## Control paths")[2].partition("## Faults")[0]
    paths = {path for verbs, path in re.findall(r"^\| `GET(`, `\w+)? ([/\w]+)", table, re.M)}
    assert {"/healthz", "/sandbox/env", "/sandbox/status", "/sandbox/calls", "/sandbox/time"} <= paths
    for path in paths:
        assert sandbox.own.get(f"http://127.0.0.1:{sandbox.port}{path}", timeout=30).status_code == 200, path
