"""Causes that pip's own words name, without a look at the registry.

Patterns are of pip 21 to 26, and of what Composer's build prints around it (facts are cited where they are Google's).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from airflow_gar_provider.core.cause import EVIDENCE_LINES, Cause, Diagnosis, quote
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.repository import ROLES


def _pip_conf(lines: Sequence[str]) -> Diagnosis | None:
    evidence = quote(
        lines, r"Configuration file could not be loaded|contains (?:no section headers|invalid)|configparser"
    )
    if not evidence:
        return None
    return Diagnosis(
        Cause.PIP_CONF,
        "the environment's pip.conf cannot be read by pip",
        "repair config/pip/pip.conf in the environment's bucket (ComposerPipConfigOperator names the line)",
        evidence,
    )


def _wrong_credentials(lines: Sequence[str]) -> Diagnosis | None:
    """Only pip from 26.2 on prints it in a build, which has nobody to ask (tried with 24.0, 25.1, 26.1, 26.2)."""
    evidence = quote(lines, r"401 Error, Credentials not correct")
    return refused_credentials(evidence, "pip says so") if evidence else None


def refused_credentials(evidence: tuple[str, ...], how: str) -> Diagnosis:
    """The key in pip.conf does not work; `how` it is known."""
    return Diagnosis(
        Cause.WRONG_CREDENTIALS,
        f"the index refused the credentials that stand in pip.conf's URL ({how}): a key that was deleted or replaced, "
        "or whose account may not read it",
        'point pip.conf at the repository without a key (ComposerPipConfigOperator, auth="iam") and grant the '
        f"environment's service account {ROLES['reader']}",
        evidence,
    )


def _timeout(lines: Sequence[str]) -> Diagnosis | None:
    evidence = quote(
        lines,
        r"(?i)(?:build|install\w*) (?:has )?timed out|timeout exceeded|DEADLINE_EXCEEDED|build timeout"
        r"|did not finish within \d+ seconds",
    )
    if not evidence:
        return None
    backtracking = quote(lines, r"looking at multiple versions|This could take a while")
    return Diagnosis(
        Cause.TIMEOUT,
        "the build ran out of time"
        + (": pip tried version after version of loosely pinned packages" if backtracking else ""),
        "pin every package that moves with ==, so that pip's resolver has nothing to search"
        ' (preflight="resolve" with pin_dependencies=True finds them)',
        (*backtracking, *evidence)[-EVIDENCE_LINES:],
    )


_REQUIRES_PYTHON = re.compile(
    r"Package '?(?P<package>[A-Za-z0-9._-]+)'? requires a different Python: (?P<have>\S+) not in '?(?P<needs>[^']+?)'?$"
)


def _python(lines: Sequence[str]) -> Diagnosis | None:
    for line in lines:
        match = _REQUIRES_PYTHON.search(line.rstrip())
        if match:
            return Diagnosis(
                Cause.WRONG_PYTHON,
                f"{match['package']} needs Python {match['needs']}, the environment has {match['have']}",
                "require a version that runs on the environment's Python, or upgrade the environment's image",
                quote(lines, r"requires a different Python"),
            )
    return None


def _ignored(lines: Sequence[str]) -> Diagnosis | None:
    """The operation's error has pip's first line only; with the whole log, what was asked for is known too."""
    evidence = quote(lines, r"Ignored the following versions that require a different python version")
    if not evidence:
        return None
    return Diagnosis(
        Cause.WRONG_PYTHON,
        "versions that the packages list asks for need another Python than the environment has",
        "require versions that run on the environment's Python, or upgrade the environment's image",
        evidence,
    )


_CONFLICT = re.compile(
    r"(?<![A-Za-z0-9._-])(?P<package>[A-Za-z0-9._-]+) (?P<version>\S+) has requirement (?P<needs>.+?), "
    r"but you(?:'ll)? have (?P<have>\S+ \S+?)(?=[.\s]*$| which|\. )"
)
_MISSING = re.compile(
    r"(?<![A-Za-z0-9._-])(?P<package>[A-Za-z0-9._-]+) (?P<version>\S+) requires (?P<needs>.+?), which is not installed"
)
_RESOLVER = (
    r"ResolutionImpossible|conflicting dependencies|The conflict is caused by"
    r"|^\s+The user requested|^\s+\S+ \S+ depends on "
)
_SIDE = re.compile(r"^\s+(?P<side>The user requested .+|\S+ \S+ depends on .+)$")
_AGREE = (
    "choose versions that agree with each other and with what Composer preinstalls, and pin them with == "
    '(preflight="resolve" finds this before a build)'
)


def sides_of(lines: Sequence[str]) -> tuple[str, ...]:
    """Who wants what, from the lines below pip's "The conflict is caused by:"; redacted."""
    found = [match["side"].strip() for line in lines if (match := _SIDE.match(line))]
    return tuple(dict.fromkeys(redact(side) for side in found))


def _conflict(lines: Sequence[str]) -> Diagnosis | None:
    for line in lines:
        match = _CONFLICT.search(line)
        if match:
            wanting = f"{match['package']} {match['version']} needs {match['needs']}"
            return Diagnosis(
                Cause.CONFLICT,
                f"{wanting}, but the update would leave {match['have']}",
                _AGREE,
                quote(lines, r"has requirement .* but you"),
            )
        match = _MISSING.search(line)
        if match:
            wanting = f"{match['package']} {match['version']} needs {match['needs']}"
            return Diagnosis(
                Cause.CONFLICT,
                f"{wanting}, which would not be installed",
                _AGREE,
                quote(lines, r"which is not installed"),
            )
    evidence = quote(lines, _RESOLVER)
    if not evidence:
        return None
    sides = sides_of(lines)
    summary = "the wanted packages, and what they need, contradict each other"
    return Diagnosis(Cause.CONFLICT, summary + (f": {'; '.join(sides)}" if sides else ""), _AGREE, evidence)


_SOURCE = (
    r"subprocess-exited-with-error|metadata-generation-failed|Failed building wheel for|Failed to build "
    r"|Could not build wheels for|Getting requirements to build wheel did not run|Preparing metadata .* did not run"
    r"|installing build dependencies.* did not run|build_wheel.* did not run"
)
_FAILED_SOURCE = re.compile(
    r"(?:Failed building wheel for|Failed to build|Could not build wheels for|^\s*╰─>) '?"
    r"(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)"
)


def _source_build(lines: Sequence[str]) -> Diagnosis | None:
    evidence = quote(lines, rf"(?i){_SOURCE}|^\s*(?:[│|]\s*)?\w*(?:Error|Exception): ")
    if not quote(lines, rf"(?i){_SOURCE}"):
        return None
    names = [match["package"] for line in lines if (match := _FAILED_SOURCE.search(line))]
    what = f"{names[0]} has no wheel that fits" if names else "a package has no wheel that fits"
    return Diagnosis(
        Cause.SOURCE_BUILD,
        f"{what}, and building it from source failed in the environment's build",
        "publish a wheel of it, for the environment's Python on manylinux x86_64 (PublishWheelOperator)",
        evidence,
    )


_BROKEN = (
    r"Metadata server unavailable|RESOURCE_EXHAUSTED|Temporary failure in name resolution"
    r"|Connection refused|Read timed out|No space left"
)


def _infrastructure(lines: Sequence[str]) -> Diagnosis | None:
    evidence = quote(lines, _BROKEN)
    if not evidence:
        return None
    return Diagnosis(
        Cause.INFRASTRUCTURE,
        "the build itself broke before pip could decide",
        "run the task again; when it stays, look at the environment's network settings and the build log",
        evidence,
        retryable=True,
    )


Find = Callable[[Sequence[str]], "Diagnosis | None"]
BEFORE: tuple[Find, ...] = (_pip_conf, _wrong_credentials, _timeout, _python)
"""What explains a "Could not find a version" that follows."""
AFTER: tuple[Find, ...] = (_conflict, _source_build, _infrastructure, _ignored)
"""What is looked for when pip found a version of everything."""
