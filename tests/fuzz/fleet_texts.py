"""Texts that are a fleet file, or nearly, or not at all."""

# ruff: noqa: E501 -- tables of odd things, which are easier to read in long lines

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.strategies import TEXT

_ENVIRONMENT = st.sampled_from(
    ["projects/acme-data/locations/europe-west1/environments/dev", "projects/x/environments/dev", "dev", "{{ x }}"]
)
_SCALAR = st.sampled_from(
    [
        "1", "1.5", "true", "null", "~", "2026-12-20", "2026-12-20T18:00+01:00", "18:00", "12:30:45", "0o14", "0x1f", "1_000",
        ".inf", ".nan", "gs://acme/gar", "dev", "'x'", '"\\x00"', '"\\ud800"', "!!int x", "!!float y", "!!binary '='",
        "!!timestamp z", "!!python/object:x", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "&a x", "*a", "*b", "|\n  x",
        ">-\n  x", "[a, b]", "{a: b}", "[", "}", "? x", "- x", "<<: *a", "!local x", "%x", "@x", "`x", "\t", "'", "a: b: c",
        "acme-lib==1.0", "acme-lib @ https://u:p@h/x.whl", "Europe/Berlin", "../../etc", "9" * 5000, "!!int '9999_'",
        "!!merge x", "!!bool maybe", "!!null x", "1e999999999", "!!float 1e400", "!!int 1:99:99", "190:20:30",
    ]
) | _ENVIRONMENT  # fmt: skip
_KEY = st.sampled_from(
    [
        "state", "stages", "name", "environments", "find", "projects", "locations", "labels", "max_parallel", "max_failures", "soak",
        "max_dag_failure_rate", "impersonation_chain", "gcp_conn_id", "packages", "absent", "hold", "holds", "freeze", "from", "to",
        "reason", "days", "timezone", "environment", "<<", "? x", "[a]", "{a: b}", "*a", "&a k", "1", "null", "''", "!!binary k",
    ]
)  # fmt: skip


def _block(depth: int) -> st.SearchStrategy[str]:
    """YAML in block style, `depth` levels to go."""
    if not depth:
        return _SCALAR
    inner = _block(depth - 1)

    def indented(text: str) -> str:
        return text if "\n" not in text and ": " not in text and not text.startswith("- ") else "\n" + _indent(text)

    pairs = st.lists(st.tuples(_KEY, inner), min_size=1, max_size=4)
    items = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        _SCALAR,
        pairs.map(lambda found: "\n".join(f"{key}: {indented(value)}" for key, value in found)),
        items.map(lambda found: "\n".join(f"- {indented(value)}" for value in found)),
    )


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


_GOOD_FLEET = """state: gs://acme-state/gar
stages:
  - name: dev
    environments:
      - projects/acme-data/locations/europe-west1/environments/dev
  - name: prod
    max_parallel: 2
    soak: 60
    find:
      - projects: [acme-data]
        locations: [europe-west1]
freeze:
  - {from: 2026-12-20, to: 2027-01-03, reason: holidays, timezone: Europe/Berlin}
packages: [acme-lib==1.0]
"""


def _replaced(line: int, value: str, *, whole: bool) -> str:
    lines = _GOOD_FLEET.splitlines()
    at = line % len(lines)
    head, colon, _ = lines[at].partition(": ")
    lines[at] = value if whole else f"{head}{colon or ' '}{value}"
    return "\n".join(lines)


FLEETS = st.one_of(
    _block(4),
    st.builds(_replaced, st.integers(0, 20), _block(2), whole=st.booleans()),
    st.builds(lambda text, at: _GOOD_FLEET[: at % len(_GOOD_FLEET)] + text + _GOOD_FLEET[at % len(_GOOD_FLEET) :], TEXT, st.integers(0, 500)),
    st.builds(lambda a, b: _GOOD_FLEET + f"{a}: {b}\n", _KEY, _block(2)),
)  # fmt: skip
"""Texts that are a fleet file, or nearly, or not at all."""
