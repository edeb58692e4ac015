"""What a diagnosis says: a cause, what shows it, what to do; and how lines of a log are quoted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from airflow_gar_provider.core.redaction import redact

EVIDENCE_LINES = 12
_LINE_LENGTH = 400


class Cause(str, Enum):
    """Why the build failed."""

    NO_ACCESS = "no_access"
    WRONG_CREDENTIALS = "wrong_credentials"
    NOT_PUBLISHED = "not_published"
    WRONG_VERSION = "wrong_version"
    WRONG_PYTHON = "wrong_python"
    WRONG_PLATFORM = "wrong_platform"
    NOT_IN_INDEX = "not_in_index"
    CONFLICT = "conflict"
    SOURCE_BUILD = "source_build"
    TIMEOUT = "timeout"
    PIP_CONF = "pip_conf"
    INFRASTRUCTURE = "infrastructure"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Diagnosis:
    """What went wrong, for people."""

    cause: Cause
    summary: str
    """One sentence."""
    remedy: str
    """What to do next."""
    evidence: tuple[str, ...] = ()
    """Lines of the log, redacted."""
    facts: tuple[tuple[str, str], ...] = ()
    """Label and value: the service account, the repository, the role."""
    retryable: bool = False


def quote(lines: Sequence[str], pattern: str) -> tuple[str, ...]:
    """Matching lines, redacted, without repetitions, the last dozen; an endless one is cut."""
    found = [redact(line.rstrip()) for line in lines if re.search(pattern, line)]
    cut = [line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]} ..." for line in found]
    return tuple(dict.fromkeys(cut))[-EVIDENCE_LINES:]
