"""What an environment's image is, and how an update builds the next one: with the real pip, as Composer does.

An image is a folder: a virtual environment without pip, layered over the Python that runs the sandbox (the *base*, the
stand-in for Google's preinstalled packages). What the image holds wins over what the base holds; the base is never
written.
The sequence, the printed commands and the last line of a failed build are those of the installer in Composer's images.
Not played: `pipdeptree --warn`, which only prints.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import re
import sys
import sysconfig
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_gar_provider.sandbox.process_group import clean_environment, run_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DOCKERFILE_FAILED = (
    "The command '/bin/sh -c bash installer.sh $COMPOSER_PYTHON_VERSION $FAIL_ON_CONFLICT' "
    "returned a non-zero code: {code}"
)

# A shebang has a length limit and no quoting: the shell starts Python instead (pip writes its long scripts like this).
_AIRFLOW_SCRIPT = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

from airflow.__main__ import main

sys.exit(main())
"""

# `addsitedir` instead of a plain path: it also reads the base's own .pth files (editable installs).
_BASE_LINE = "import site; {calls}\n"

# Runs in the image. The first of two equal names wins, as in an import and as in `pip list`.
_LIST_PACKAGES = """
import importlib.metadata, json, re
found = {}
for distribution in importlib.metadata.distributions():
    name = distribution.metadata["Name"]
    if name:
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), (name, distribution.version))
print(json.dumps(sorted(found.values())))
"""

_CONFLICT = re.compile(
    r" has requirement .+, but you have | requires .+, which is not installed| is not supported on this"
)
_URL_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")
_CONFIGURATION_KEY = re.compile(r"([\w-]+)\.([\w-]+)=")


@dataclass(frozen=True)
class BuildResult:
    """How a build ended."""

    succeeded: bool
    """Whether the folder is an image that an environment may use."""
    log: tuple[str, ...]
    """Every printed line, in order."""
    error: str | None
    """Why it failed, in the words of pip: what Google prints behind `Failed to install Python packages.`"""
    conflict: bool = False
    """It failed because packages contradict each other, or what is preinstalled."""


class _BuildFailedError(Exception):
    """Carries the short reason and the exit code of the step that failed."""

    def __init__(self, reason: str, code: int = 1, *, conflict: bool) -> None:
        super().__init__(reason)
        self.code = code
        self.conflict = conflict


async def create_image(folder: Path) -> None:
    """Make an empty image: nothing but the base, seen through a virtual environment with an `airflow` of its own."""
    await asyncio.to_thread(_create_image, folder)


def _create_image(folder: Path) -> None:
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    bases = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    calls = "; ".join(f"site.addsitedir({base!r})" for base in bases)
    (own / "_base.pth").write_text(_BASE_LINE.format(calls=calls), encoding="utf-8")
    script = folder / "bin" / "airflow"
    script.write_text(_AIRFLOW_SCRIPT.format(python=folder / "bin" / "python"), encoding="utf-8")
    script.chmod(0o755)


async def build_image(
    folder: Path,
    *,
    requirements: Mapping[str, str],
    pip_conf: bytes | None,
    proxy_url: str,
    ca_file: Path,
    log: Callable[[str], None],
    timeout: float = 2100,
) -> BuildResult:
    """Create an image and install the packages of an environment into it, as Composer's build does.

    `requirements` maps a name to extras and specifier (`{"name": "[extra]==1.0"}`); `pip_conf` is the bucket's file
    as it
    is, or None; `proxy_url` names the environment's identity; `timeout` is in seconds (Composer stops after 35
    minutes).
    A failed build leaves a folder that is no image: the caller removes it. Nothing is raised for a failed build.
    """
    secret = urlsplit(proxy_url).password
    lines: list[str] = []

    def say(line: str) -> None:
        line = line.replace(secret, "****") if secret else line
        lines.append(line)
        log(line)

    try:
        with tempfile.TemporaryDirectory(prefix="composer-build-") as work:
            build = _Build(folder, Path(work), proxy_url=proxy_url, ca_file=ca_file, say=say)
            await asyncio.wait_for(build.run(requirements, pip_conf), timeout)
    except asyncio.TimeoutError:
        reason = f"The build did not finish within {timeout:g} seconds and was stopped."
        say(f"ERROR: {reason}")
        return BuildResult(succeeded=False, log=tuple(lines), error=reason)
    except _BuildFailedError as failure:
        say(DOCKERFILE_FAILED.format(code=failure.code))
        reason = _URL_USER.sub("****@", str(failure))
        return BuildResult(succeeded=False, log=tuple(lines), error=reason, conflict=failure.conflict)
    return BuildResult(succeeded=True, log=tuple(lines), error=None)


async def installed_packages(folder: Path) -> dict[str, str]:
    """Return name and version of every package that Python finds in the image: its own, then the base's."""
    output: list[str] = []
    python = str(folder / "bin" / "python")
    environment = clean_environment(first_on_path=folder / "bin")
    code = await run_lines(
        [python, "-I", "-c", _LIST_PACKAGES], environment=environment, folder=folder, on_line=output.append
    )
    if code != 0:
        raise RuntimeError(f"Listing the packages of the image {folder} failed: {' '.join(output[-3:])}")
    return dict(json.loads(output[-1]))


class _Build:
    """One build: its private folder, its process environment, and its steps."""

    def __init__(self, image: Path, work: Path, *, proxy_url: str, ca_file: Path, say: Callable[[str], None]) -> None:
        self.image = image
        self.work = work
        self.say = say
        self.environment = clean_environment(first_on_path=image / "bin") | {
            "HOME": str(work),
            "NETRC": "/dev/null",
            # pip reads the folders of XDG_CONFIG_DIRS and always /etc/pip.conf: see `neutralize`.
            "XDG_CONFIG_DIRS": str(work / "no-xdg"),
            # A file that does not exist would let the configuration of this machine's user in.
            "PIP_CONFIG_FILE": str(work / "pip.conf"),
            "PIP_CERT": str(ca_file),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_KEYRING_PROVIDER": "disabled",
            "PIP_NO_INPUT": "1",
            "PIP_PROGRESS_BAR": "off",
            "PYTHONUNBUFFERED": "1",
            **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(ca_file)),
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), proxy_url),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        }

    async def run(self, requirements: Mapping[str, str], pip_conf: bytes | None) -> None:
        """Do every step, or raise `_BuildFailedError`."""
        if importlib.util.find_spec("pip") is None:
            raise RuntimeError(
                "The sandbox installs with pip, and this Python has none: pip is in the extra 'sandbox'."
            )
        await create_image(self.image)
        await self.neutralize()
        self.write_inputs(requirements, pip_conf)
        self.say("+ python3 -m pip install --retries 2 -r requirements.txt --no-cache-dir")
        output: list[str] = []
        options = ("install", "--retries", "2", "-r", "requirements.txt", "--no-cache-dir")

        def keep(line: str) -> None:
            output.append(line)
            self.say(line)

        code = await self.pip(options, on_line=keep)
        if code != 0:
            reason = _install_error(output)
            raise _BuildFailedError(reason, code, conflict="conflicting dependencies" in reason)
        await self.check()

    def write_inputs(self, requirements: Mapping[str, str], pip_conf: bytes | None) -> None:
        """Write requirements.txt and the bucket's pip.conf where only this build sees them."""
        wanted = [f"{name}{value}" for name, value in requirements.items()]
        airflow = _base_version("apache-airflow")
        if airflow is not None:
            wanted.append(f"apache-airflow=={airflow}")
        (self.work / "requirements.txt").write_text("".join(f"{line}\n" for line in wanted), encoding="utf-8")
        if pip_conf is None:
            self.say("No custom pip.conf file found.")
        private = self.work / "pip.conf"
        private.touch(mode=0o600)
        private.write_bytes(pip_conf or b"")

    async def neutralize(self) -> None:
        """Cancel what this machine's pip configuration would add to the build.

        pip has no switch that keeps /etc/pip.conf out and still reads a given file (`PIP_CONFIG_FILE=/dev/null` stops
        both). But the image's own pip.conf ranks between the two, and pip ignores an option whose value is empty: so
        every option that is set with no bucket file there is set to nothing in the image. The bucket's file still wins.
        """
        (self.work / "pip.conf").touch(mode=0o600)
        leaking: list[str] = []
        variables = {name: value for name, value in self.environment.items() if not name.startswith("PIP_")}
        variables["PIP_CONFIG_FILE"] = self.environment["PIP_CONFIG_FILE"]
        arguments = [sys.executable, "-m", "pip", "config", "list"]
        code = await run_lines(arguments, environment=variables, folder=self.work, on_line=leaking.append)
        if code != 0:
            raise RuntimeError(f"pip cannot read this machine's own configuration: {' '.join(leaking[-3:])}")
        sections: dict[str, list[str]] = {}
        for line in leaking:
            key = _CONFIGURATION_KEY.match(line)
            if key:
                sections.setdefault(key[1], []).append(f"{key[2]} =")
        text = "".join(f"[{section}]\n" + "\n".join(options) + "\n" for section, options in sections.items())
        (self.image / "pip.conf").write_text(text, encoding="utf-8")

    async def check(self) -> None:
        """Run `pip check` and raise when the image has a conflict that the base does not have."""
        known = await _base_conflicts(self.environment, self.work)
        self.say("+ python3 -m pip check")
        output: list[str] = []
        await self.pip(("check",), on_line=output.append)
        worse = [line for line in output if _CONFLICT.search(line) and line not in known]
        for line in worse or ["No broken requirements found."]:
            self.say(line)
        if worse:
            raise _BuildFailedError(" ".join(worse), conflict=True)

    async def pip(self, options: Sequence[str], *, on_line: Callable[[str], None]) -> int:
        """Run the base's pip on the image."""
        arguments = [sys.executable, "-m", "pip", "--python", str(self.image / "bin" / "python"), *options]
        return await run_lines(arguments, environment=self.environment, folder=self.work, on_line=on_line)


# The base does not change while the sandbox runs, so its own conflicts are asked once.
_known_conflicts: dict[str, frozenset[str]] = {}


async def _base_conflicts(environment: Mapping[str, str], folder: Path) -> frozenset[str]:
    """Return the lines that `pip check` prints for the base alone."""
    if sys.prefix not in _known_conflicts:
        output: list[str] = []
        arguments = [sys.executable, "-m", "pip", "check"]
        await run_lines(arguments, environment=environment, folder=folder, on_line=output.append)
        _known_conflicts[sys.prefix] = frozenset(filter(_CONFLICT.search, output))
    return _known_conflicts[sys.prefix]


def _base_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _install_error(output: Sequence[str]) -> str:
    """Pick pip's reason out of its output: the first error, and the two sides of a conflict below it.

    Without a line that says ERROR (a broken pip.conf prints none) the last lines are the reason.
    """
    for index, line in enumerate(output):
        if line.startswith("ERROR: "):
            reason = [line.removeprefix("ERROR: ")]
            if "conflicting dependencies" in line:
                reason += _paragraph(output[index + 1 :])
            return " ".join(reason)
    return " ".join(line.strip() for line in output[-4:]) or "pip ended without a message."


def _paragraph(lines: Sequence[str]) -> list[str]:
    """Return the first block of lines between empty ones."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line.strip())
        elif block:
            break
    return block
