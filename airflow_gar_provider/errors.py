"""Everything that this package raises on purpose.

::

    GarProviderError
    ├── InvalidInputError         the caller's input; nothing was changed
    │   ├── InvalidNameError          a resource name
    │   ├── InvalidRequirementError   a requirement that Composer would refuse
    │   ├── InvalidWheelError         a file that is no publishable wheel
    │   └── InvalidPipConfError       a pip.conf that pip itself cannot read
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
    ├── EnvironmentNotReadyError  an environment that is not RUNNING
    ├── InstallFailedError        Composer's build of the new image failed: cause, evidence, remedy
    ├── VerificationError         the update ended well, but the environment does not have what was wanted
    ├── OperationTimeoutError     the operation did not end in time
    ├── InterruptedWaitError      the task was killed while it waited
    └── EnvironmentDagError       a DAG in the environment did not run, or failed

Every error says what happened, to which resource, and what to do next; `retryable` says whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Sequence


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
            remedy="build it again (BuildWheelOperator, or `python -m build`); do not rename wheels by hand",
        )


class InvalidPipConfError(InvalidInputError):
    """A pip.conf that pip itself refuses; it was not touched."""


class BuildFailedError(GarProviderError):
    """A source tree did not become a wheel; the end of the build's log is in the message."""


class RegistryError(GarProviderError):
    """Artifact Registry's content is not what was expected."""


class RepositoryMismatchError(RegistryError):
    """The repository exists with another format or mode. Neither can be changed."""


class ContentConflictError(RegistryError):
    """The registry has other content under the same file name. Files there cannot be overwritten."""

    def __init__(self, file: str, *, repository: str, ours: str, theirs: str) -> None:
        self.file = file
        self.ours = ours
        self.theirs = theirs
        super().__init__(
            f"{file} is already in the registry with other content",
            resource=repository,
            remedy="raise the version and publish again: a published version is never replaced",
        )

    def details(self) -> list[str]:
        """Add both hashes."""
        return [
            f"  SHA-256 of this file:        {self.ours}",
            f"  SHA-256 in the registry:     {self.theirs}",
            *super().details(),
        ]


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


class EnvironmentNotReadyError(GarProviderError):
    """The environment is not RUNNING. `state` is Composer's word for what it is."""

    def __init__(self, environment: str, state: str, *, remedy: str, retryable: bool) -> None:
        self.state = state
        self.retryable = retryable
        super().__init__(f"the environment is in state {state}", resource=environment, remedy=remedy)


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


class OperationTimeoutError(GarProviderError):
    """The operation is still running. It cannot be cancelled; a later try follows it."""

    retryable = True


class InterruptedWaitError(GarProviderError):
    """The task was killed while it waited: by a worker's shutdown, say. Another try goes on where this one was."""

    retryable = True


class EnvironmentDagError(GarProviderError):
    """A DAG in the environment is unknown, paused, broken, or its run failed."""
