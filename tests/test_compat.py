"""What Airflow 2.11 needs otherwise, as far as it can be seen on any Airflow."""

from __future__ import annotations

import json

import pytest

from airflow_gar_provider import compat
from airflow_gar_provider.assets import PUBLISHED
from airflow_gar_provider.operators import PublishWheelOperator

EXTRA = {"package": "a", "sha256": {"a.whl": "0", "b.whl": "1"}, "tags": ["py3-none-any", {"deep": [1, None]}]}


def test_an_events_extra_is_the_same_json_everywhere() -> None:
    """Whatever form this Airflow needs."""
    assert json.loads(json.dumps(compat.event_extra(EXTRA))) == EXTRA


def test_any_json_can_be_in_a_set() -> None:
    """As the values of an alias's event are in Airflow 2.11; equal ones are one, and nothing of them is lost."""
    with pytest.raises(TypeError, match="unhashable"):
        frozenset(EXTRA.items())
    one, other = ({key: compat._hashable(value) for key, value in EXTRA.items()} for _ in range(2))
    assert len({frozenset(one.items()), frozenset(other.items())}) == 1
    assert json.loads(json.dumps(dict(frozenset(one.items())))) == EXTRA


def test_a_mapped_publish_has_the_alias_before_it_runs() -> None:
    """Airflow 2.11 fails a task whose alias no DAG has named; the task's own outlets stay, and it is there once."""
    alias, own = compat.AssetAlias(PUBLISHED), compat.Asset("s3://bucket/key")
    mapped = PublishWheelOperator.partial(task_id="mapped", repository="r", outlets=own).expand(wheels=["a.whl"])
    assert mapped.partial_kwargs["outlets"] == [own, alias]
    assert mapped.unmap({"wheels": "a.whl"}).outlets == [own, alias]
    assert PublishWheelOperator(task_id="single", repository="r", wheels="a.whl").outlets == [alias]
