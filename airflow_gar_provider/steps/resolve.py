"""Resolve: pip itself says whether the packages agree, with what the environment has, before a build is spent on it.

pip runs here, on the worker, with `--dry-run` for the environment's Python and platform: it installs nothing, builds
nothing, and runs no code of a package. The caller's token is in a netrc file that only this user can read, and that is
gone afterwards; it is on no command line and in no variable.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.version import InvalidVersion, Version

from airflow_gar_provider.core.choice import Target
from airflow_gar_provider.core.diagnosis import sides_of
from airflow_gar_provider.core.environment import Environment, Wish, plan_patch
from airflow_gar_provider.core.indexes import repository_of
from airflow_gar_provider.core.preflight import RESOLVE
from airflow_gar_provider.core.redaction import redact, redact_lines
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.core.resolution import Needs, broken, moved, parse_tree, pinned_down, resolved, stand_in
from airflow_gar_provider.core.verification import parse_pip_list
from airflow_gar_provider.errors import Finding, GoogleApiError, PreflightError, ResolverError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.supply import Supply

log = logging.getLogger(__name__)
TIMEOUT = 600.0
"""Seconds that pip may search. A search that takes longer would end in Composer's own timeout."""
_TELL = 15.0
_ROUNDS = 5
_PLATFORM = "manylinux_2_50"
"""Of the stand-ins: the first platform that pip is given, so that they win over every other file of their version."""


@dataclass(frozen=True)
class _Base:
    """What the environment has."""

    installed: Mapping[str, str]
    """`pip list`: PEP 503 name -> version."""
    tree: tuple[Needs, ...]
    """What those require."""


def resolve(
    cloud: Cloud, wish: Wish, environment: Environment, supply: Supply, clock: Clock, *, python: str = sys.executable
) -> Wish:
    """Let pip resolve the environment's list as it will be; with `pin_dependencies`, the wish with what it added.

    What is installed and not in the list stays as it is: what would have to move is a conflict, and its sides are
    named. With `pin_dependencies` it may move, and is pinned, unless that breaks another package. Raises PreflightError
    (a conflict), ResolverError (no pip here; pip took too long). `python`: whose pip is asked.
    """
    if supply.target is None:
        log.warning("pip was not asked: Composer does not say which Python %s has", environment.image_version)
        return wish
    base = _base(cloud, environment)
    listed = _listed(environment, wish)
    free = {requirement.name for requirement in listed} | set(wish.absent)
    for _ in range(_ROUNDS):
        kept = {name: version for name, version in base.installed.items() if name not in free}
        with tempfile.TemporaryDirectory(prefix="gar-resolve-") as folder:
            run = _Run(Path(folder), supply, supply.target, python)
            run.write(listed, kept, base.installed)
            after, output = run.pip(clock)
        if after is not None:
            return _accept(wish, environment, base, after)
        if any("No module named pip" in line for line in output):
            raise ResolverError(
                'preflight="resolve" needs pip beside Airflow, and this worker has none',
                resource=str(wish.environment),
                remedy="install pip in the worker's environment, or use preflight=True",
            )
        in_the_way = set(pinned_down(output)) - free
        if not (wish.pin_dependencies and in_the_way):
            break
        log.info("these would have to move: %s", ", ".join(sorted(in_the_way)))
        free |= in_the_way
    raise PreflightError(str(wish.environment), [_conflict(output)])


def _base(cloud: Cloud, environment: Environment) -> _Base:
    try:
        installed = parse_pip_list(cloud.composer.pip_list(environment.name))
    except GoogleApiError as error:
        log.warning("what the environment has is not known, the packages are resolved on their own: %s", error.what)
        return _Base({}, ())
    try:
        tree = parse_tree(cloud.composer.pip_tree(environment.name))
    except GoogleApiError as error:
        log.warning("what the installed packages require is not known: %s", error.what)
        tree = ()
    return _Base({name: version for name, version in installed.items() if _is_version(version)}, tree)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _listed(environment: Environment, wish: Wish) -> list[Requirement]:
    """The environment's list as it will be: a build installs all of it anew."""
    patch = plan_patch(environment.packages, wish.requirements, wish.absent)
    after = {key: value for key, value in environment.packages.items() if key not in patch.remove} | dict(patch.set)
    return [Requirement.parse(key + value) for key, value in sorted(after.items())]


def _accept(wish: Wish, environment: Environment, base: _Base, after: Mapping[str, str]) -> Wish:
    breaks = broken(base.tree, base.installed, after)
    if breaks:
        remedy = "choose versions that agree with what Composer preinstalls, or list what has to move with it"
        raise PreflightError(str(wish.environment), [Finding(RESOLVE, text, remedy) for text in breaks])
    changes = moved(base.installed, after)
    told = [f"{name} {old or 'new'} -> {new}" if old else f"{name} {new} (new)" for name, (old, new) in changes.items()]
    log.info("pip finds the packages to agree; the update brings: %s", ", ".join(told) or "nothing new")
    if not wish.pin_dependencies:
        return wish
    asked = {requirement.name: requirement for requirement in wish.requirements}
    # What somebody else listed is theirs: it is not written over.
    others = {Requirement.parse(key).name for key in environment.packages} - set(asked)
    pins = [
        Requirement(name, asked[name].extras if name in asked else (), f"=={after[name]}")
        for name in [*asked, *(name for name in changes if name not in asked and name not in others)]
        if name in after
    ]
    pinned = {requirement.name: requirement for requirement in pins}
    kept = tuple(pinned.get(name, requirement) for name, requirement in asked.items())
    added = tuple(requirement for name, requirement in pinned.items() if name not in asked)
    if added:
        log.info("pinned beside them: %s", ", ".join(map(str, added)))
    return replace(wish, requirements=(*kept, *added))


def _conflict(output: list[str]) -> Finding:
    sides = sides_of(output)
    if sides:
        text = f"the packages do not agree: {'; '.join(sides)}"
        remedy = (
            "choose versions that agree; what the environment has and may move: list it with the version that fits, "
            "or set pin_dependencies=True"
        )
        return Finding(RESOLVE, text, remedy)
    said = [line for line in output if line.startswith("ERROR")] or output[-3:]
    return Finding(RESOLVE, f"pip says: {' '.join(said) or 'nothing'}", "read pip's words; the build would end so too")


class _Run:
    """One run of pip, in a folder that only this user can read."""

    def __init__(self, folder: Path, supply: Supply, target: Target, python: str) -> None:
        self._folder, self._supply, self._target, self._python = folder, supply, target, python
        self._interpreter = f"cp{''.join(map(str, target.minor))}"

    def write(self, listed: Iterable[Requirement], kept: Mapping[str, str], installed: Mapping[str, str]) -> None:
        """Requirements with their index, constraints, stand-ins for what is installed, and the token."""
        tag = f"{self._interpreter}-{self._interpreter}-{_PLATFORM}_{self._target.machine}"
        (self._folder / "installed").mkdir()
        for name, version in installed.items():
            file, content = stand_in(name, version, tag)
            (self._folder / "installed" / file).write_bytes(content)
        self._private("requirements.txt", [*self._index_options(), *map(str, listed)])
        self._private("constraints.txt", [f"{name}=={version}" for name, version in kept.items()])
        hosts = {repository.host for repository in self._supply.indexes.repositories}
        token = self._supply.cloud.session.token() if hosts else ""
        self._private("netrc", [f"machine {host} login oauth2accesstoken password {token}" for host in sorted(hosts)])

    def _index_options(self) -> list[str]:
        """The environment's indexes; those of Artifact Registry without what stands in their URL: netrc has a token."""
        indexes = self._supply.indexes
        if indexes.hidden:
            return ["--no-index"]
        plain = [re.sub(r"//[^/]*@", "//", url) if repository_of(url) else url for url in indexes.urls]
        return [f"--index-url {plain[0]}", *(f"--extra-index-url {url}" for url in plain[1:])] if plain else []

    def _private(self, name: str, lines: Iterable[str]) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _command(self) -> list[str]:
        machine = self._target.machine
        platforms = [_PLATFORM, *(f"manylinux_2_{n}" for n in range(49, 4, -1)), "manylinux2014", "manylinux2010"]
        return [
            *(self._python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"),
            *("--report", str(self._folder / "report.json"), "--target", str(self._folder / "target")),
            *("--implementation", "cp", "--python-version", ".".join(map(str, self._target.minor))),
            *(f"--platform={platform}_{machine}" for platform in [*platforms, "manylinux1", "linux"]),
            *("--find-links", str(self._folder / "installed")),
            *("--requirement", str(self._folder / "requirements.txt")),
            *("--constraint", str(self._folder / "constraints.txt")),
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        certificates = {name: value for name, value in os.environ.items() if name in {"PIP_CERT", "PIP_PROXY"}}
        return (
            kept
            | certificates
            | {
                # No file of this machine's pip has a say: the environment's does, in requirements.txt.
                "PIP_CONFIG_FILE": os.devnull,
                "NETRC": str(self._folder / "netrc"),
                "PIP_KEYRING_PROVIDER": "disabled",
                "PIP_NO_INPUT": "1",
                "PIP_NO_CACHE_DIR": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_PROGRESS_BAR": "off",
                "PYTHONUNBUFFERED": "1",
            }
        )

    def pip(self, clock: Clock) -> tuple[dict[str, str] | None, list[str]]:
        """Name -> version of all that pip would install, None when it found no way; and what it printed."""
        log.info("pip resolves for Python %s on Linux %s", self._target.python, self._target.machine)
        printed = self._folder / "output"
        with printed.open("wb") as output:
            # A group of its own: whatever it starts ends with it.
            process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._wait(process, printed, clock)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        lines = redact_lines(printed.read_text(errors="replace").splitlines())
        if process.returncode == 0:
            return resolved(json.loads((self._folder / "report.json").read_text(encoding="utf-8"))), lines
        return None, lines

    def _wait(self, process: subprocess.Popen[bytes], printed: Path, clock: Clock) -> None:
        begun = told = clock.monotonic()
        while True:
            try:
                process.wait(0.1)
                return
            except subprocess.TimeoutExpired:
                clock.sleep(0)  # ends the wait when the task is killed
            now = clock.monotonic()
            last = (printed.read_text(errors="replace").splitlines() or [""])[-1]
            if now - begun > TIMEOUT:
                raise ResolverError(
                    f"pip found no answer within {TIMEOUT:.0f} s; it was last at: {redact(last.strip())}",
                    remedy="pin every package that moves with ==, so that pip's resolver has nothing to search",
                )
            if now - told > _TELL:
                told = now
                log.info("pip has been resolving for %.0f s: %s", now - begun, redact(last.strip()))
