"""The command line: `run` a command against the sandbox, `serve` until told to stop, `status` of what is there."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client_environment import merged, shell_lines
from .clock import CLOCK
from .process_group import living_members
from .setup import Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .server import Sandbox

_GRACE_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    level = logging.DEBUG if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="sandbox: %(message)s", stream=sys.stderr)
    if options.verb == "status":
        return _status(options)
    if options.verb == "env":
        return _env(options)
    try:
        CLOCK.configure({"operation_seconds": options.operation_seconds, "virtual": options.virtual_clock})
        setup = Setup.from_texts(
            projects=tuple(options.project),
            environments=tuple(options.environment),
            processes=tuple(options.processes),
            buckets=tuple(options.bucket),
            grants=tuple(options.grant),
            accounts=tuple(options.account),
        )
    except ValueError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    command = [word for word in getattr(options, "command", []) if word != "--"] if options.verb == "run" else []
    if options.verb == "run" and not command:
        sys.stderr.write("sandbox: run needs a command: run [options] -- COMMAND ...\n")
        return 2
    if options.verb == "run" and options.command[:1] == ["--"]:
        command = options.command[1:]
    return asyncio.run(_main(options, setup, command))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_gar_provider.sandbox", description="A pretend Google.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run a command against the sandbox")
    serve = verbs.add_parser("serve", help="run the sandbox alone; prints one JSON line when it is ready")
    status = verbs.add_parser("status", help="show what is there")
    for verb in (run, serve):
        _add_options(verb)
    run.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND ARGUMENT ...")
    serve.add_argument("--ready-file", type=Path, help="also write the JSON line to this file")
    where = status.add_mutually_exclusive_group(required=True)
    where.add_argument("--data-dir", type=Path, help="the data folder of a sandbox that is not running")
    where.add_argument("--port", type=int, help="the port of a running sandbox")
    status.add_argument("--json", action="store_true", help="print JSON instead of tables")
    env = verbs.add_parser("env", help='show the variables of a running sandbox: eval "$(... env --port PORT)"')
    env.add_argument("--port", type=int, required=True, help="the port of a running sandbox")
    for verb in (run, serve, status, env):
        verb.add_argument("--verbose", action="store_true", help="log more")
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, help="keep state here; without it state ends with the sandbox")
    parser.add_argument("--public-index", type=Path, metavar="DIR", help="a folder of wheels, as the public index")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: a free one)")
    parser.add_argument("--caller", metavar="EMAIL", help="who the command is (default: caller@ the first project)")
    parser.add_argument(
        "--operation-seconds",
        type=float,
        default=0.0,
        metavar="N",
        help="how long Composer operations last (0: the work)",
    )
    parser.add_argument(
        "--virtual-clock", action="store_true", help="time stands still until POST /sandbox/time moves it"
    )
    for name, metavar, text in (
        ("project", "ID", "a project to have"),
        ("environment", "NAME", "projects/P/locations/L/environments/E to have, RUNNING"),
        ("processes", "NAME", "an environment to have, with a scheduler and a triggerer of its own"),
        ("bucket", "PROJECT/NAME", "a bucket to have"),
        ("account", "EMAIL", "a service account to have"),
        ("grant", "MEMBER=ROLE@RESOURCE", "a role to give on a project, repository, bucket or service account"),
        ("allow-host", "HOST", "a host that connections may really go to"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], metavar=metavar, help=f"{text} (repeatable)")


async def _main(options: argparse.Namespace, setup: Setup, command: list[str]) -> int:
    from .server import Sandbox, ready_line  # noqa: PLC0415 - the Google clients take a second to import; --help must not

    try:
        sandbox = Sandbox(
            environment=os.environ,
            data_dir=options.data_dir.resolve() if options.data_dir else None,
            port=options.port,
            caller=options.caller,
            setup=setup,
            allow_hosts=tuple(options.allow_host),
            public_index=options.public_index.resolve() if options.public_index else None,
        )
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        try:
            await sandbox.start()
            if options.verb == "run":
                return await _run(sandbox, command, stopping)
            line = ready_line(sandbox)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            if options.ready_file is not None:
                _write_whole(options.ready_file, line)
            await stopping.wait()
            return 0
        finally:
            await sandbox.stop()
    except OSError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1


def _write_whole(file: Path, line: str) -> None:
    # Readers poll for the file: it must never be seen half written.
    part = file.with_name(f"{file.name}.part")
    part.touch(mode=0o600)
    part.write_text(line + "\n")
    part.replace(file)


async def _run(sandbox: Sandbox, command: list[str], stopping: asyncio.Event) -> int:
    """Run the command in a session of its own; at its end, or at ours, end everything in it."""
    environment = merged(os.environ, sandbox.environment())
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"sandbox: {command[0]}: {error.strerror}\n")
        return 127
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await _end_session(process.pid, ended)
    stopped.cancel()
    code = await ended
    if sandbox.app.bugs:
        sys.stderr.write(f"sandbox: {len(sandbox.app.bugs)} uncaught exceptions: {sandbox.app.bugs[0]}\n")
    return 128 - code if code < 0 else code


async def _end_session(leader: int, ended: asyncio.Task[int]) -> None:
    """TERM, wait, KILL, for whatever is left of the command's session: groups that it made in it are ended, too."""
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, number)
        for member in living_members(leader):
            with contextlib.suppress(ProcessLookupError):
                # Airflow puts each task into a group of its own; who got the signal with the group is not told twice.
                if os.getpgid(member) != leader:
                    os.kill(member, number)
        for _ in range(int(seconds / 0.05)):
            if ended.done() and not living_members(leader):
                return
            await asyncio.sleep(0.05)


def _status(options: argparse.Namespace) -> int:
    from .status import render  # noqa: PLC0415 - like `server` above

    try:
        value = asyncio.run(_stored(options.data_dir)) if options.data_dir else _asked(options.port, "status")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    sys.stdout.write((json.dumps(value, indent=2) if options.json else render(value)) + "\n")
    return 0


def _env(options: argparse.Namespace) -> int:
    try:
        variables = _asked(options.port, "env")["env"]
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    sys.stdout.write(shell_lines(os.environ, variables))
    return 0


def _asked(port: int, what: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/sandbox/{what}", timeout=10) as answer:
        value: dict[str, Any] = json.load(answer)
    return value


async def _stored(folder: Path) -> dict[str, Any]:
    from .server import Sandbox  # noqa: PLC0415 - like above
    from .status import summary  # noqa: PLC0415 - like above

    if not folder.is_dir():
        raise OSError(f"{folder} is not a folder")
    sandbox = Sandbox(environment={}, data_dir=folder)
    try:
        return summary(sandbox)
    finally:
        await sandbox.stop()
