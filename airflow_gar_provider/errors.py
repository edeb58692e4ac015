"""Everything that this package raises on purpose.

::

    GarProviderError
    ├── InvalidInputError         the caller's input; nothing was changed
    │   ├── InvalidNameError          a resource name
    │   ├── InvalidRequirementError   a requirement that Composer would refuse
    │   ├── InvalidWheelError         a file that is no publishable wheel
    │   ├── FileChangedError          a file that changed between its check and the end of its upload
    │   ├── InvalidPipConfError       a pip.conf that pip itself cannot read
    │   ├── InvalidKeyError           what is no service account's key file
    │   ├── InvalidFleetError         a fleet file, with the lines at fault
    │   └── NotAllowedError           what the lists of the DAG's author do not allow
    ├── BuildFailedError          a source tree that did not become a wheel
    ├── RegistryError
    │   ├── RepositoryMismatchError   a repository of another format or mode
    │   ├── ContentConflictError      the same file name is there with other content
    │   └── NotConfirmedError         uploaded, but the registry does not serve it (yet)
    ├── GoogleApiError            Google's answer to one call
    │   ├── NotFoundError
    │   ├── AccessDeniedError
    │   ├── ConcurrentChangeError     somebody else changed it in between
    │   └── UnavailableError          429, 5xx, a lost connection
    ├── PinsUnknownError          environments that cannot be read, so nothing of what they need was deleted
    ├── EnvironmentNotReadyError  an environment that is not RUNNING
    ├── PreflightError            what was found before a build was spent on it; nothing was changed
    ├── ResolverError             pip could not be asked before the update, or found no answer; nothing was changed
    ├── InstallFailedError        Composer's build of the new image failed: cause, evidence, remedy
    ├── HeldVersionError          a version that was rolled back in this environment, and is held there
    ├── PostponedError            tasks still run in the environment, so it was not updated
    ├── VerificationError         the update ended well, but the environment does not have what was wanted
    ├── RolledBackError           the verification failed, and the environment has its old packages again
    ├── RollbackFailedError       the verification failed, and so did the way back
    ├── OperationTimeoutError     the operation did not end in time
    ├── InterruptedWaitError      the task was killed while it waited
    ├── NoClientError             the connection yields no Google client
    ├── ChangedSincePlanError     what a rollout's plan was computed from is not there any more
    ├── NotApprovedError          a plan that nobody has approved yet, or that was refused
    ├── RolloutFailedError        a rollout, or a stage of it, did not come to what was planned
    └── EnvironmentDagError       a DAG in the environment did not run, or failed

Every error says what happened, to which resource, and what to do next; `retryable` says whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class GarProviderError(Exception):
    """The root. `what`: one sentence; `resource`: its name; `remedy`: what to do next."""

    retryable = False

    def __init__(self, what: str, *, resource: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.resource = resource
        self.remedy = remedy
        super().__init__(what)

    def __str__(self) -> str:
        """All that is known, a line each: it is what a user reads at the end of a task's log."""
        return "\n".join([self.what, *self.details()])

    def details(self) -> list[str]:
        """Lines below the first one; subclasses add their facts."""
        lines = []
        if self.resource:
            lines.append(f"  resource: {self.resource}")
        if self.remedy:
            lines.append(f"  next: {self.remedy}")
        return lines

    def as_result(self) -> dict[str, object]:
        """The task's result when it fails: what an `all_done` task downstream can read."""
        return {
            "outcome": "failed",
            "error": type(self).__name__,
            "message": self.what,
            "resource": self.resource,
            "remedy": self.remedy,
            "retryable": self.retryable,
        }


class InvalidInputError(GarProviderError):
    """Input that cannot be used. Nothing was changed."""


class InvalidNameError(InvalidInputError):
    """A resource name that is not of its documented form."""


class InvalidRequirementError(InvalidInputError):
    """Requirements that Composer would refuse; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "These requirements cannot be installed through Composer's package list:\n"
            + "\n".join(f"  - {problem}" for problem in self.problems),
            remedy="write a name, optional [extras] and a version, such as mypythonlib[geo]==1.2.0",
        )


class InvalidWheelError(InvalidInputError):
    """A file that is no wheel, or one that disagrees with itself; `problems` has a line for each."""

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"{file} cannot be published:\n" + "\n".join(f"  - {problem}" for problem in self.problems),
            resource=file,
            remedy="nothing was sent: cure each point; a damaged or mislabelled file is built again "
            "(BuildWheelOperator, or `python -m build`), never renamed by hand",
        )


class FileChangedError(InvalidInputError):
    """A file changed between its check and the end of its upload. The registry was not given the whole of it."""

    retryable = True


class InvalidPipConfError(InvalidInputError):
    """A pip.conf that pip itself refuses; it was not touched."""


class InvalidKeyError(InvalidInputError):
    """What was given as a service account's key is none; the message quotes nothing of it."""


class InvalidFleetError(InvalidInputError):
    """A fleet's definition that cannot be used; `problems` has a line for each, with the line of the file."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            f"{source} does not describe a fleet:\n" + "\n".join(f"  - {problem}" for problem in self.problems),
            resource=source,
            remedy="correct the file; its form is described by fleet.schema.json in this package",
        )


class NotAllowedError(InvalidInputError):
    """A request for something that the lists of the DAG's author do not have. Nothing was changed. Every one is named.

    `problems`: one sentence for each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "this is not allowed here:\n" + "\n".join(f"  - {problem}" for problem in problems),
            remedy="ask for what is on the lists, or have the DAG's author change them",
        )


class BuildFailedError(GarProviderError):
    """A source tree did not become a wheel; the end of the build's log is in the message."""


class RegistryError(GarProviderError):
    """Artifact Registry's content is not what was expected."""


class RepositoryMismatchError(RegistryError):
    """The repository exists with another format or mode. Neither can be changed."""


class ContentConflictError(RegistryError):
    """The registry has other content under the same file names. Files there cannot be overwritten.

    `conflicts`: file name, SHA-256 of ours, SHA-256 in the registry (empty when it tells none), for each.
    """

    def __init__(self, conflicts: Sequence[tuple[str, str, str]], *, repository: str) -> None:
        self.conflicts = tuple(conflicts)
        names = ", ".join(file for file, _, _ in self.conflicts)
        super().__init__(
            f"{names} {'is' if len(self.conflicts) == 1 else 'are'} already in the registry with other content",
            resource=repository,
            remedy="raise the version and publish again: a published version is never replaced",
        )

    def details(self) -> list[str]:
        """Add both hashes of every file."""
        lines = []
        for file, ours, theirs in self.conflicts:
            if len(self.conflicts) > 1:
                lines.append(f"  {file}")
            lines.append(f"  SHA-256 of this file:        {ours}")
            lines.append(f"  SHA-256 in the registry:     {theirs or 'unknown'}")
        return [*lines, *super().details()]


class NotConfirmedError(RegistryError):
    """The upload was accepted, but the registry did not list the file within the wait."""

    retryable = True


class GoogleApiError(GarProviderError):
    """Google refused a call. `status` is the google.rpc name (INVALID_ARGUMENT...), `message` Google's own words."""

    def __init__(
        self,
        what: str,
        *,
        resource: str | None = None,
        remedy: str | None = None,
        status: str | None = None,
        message: str | None = None,
    ) -> None:
        self.status = status
        self.message = message
        super().__init__(what, resource=resource, remedy=remedy)

    def details(self) -> list[str]:
        """Add Google's own words."""
        google = f"  Google said: {self.status or 'error'}: {self.message}"
        return ([google] if self.message else []) + super().details()


class NotFoundError(GoogleApiError):
    """The resource does not exist, or may not be seen."""


class AccessDeniedError(GoogleApiError):
    """The caller may not do this (401 or 403)."""


class ConcurrentChangeError(GoogleApiError):
    """Somebody else changed the resource between our read and our write."""

    retryable = True


class UnavailableError(GoogleApiError):
    """429, 5xx, or a connection that broke."""

    retryable = True
    retry_after: float | None = None
    """Seconds that Google asked to wait (Retry-After), or None."""


class PinsUnknownError(GarProviderError):
    """Environments could not be read, so it is not known which versions they need. Nothing was deleted."""

    def __init__(self, causes: Mapping[str, GoogleApiError]) -> None:
        self.causes = dict(causes)
        self.retryable = all(cause.retryable for cause in self.causes.values())
        lines = "".join(f"\n  - {name}: {cause.what}" for name, cause in self.causes.items())
        super().__init__(
            f"nothing was deleted: it is not known what these environments need:{lines}",
            remedy="let the caller read them (composer.environments.get), take them off the list, or ignore them "
            "(ignore_unreadable_environments=True)",
        )


class EnvironmentNotReadyError(GarProviderError):
    """The environment is not RUNNING. `state` is Composer's word for what it is."""

    def __init__(self, environment: str, state: str, *, remedy: str, retryable: bool) -> None:
        self.state = state
        self.retryable = retryable
        super().__init__(f"the environment is in state {state}", resource=environment, remedy=remedy)


@dataclass(frozen=True)
class Finding:
    """One thing that a look before the update found to be wrong."""

    check: str
    """Which check found it, a word of `core.preflight.CHECKS`: by this name it can be skipped."""
    text: str
    """What is wrong, in one sentence."""
    remedy: str
    """What to do about it."""
    retryable: bool = False
    """Whether it can cure itself."""


class PreflightError(GarProviderError):
    """What would make the update fail, all of it, found before a build of many minutes. Nothing was changed."""

    def __init__(self, environment: str, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        self.retryable = all(finding.retryable for finding in self.findings)
        self.checks = tuple(dict.fromkeys(finding.check for finding in self.findings))
        super().__init__(
            "the update would fail, so it was not begun:\n"
            + "\n".join(f"  - {f.check}: {f.text}\n    next: {f.remedy}" for f in self.findings),
            resource=environment,
            remedy=f"cure each finding; a check that is wrong here can be skipped by its name "
            f"(skip_checks={list(self.checks)})",
        )

    def as_result(self) -> dict[str, object]:
        """Add the findings."""
        return {
            **super().as_result(),
            "environment": self.resource,
            "findings": [{"check": f.check, "text": f.text, "remedy": f.remedy} for f in self.findings],
        }


class ResolverError(GarProviderError):
    """pip could not be asked whether the packages agree, or found no answer in time. Nothing was changed."""


class InstallFailedError(GarProviderError):
    """Composer could not build the new image; the environment keeps its old packages.

    `cause` is a word of `core.diagnosis.Cause`; `evidence` are lines of the build's log, redacted.
    """

    def __init__(
        self,
        what: str,
        *,
        environment: str,
        cause: str,
        remedy: str,
        evidence: Sequence[str] = (),
        facts: Sequence[tuple[str, str]] = (),
        operation: str | None = None,
        log_link: str | None = None,
        retryable: bool = False,
    ) -> None:
        self.cause = cause
        self.evidence = tuple(evidence)
        self.facts = tuple(facts)
        self.operation = operation
        self.log_link = log_link
        self.retryable = retryable
        super().__init__(what, resource=environment, remedy=remedy)

    def details(self) -> list[str]:
        """Add the facts of the case, the evidence and where to read more."""
        lines = [f"  {label}: {value}" for label, value in self.facts]
        lines += super().details()
        if self.evidence:
            lines.append("  the build's log says:")
            lines += [f"    | {line}" for line in self.evidence]
        if self.operation:
            lines.append(f"  operation: {self.operation}")
        if self.log_link:
            lines.append(f"  build log: {self.log_link}")
        lines.append("  The environment keeps running with the packages that it had before.")
        return lines

    def as_result(self) -> dict[str, object]:
        """Add cause, evidence and link."""
        return {
            **super().as_result(),
            "environment": self.resource,
            "cause": self.cause,
            "evidence": list(self.evidence),
            "link": self.log_link,
        }


class VerificationError(GarProviderError):
    """The environment does not have what the successful update should have given it."""


class HeldVersionError(GarProviderError):
    """Versions that were rolled back in this environment; `held` has a line for each. Nothing was changed."""

    def __init__(self, environment: str, held: Sequence[str]) -> None:
        self.held = tuple(held)
        super().__init__(
            "these versions were rolled back in this environment and are held there:\n"
            + "\n".join(f"  - {line}" for line in self.held),
            resource=environment,
            remedy="publish and require a corrected version; to try this one again, set ignore_hold=True, or release "
            "it (steps.hold.release, or delete its object below data/gar/holds/ in the environment's bucket)",
        )


class PostponedError(GarProviderError):
    """Tasks still run in the environment that an update would end. Nothing was changed; `tasks` has a line for each."""

    retryable = True

    def __init__(self, environment: str, tasks: Sequence[str], *, waited: float) -> None:
        self.tasks = tuple(tasks)
        super().__init__(
            f"the update is postponed: {len(self.tasks)} task(s) still run after {waited:.0f} s:\n"
            + "\n".join(f"  - {line}" for line in self.tasks),
            resource=environment,
            remedy='run this task again when they have ended, raise `drain`, or set drain_action="go", which ends them',
        )


class RolledBackError(GarProviderError):
    """The verification failed and the rollback ended well: both are told. `failure` is what the verification said."""

    def __init__(self, environment: str, *, failure: str, restored: Sequence[str], held: Sequence[str]) -> None:
        self.failure = failure
        self.restored = tuple(restored)
        self.held = tuple(held)
        super().__init__(
            f"{failure}\nIt was rolled back: {'; '.join(restored) or 'nothing had to be restored'}",
            resource=environment,
            remedy="correct the package, publish it as a new version and install that"
            + (f"; {', '.join(held)} will not be installed here again until released (ignore_hold)" if held else ""),
        )

    def as_result(self) -> dict[str, object]:
        """The outcome is `rolled_back`, with both facts."""
        facts = {"failure": self.failure, "restored": list(self.restored), "held": list(self.held)}
        return {**super().as_result(), "outcome": "rolled_back", "environment": self.resource, **facts}


class RollbackFailedError(GarProviderError):
    """The verification failed, and the update that was to restore the packages failed too. Another try goes on."""

    retryable = True

    def __init__(self, environment: str, *, failure: str, reason: str, operation: str) -> None:
        self.failure = failure
        self.reason = reason
        self.operation = operation
        super().__init__(
            f"{failure}\nIts rollback failed as well: {reason}",
            resource=environment,
            remedy="the environment keeps the new packages; run this task again to go on with the rollback, or restore "
            "them by hand",
        )


class OperationTimeoutError(GarProviderError):
    """The operation is still running. It cannot be cancelled; a later try follows it."""

    retryable = True


class InterruptedWaitError(GarProviderError):
    """The task was killed while it waited: by a worker's shutdown, say. Another try goes on where this one was."""

    retryable = True


class ChangedSincePlanError(GarProviderError):
    """An environment, or a published file, is not what the rollout's plan was computed from. Nothing was changed."""


class NotApprovedError(GarProviderError):
    """A rollout of stages that need approval was not approved. Nothing was changed in them.

    `stages`: which; `digest`: what to give as `approved_plan`, once the plan was looked at; None where that is no way.
    """

    def __init__(self, stages: Sequence[str], digest: str | None = None, *, why: str | None = None) -> None:
        self.stages = tuple(stages)
        self.digest = digest
        names = ", ".join(stages)
        super().__init__(
            f"stage {names} is not approved{f': {why}' if why else ''}",
            remedy=f"look at the plan above; to apply exactly it, start a run with approved_plan={digest}"
            if digest
            else "start a new run: it goes on with what is left, and asks again",
        )


class RolloutFailedError(GarProviderError):
    """A rollout, or a stage of it, did not come to what was planned; every environment is named."""


class NoClientError(GarProviderError):
    """The connection, or whom to impersonate, yields no Google client. It may have been edited a moment ago."""

    retryable = True


class EnvironmentDagError(GarProviderError):
    """A DAG in the environment is unknown, paused, broken, or its run failed."""
