"""README is executed: its DAG is a DAG, its links lead somewhere, its commands and operators are those that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider import operators
from bench.__main__ import BEGIN, END, PAGE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.needs_airflow("3.0", "`airflow.sdk`, from which it imports,")
def test_its_dags_are_dags() -> None:
    """Every Python block can be executed, and makes the tasks that it shows."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    namespace: dict[str, Any] = {}
    exec(compile(blocks[0], "README.md", "exec"), namespace)
    dag = namespace["publish"].dag
    assert dag.task_ids == ["publish", "install"]
    assert namespace["install"].upstream_task_ids == {"publish"}


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?://)([^)#]+)\)", README))
def test_its_links_lead_somewhere(link: str) -> None:
    """Relative links name files of the repository."""
    assert (ROOT / link).exists()


def test_it_names_what_there_is() -> None:
    """Every operator is in the table; every make command that it shows is in the Makefile."""
    for name in operators.__all__:
        assert f"`{name}`" in README
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= targets


def test_its_figures_are_those_of_the_last_benchmark() -> None:
    """Table, day and machine are what `make bench` wrote into the page of benchmarks."""
    quoted = README.partition(BEGIN)[2].partition(END)[0].strip()
    table, _, told = quoted.partition("\n\n")
    page = PAGE.read_text(encoding="utf-8")
    assert f"\n\n{table}\n\n" in page
    [made] = re.findall(r"wrote this page on (.+?)\. Single runs", page, re.DOTALL)
    assert told.startswith(f"Measured on {made};")
    assert len(table.splitlines()) > 10
