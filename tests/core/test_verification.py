"""What an environment has, compared with what was wanted and with what it had before."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.environment import few, plan_restore
from airflow_gar_provider.core.verification import all_parsed, last_lines, newly_broken

TRACE = 'Traceback (most recent call last):\n  File "a.py", line 2\nImportError: no distance\n'
EARLY, LATE = (datetime(2026, 11, day, tzinfo=timezone.utc) for day in (1, 2))


@pytest.mark.parametrize(
    ("trace", "line"),
    [
        (TRACE, "ImportError: no distance"),
        ("\n\n", ""),
        ("OSError: https://user:geheim@example.com/simple", "OSError: https://****@example.com/simple"),
    ],
)
def test_the_last_line_says_what_went_wrong(trace: str, line: str) -> None:
    """Of a traceback; what looks like a credential is not in it."""
    assert last_lines({"a.py": trace}) == {"a.py": line}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({}, {}, []),
        ({"old.py": "x"}, {"old.py": "x"}, []),
        ({"old.py": "x"}, {"old.py": "another error"}, []),
        ({"old.py": "x"}, {}, []),
        ({}, {"b.py": "y", "a.py": "x"}, ["a.py can no longer be imported: x", "b.py can no longer be imported: y"]),
    ],
)
def test_only_what_could_be_imported_before_counts(
    before: dict[str, str], now: dict[str, str], said: list[str]
) -> None:
    """A file that was broken already is not the update's fault."""
    assert newly_broken(before, now) == said


@pytest.mark.parametrize(
    ("times", "parsed"), [([], True), ([LATE], True), ([LATE, EARLY], False), ([None], False), ([EARLY], False)]
)
def test_every_file_has_to_be_read_again(times: list[datetime | None], parsed: bool) -> None:
    """One that was read before the update says nothing of it."""
    assert all_parsed(times, LATE) is parsed


NAMES = ["acme-demo", "Acme_Demo", "acme.demo", "acme-two", "Acme-Two", "other", "Other"]
MAPS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["", "==1", "==2", "[x]>=1"]))


@given(actual=MAPS, before=MAPS)
def test_a_restore_brings_back_ours_and_only_ours(actual: dict[str, str], before: dict[str, str]) -> None:
    """Whatever happened: our names say what they said, in the same spelling; all others stay as they are now."""
    patch = plan_restore(actual, before, {"acme-demo", "acme-two"})
    after = {key: value for key, value in {**actual, **patch.set}.items() if key not in patch.remove}
    ours = {"acme-demo", "Acme_Demo", "acme.demo", "acme-two", "Acme-Two"}
    assert {key: value for key, value in after.items() if key in ours} == {
        key: value for key, value in before.items() if key in ours
    }
    assert {key: value for key, value in after.items() if key not in ours} == {
        key: value for key, value in actual.items() if key not in ours
    }
    assert not plan_restore(after, before, {"acme-demo", "acme-two"})


def test_few() -> None:
    """A thousand names do not fit a line."""
    assert few(["a", "b"]) == "a, b"
    assert few([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
