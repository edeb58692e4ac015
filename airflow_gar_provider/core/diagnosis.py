"""Why Composer could not build the new image: a cause, the lines that show it, and what to do.

pip prints the same two lines for a package that it may not read and for one that does not exist (tried with
pip 23 and 26). So the log alone cannot name that cause: `RegistryView` brings what the registry and IAM say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from airflow_gar_provider.core.cause import Cause, Diagnosis, quote
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.pip_verdict import AFTER, BEFORE, refused_credentials, sides_of
from airflow_gar_provider.core.redaction import redact_lines
from airflow_gar_provider.core.repository import ROLES, RepositoryName
from airflow_gar_provider.core.requirement import Requirement

__all__ = ["Cause", "Diagnosis", "RegistryView", "build_of", "diagnose", "is_package_failure", "missing_in", "sides_of"]


@dataclass(frozen=True)
class RegistryView:
    """What the registry and IAM say about one package, seen by the caller (not by the environment)."""

    repository: RepositoryName
    """The one that the environment's pip.conf names."""
    package: str
    """PEP 503 name."""
    versions: tuple[str, ...] | None
    """Versions that the registry holds; None when the caller may not look."""
    reader: bool | None
    """Whether the environment's service account may read it; None when that is not known for certain."""
    misfit: str | None = None
    """Why no file of the wanted version fits the environment's Python and platform; None: one does, or not known."""
    needs_python: bool = False
    """Whether the misfit is one of the Python version."""
    how: str = "the repository's own policy does not name it"
    """How `reader` is known, or why not."""
    signs_in: bool = False
    """Whether pip.conf carries a key for the repository: then `reader` says nothing of what pip may see."""


def is_package_failure(message: str) -> bool:
    """Whether an operation's error is about packages: the code (3) is that of any bad request, only the text tells."""
    return bool(re.search(r"Failed to install (?:PyPI|pypi|Python) packages", message))


def build_of(message: str) -> tuple[str, str | None, str] | None:
    """Project (its number), region (None: global) and id of the Cloud Build build that an error's link names.

    Composer 2 with Cloud Build has such a link; Composer 3 builds on Google's side, and its log is the environment's.
    """
    match = re.search(
        r"/cloud-build/builds(?:;region=(?P<region>[a-z0-9-]+))?/(?P<id>[0-9a-f-]{8,})\?project=(?P<project>[\w.:-]*\w)",
        message,
    )
    return (match["project"], match["region"], match["id"]) if match else None


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
    message, log = "\n".join(_readable(message.splitlines())), _readable(log)
    names = {requirement.name: requirement for requirement in wanted}
    by_package = {view.package: view for view in views}
    # The operation's message repeats the log's verdict in one long line: it is read where the log says nothing.
    for lines in (log, message.splitlines()):
        found = next((diagnosis for find in BEFORE if (diagnosis := find(lines))), None)
        if found:
            return found
        missing = _missing(lines)
        if missing:
            return _explain_missing(missing, names, by_package, environment, service_account)
        found = next((diagnosis for find in AFTER if (diagnosis := find(lines))), None)
        if found:
            return found
    return _unknown(message, [*message.splitlines(), *log])


def _readable(lines: Sequence[str]) -> list[str]:
    """The lines without credentials, and none that is endless: what is looked for in it takes more than its length."""
    return [line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..." for line in redact_lines(lines)]


def missing_in(message: str, log: Sequence[str]) -> Requirement | None:
    """What pip found no version of, with its specifier, for a look at the registry; it may be a dependency."""
    missing = _missing(_readable(log)) or _missing(_readable(message.splitlines()))
    if missing is None:
        return None
    specifier = re.sub(r"^[^<>=!~]*", "", missing.requirement).split(";")[0].strip()
    return Requirement(missing.name, (), specifier)


@dataclass(frozen=True)
class _Missing:
    """pip found no version that it could take."""

    requirement: str
    name: str
    candidates: tuple[str, ...]
    """What pip did see, from `(from versions: …)`."""
    evidence: tuple[str, ...]


_LONGEST = 20_000
"""Characters of a line that are read. pip's longest ones list every version of a package: some thousand."""
_OTHER_PYTHON = "Ignored the following versions that require a different python version"
"""pip 22 and later; older pip says nothing of them."""
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
                requirement,
                name,
                candidates,
                quote(lines, rf"Could not find a version|No matching dist|^WARNING|{_OTHER_PYTHON}"),
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
    if missing.candidates and not (view and view.misfit):
        return Diagnosis(
            Cause.WRONG_VERSION,
            f"no version of {missing.name} satisfies {missing.requirement!r}: pip saw {', '.join(missing.candidates)}",
            "require a version that the index has, or publish the one that is wanted; a version that is in the "
            "registry but missing here needs another Python or platform",
            missing.evidence,
        )
    other_python = [line for line in missing.evidence if _OTHER_PYTHON in line]
    if other_python and (view is None or view.versions is None):
        return Diagnosis(
            Cause.WRONG_PYTHON,
            f"no version of {missing.name} that runs on the environment's Python satisfies {missing.requirement!r}",
            "require a version that runs on the environment's Python, or upgrade the environment's image",
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
    return _not_taken(missing, view, environment, service_account)


def _not_taken(missing: _Missing, view: RegistryView, environment: EnvironmentName, service_account: str) -> Diagnosis:
    """The registry has a version that matches, and pip saw none."""
    if view.misfit and (view.signs_in or view.reader is not False):
        return Diagnosis(
            Cause.WRONG_PYTHON if view.needs_python else Cause.WRONG_PLATFORM,
            f"no file of {missing.name} fits the environment: {view.misfit}",
            "publish a wheel for the environment's Python on manylinux x86_64 (or a pure one), or require a version "
            "that has one",
            missing.evidence,
            (("repository", str(view.repository)),),
        )
    if view.signs_in:
        return refused_credentials(missing.evidence, f"pip saw no {missing.name} there, though the repository has it")
    if view.reader:
        return Diagnosis(
            Cause.WRONG_PLATFORM,
            f"{missing.name} is in the repository and the environment may read it, but pip took no file of it",
            "look whether its wheel fits the environment's Python and platform, whether pip.conf names this "
            "repository, and whether a grant is so new that it was not in force yet",
            missing.evidence,
            (("repository", str(view.repository)), ("service account", service_account)),
        )
    return _no_access(missing, view, environment, service_account)


def _no_access(missing: _Missing, view: RegistryView, environment: EnvironmentName, service_account: str) -> Diagnosis:
    repository, role = view.repository, ROLES["reader"]
    return Diagnosis(
        Cause.NO_ACCESS,
        f"environment {environment.name} may not read {missing.name} from the repository: the package is there, "
        f"but the environment's service account sees nothing ({view.how})",
        f"grant it the role, then run this task again: gcloud artifacts repositories add-iam-policy-binding "
        f"{repository.name} --project={repository.project} --location={repository.location} "
        f"--member=serviceAccount:{service_account} --role={role}   (or GrantRepositoryAccessOperator)",
        missing.evidence,
        (("service account", service_account), ("repository", str(repository)), ("role to grant", role)),
    )


def _unknown(message: str, lines: Sequence[str]) -> Diagnosis:
    evidence = quote(lines, r"ERROR|error:|Error:|returned a non-zero code") or quote(lines, r"\S")
    return Diagnosis(
        Cause.UNKNOWN,
        f"Composer says: {message.strip() or 'nothing'}",
        "read the build's log; nothing in it is a cause that this provider knows",
        evidence,
    )
