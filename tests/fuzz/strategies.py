"""What the fuzz tests are fed with: little and always the same in the suite, more by `make fuzz`."""

# ruff: noqa: E501, ISC004 -- tables of odd things, which are easier to read in long lines

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

_EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
FUZZ = settings(
    max_examples=int(_EXAMPLES) if _EXAMPLES else 40,
    derandomize=not _EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
"""For every test of this folder."""

# --- text ---------------------------------------------------------------------------------------------------------

ODD = st.sampled_from(
    [
        "", " ", "\t", "\n", "\r\n", "\0", "\x1b[31m", "\x85", "\u2028", "\u202e", "\ufeff", "\u00e9", "\u0130", "\U0001f40d",
        "\ud800", "|", "\\|", "`", "``", "*", "_", "<b>", "</td>", "<!--", "&lt;", "[a](b)", "![a](b)", "https://x.example",
        "#", "=", ":", "%", "%2F", "%00", "..", "/", "\\", "'", '"', "{{ 1 }}", "{% x %}", "${x}", "$(x)",
    ]
)  # fmt: skip
TEXT = st.lists(ODD | st.text(max_size=8), max_size=12).map("".join)

_NUMBER = st.integers(0, 3).map(str)
VERSION = st.one_of(
    st.builds(lambda a, b, c: f"{a}.{b}{c}", _NUMBER, _NUMBER, st.sampled_from(["", ".0", "rc1", ".post1", ".dev0", "+x"])),
    st.sampled_from(["1!1.0", "v1", "1.0-1", "latest", "", "1.*", "999999999999999999999.0"]),
)  # fmt: skip
PACKAGE = st.sampled_from(["a", "My_Pkg", "my-pkg", "my.pkg", "acme_demo", "ruamel.yaml", "A--b", "0", "x" * 80])

# --- the words of pip, Composer and Cloud Build, put together in any way ---------------------------------------------

_PHRASES = (
    "ERROR: Could not find a version that satisfies the requirement {p}=={v} (from versions: {v}, {v})",
    "ERROR: Could not find a version that satisfies the requirement {p}",
    "(from {p}=={v}) (from versions: none)",
    "ERROR: No matching distribution found for {p}",
    "{p} {v} has requirement {p}<{v}, but you have {p} {v}.",
    "{p} {v} requires {p}>={v}, which is not installed.",
    "The conflict is caused by:",
    "    The user requested {p}=={v}",
    "    {p} {v} depends on {p}>{v}",
    "ERROR: Package '{p}' requires a different Python: 3.11.8 not in '>={v}'",
    "Ignored the following versions that require a different python version: {v} Requires-Python >=3.12",
    "Failed to install PyPI packages. {p} Check the Cloud Build log at "
    "https://console.cloud.google.com/cloud-build/builds;region=us/0a1b2c3d-0000?project=1 for details.",
    "WARNING: 401 Error, Credentials not correct for https://u:p@h/simple/{p}/",
    "Looking in indexes: https://user:pa55word@host.example/simple/",
    "Build timed out", "This could take a while", "Temporary failure in name resolution", "No space left on device",
    "error: subprocess-exited-with-error", "╰─> {p}", "  │ ValueError: {p}", "Failed building wheel for {p}",
    "Configuration file could not be loaded", "ResolutionImpossible",
    "Authorization: Bearer abcdefgh12345678", "-----BEGIN PRIVATE KEY-----\n" + "QUJD" * 16 + "\n-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----",
)  # fmt: skip


def _said(phrase: str, package: str, version: str) -> str:
    return phrase.replace("{p}", package).replace("{v}", version)


LOG_LINE = st.one_of(
    st.builds(_said, st.sampled_from(_PHRASES), PACKAGE, VERSION),
    st.lists(st.builds(_said, st.sampled_from(_PHRASES), PACKAGE, VERSION) | ODD, max_size=4).map(" ".join),
    TEXT,
)
LOG = st.lists(LOG_LINE, max_size=12)

REPEATED = (
    "a", "a-", "a.", "a ", " ", "\n", "a b ", "x=1 ", "eyJ", "eyJaaaaaaaa.", "eyJ.", "://", "a://", "http://a:", "http://a@",
    "https%3A%2F%2Fa%40", "https%3A%2F%2Fa", "%3A%2F%2F", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----",
    "A" * 40 + "\n", "A" * 20 + "\\n", "ewog-", "AIza-", "ya29.", "token=", 'token="', 'token="\\', "token: ", "--token ",
    "authorization: ", "bearer ", "password ", "_json_key:", "oauth2accesstoken%3A", "private_key_", " has requirement ",
    "a 1 has requirement b, ", "a 1 has requirement b, but you have ", "a 1 requires b", " (from versions: ", " (from a",
    "Could not find a version that satisfies the requirement a ", "Package 'a' requires a different Python: 1 not in '",
    "/cloud-build/builds/00000000", "The user requested ", "a a depends on ", "has requirement  but you", "Preparing metadata ",
    "installing build dependencies", "build_wheel ", "Failed to build ", "\u2028", "Error", "aError: ", "\x1b[", "\x1b]",
)  # fmt: skip
"""What a regular expression could go over again and again, when it stands there a hundred thousand times."""

# --- names ---------------------------------------------------------------------------------------------------------

PROJECTS = st.from_regex(r"(?:[a-z0-9.-]{1,9}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True)
LOCATIONS = st.from_regex(r"[a-z]{1,9}(?:-[a-z]{1,9}[0-9]{1,2})?", fullmatch=True)
REPOSITORIES = st.from_regex(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
ALMOST_A_NAME = st.one_of(
    TEXT,
    st.builds(
        lambda *parts: "/".join(parts),
        *(
            st.sampled_from(["projects", "project", "", "x"]),
            PROJECTS | TEXT,
            st.sampled_from(["locations", "zones", ""]),
            LOCATIONS | TEXT,
            st.sampled_from(["repositories", "environments", "operations", ""]),
            REPOSITORIES | TEXT,
        ),
    ),
)

# --- JSON ----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "2026-11-23T00:00:00Z", "a/b/c"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                "keys", "name", "validAfterTime", "disabled", "privateKeyData", "entries", "textPayload", "jsonPayload", "message",
                "status", "failureInfo", "type", "detail", "error", "dags", "dag_id", "total_entries", "import_errors", "filename",
                "stack_trace", "timestamp", "task_instances", "task_id", "state", "content", "value", "last_parsed_time",
                "map_index", "try_number", "is_paused", "file_token", "event",
            ]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=14,
)  # fmt: skip
