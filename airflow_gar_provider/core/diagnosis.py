"""Why Composer could not build the new image: a cause, the lines that show it, and what to do.

pip prints the same two lines for a package that it may not read and for one that does not exist (tried with
pip 23 and 26). So the log alone cannot name that cause: `RegistryView` brings what the registry and IAM say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from packaging.utils import canonicalize_name

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.repository import ROLES, RepositoryName
from airflow_gar_provider.core.requirement import Requirement

_EVIDENCE_LINES = 12


class Cause(str, Enum):
    """Why the build failed."""

    NO_ACCESS = "no_access"
    WRONG_CREDENTIALS = "wrong_credentials"
    NOT_PUBLISHED = "not_published"
    WRONG_VERSION = "wrong_version"
    WRONG_PLATFORM = "wrong_platform"
    NOT_IN_INDEX = "not_in_index"
    CONFLICT = "conflict"
    TIMEOUT = "timeout"
    PIP_CONF = "pip_conf"
    INFRASTRUCTURE = "infrastructure"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RegistryView:
    """What the registry and IAM say about one requirement, seen by the caller (not by the environment)."""

    repository: RepositoryName
    package: str
    """PEP 503 name."""
    versions: tuple[str, ...] | None
    """Versions that the repository holds; None when the caller may not look."""
    reader: bool | None
    """True: the repository's own policy lets the environment's service account read. False: the policy does not say
    so (a project, folder or group binding still may). None: the caller may not read the policy."""


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


def is_package_failure(message: str) -> bool:
    """Whether an operation's error is about packages: the code (3) is that of any bad request, only the text tells."""
    return bool(re.search(r"Failed to install (?:PyPI|pypi|Python) packages", message))


def diagnose(
    message: str,
    log: Sequence[str],
    *,
    environment: EnvironmentName,
    service_account: str,
    wanted: Iterable[Requirement] = (),
    views: Iterable[RegistryView] = (),
) -> Diagnosis:
    """Name the cause of a failed update from the operation's error, the build's log and a look at the registry."""
    names = {requirement.name: requirement for requirement in wanted}
    by_package = {view.package: view for view in views}
    # The operation's message repeats the log's verdict in one long line: it is read where the log says nothing.
    for lines in (log, message.splitlines()):
        for find in (_pip_conf, _wrong_credentials, _timeout):
            found = find(lines)
            if found:
                return found
        missing = _missing(lines)
        if missing:
            return _explain_missing(missing, names, by_package, environment, service_account)
        found = _conflict(lines) or _infrastructure(lines)
        if found:
            return found
    return _unknown(message, [*message.splitlines(), *log])


@dataclass(frozen=True)
class _Missing:
    """pip found no version that it could take."""

    requirement: str
    name: str
    candidates: tuple[str, ...]
    """What pip did see, from `(from versions: …)`."""
    evidence: tuple[str, ...]


_NO_VERSION = re.compile(
    r"Could not find a version that satisfies the requirement (?P<requirement>.+?)"
    r"(?: \(from (?!versions)[^()]*\))?(?: \(from versions: (?P<versions>[^)]*)\)|$)"
)


def _missing(lines: Sequence[str]) -> _Missing | None:
    for line in lines:
        match = _NO_VERSION.search(line)
        if match:
            requirement = match["requirement"].strip()
            name = canonicalize_name(re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0])
            versions = [text.strip() for text in (match["versions"] or "none").split(",")]
            candidates = tuple(text for text in versions if text and text != "none")
            return _Missing(
                requirement, name, candidates, _quote(lines, r"Could not find a version|No matching dist|^WARNING")
            )
    return None


def _explain_missing(
    missing: _Missing,
    wanted: dict[str, Requirement],
    views: dict[str, RegistryView],
    environment: EnvironmentName,
    service_account: str,
) -> Diagnosis:
    view = views.get(missing.name)
    requirement = wanted.get(missing.name)
    if missing.candidates:
        return Diagnosis(
            Cause.WRONG_VERSION,
            f"no version of {missing.name} satisfies {missing.requirement!r}: pip saw {', '.join(missing.candidates)}",
            "require a version that the index has, or publish the one that is wanted; a version that is in the "
            "registry but missing here needs another Python or platform",
            missing.evidence,
        )
    if view is None or view.versions is None:
        return Diagnosis(
            Cause.NOT_IN_INDEX,
            f"pip found no {missing.name} at all in the environment's index. Either it is not there, or the "
            f"environment may not read it: pip's output is the same for both",
            f"look whether the index in the environment's pip.conf holds {missing.name}, and whether "
            f"serviceAccount:{service_account} has {ROLES['reader']} on that repository",
            missing.evidence,
        )
    if not view.versions:
        return Diagnosis(
            Cause.NOT_PUBLISHED,
            f"the repository holds no package {missing.name}",
            "publish it first (PublishWheelOperator), or correct the name",
            missing.evidence,
            (("repository", str(view.repository)),),
        )
    if requirement is not None and not any(requirement.allows(version) for version in view.versions):
        return Diagnosis(
            Cause.WRONG_VERSION,
            f"no version of {missing.name} satisfies {missing.requirement!r}: "
            f"the repository holds {', '.join(view.versions)}",
            "require one of these versions, or publish the one that is wanted",
            missing.evidence,
            (("repository", str(view.repository)),),
        )
    if view.reader:
        return Diagnosis(
            Cause.WRONG_PLATFORM,
            f"{missing.name} is in the repository and the environment may read it, but pip took no file of it",
            "look whether its wheel fits the environment's Python and platform (Composer has Python 3.11 on Linux "
            "x86_64), and whether pip.conf names this repository",
            missing.evidence,
            (("repository", str(view.repository)), ("service account", service_account)),
        )
    return _no_access(missing, view, environment, service_account)


def _no_access(missing: _Missing, view: RegistryView, environment: EnvironmentName, service_account: str) -> Diagnosis:
    repository, role = view.repository, ROLES["reader"]
    seen = "does not name it" if view.reader is False else "may not be read by this task"
    return Diagnosis(
        Cause.NO_ACCESS,
        f"environment {environment.name} may not read {missing.name} from the repository: the package is there, "
        f"but the environment's service account sees nothing (the repository's policy {seen})",
        f"grant it the role, then run this task again: gcloud artifacts repositories add-iam-policy-binding "
        f"{repository.name} --project={repository.project} --location={repository.location} "
        f"--member=serviceAccount:{service_account} --role={role}   (or GrantRepositoryAccessOperator)",
        missing.evidence,
        (("service account", service_account), ("repository", str(repository)), ("role to grant", role)),
    )


def _pip_conf(lines: Sequence[str]) -> Diagnosis | None:
    evidence = _quote(
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
    evidence = _quote(lines, r"401 Error, Credentials not correct")
    if not evidence:
        return None
    return Diagnosis(
        Cause.WRONG_CREDENTIALS,
        "the index refused the credentials that stand in pip.conf's URL (a key that was deleted or replaced?)",
        'point pip.conf at the repository without a key (ComposerPipConfigOperator, auth="iam") and grant the '
        f"environment's service account {ROLES['reader']}",
        evidence,
    )


def _timeout(lines: Sequence[str]) -> Diagnosis | None:
    evidence = _quote(
        lines, r"(?i)(?:build|install\w*) (?:has )?timed out|timeout exceeded|DEADLINE_EXCEEDED|build timeout"
    )
    if not evidence:
        return None
    backtracking = _quote(lines, r"looking at multiple versions|This could take a while")
    return Diagnosis(
        Cause.TIMEOUT,
        "the build ran out of time"
        + (": pip tried version after version of loosely pinned packages" if backtracking else ""),
        "pin every package that moves with ==, so that pip's resolver has nothing to search",
        (*backtracking, *evidence)[-_EVIDENCE_LINES:],
    )


_CONFLICT = re.compile(
    r"(?P<package>[A-Za-z0-9._-]+) (?P<version>\S+) has requirement (?P<needs>.+?), "
    r"but you(?:'ll)? have (?P<have>\S+ \S+?)(?=[.\s]*$| which|\. )"
)
_RESOLVER = (
    r"ResolutionImpossible|conflicting dependencies|The conflict is caused by"
    r"|^\s+The user requested|^\s+\S+ \S+ depends on "
)
_BROKEN = (
    r"Metadata server unavailable|RESOURCE_EXHAUSTED|Temporary failure in name resolution"
    r"|Connection refused|Read timed out|No space left"
)
_AGREE = "choose versions that agree with each other and with what Composer preinstalls, and pin them with =="


def _conflict(lines: Sequence[str]) -> Diagnosis | None:
    for line in lines:
        match = _CONFLICT.search(line)
        if match:
            wanting = f"{match['package']} {match['version']} needs {match['needs']}"
            return Diagnosis(
                Cause.CONFLICT,
                f"{wanting}, but the update would leave {match['have']}",
                _AGREE,
                _quote(lines, r"has requirement .* but you"),
            )
    evidence = _quote(lines, _RESOLVER)
    if not evidence:
        return None
    summary = "the wanted packages, and what they need, contradict each other"
    return Diagnosis(Cause.CONFLICT, summary, _AGREE, evidence)


def _infrastructure(lines: Sequence[str]) -> Diagnosis | None:
    evidence = _quote(lines, _BROKEN)
    if not evidence:
        return None
    return Diagnosis(
        Cause.INFRASTRUCTURE,
        "the build itself broke before pip could decide",
        "run the task again; when it stays, look at the environment's network settings and the build log",
        evidence,
        retryable=True,
    )


def _unknown(message: str, lines: Sequence[str]) -> Diagnosis:
    evidence = _quote(lines, r"ERROR|error:|Error:|returned a non-zero code") or _quote(lines, r"\S")
    return Diagnosis(
        Cause.UNKNOWN,
        f"Composer says: {redact(message.strip()) or 'nothing'}",
        "read the build's log; nothing in it is a cause that this provider knows",
        evidence,
    )


def _quote(lines: Sequence[str], pattern: str) -> tuple[str, ...]:
    """Matching lines, redacted, without repetitions, the last dozen."""
    found = [redact(line.rstrip()) for line in lines if re.search(pattern, line)]
    return tuple(dict.fromkeys(found))[-_EVIDENCE_LINES:]
