"""``python -m demo.road``: the whole road once. Runs the DAG ``publish_and_roll_out`` in a local Airflow and tells it.

With ``--story`` it first shows what goes wrong in life: the environment may not read the repository yet.
Exit status: 0 only if the run succeeded and every environment computed a distance; 130 and 143 when it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import words
from demo.airflow_client import AirflowApiError
from demo.airflow_stack import AirflowStack, StackError
from demo.ending import Ended, end_on_signals
from demo.follow import Follower, Road

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "example_packages" / "mypythonlib"
DAG_ID = "publish_and_roll_out"
READER = "roles/artifactregistry.reader"
"""The role that the story's first run lacks. Its error must name it: otherwise it failed for another reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = parse(arguments)
    page = words.Page.of(sys.stdout)
    try:
        end_on_signals()
        with AirflowStack(
            home=options.home, dags=options.dags, python_path=[ROOT], say=lambda line: say(page, line)
        ) as stack:
            drive = Drive(stack, options, page)
            return drive.story() if options.story else drive.all_environments()
    except StackError as error:
        print(page.paint("The demo's Airflow failed.", "bad"), error, sep="\n", file=sys.stderr)
        return 1
    except AirflowApiError as error:
        print(page.paint("Airflow refused a request.", "bad"), error, sep="\n", file=sys.stderr)
        return 1
    except Ended as ended:
        print("\nInterrupted. Everything that was started has ended; run it again to go on from here.", file=sys.stderr)
        return 128 + ended.number


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.road", description=__doc__.splitlines()[0])
    add_stack_options(parser)
    parser.add_argument("--dag-id", default=DAG_ID, help="the management DAG (default: %(default)s)")
    parser.add_argument(
        "--source", default=str(ROOT / "example_packages" / "mypythonlib"), help="source tree of the package"
    )
    parser.add_argument("--package", default="mypythonlib", help="the package's name (default: %(default)s)")
    parser.add_argument("--version", default="1.0.0", help="the version to roll out (default: %(default)s)")
    parser.add_argument("--environments", required=True, type=_names, help="comma-separated names of environments")
    parser.add_argument(
        "--grant-access", action=argparse.BooleanOptionalAction, default=True, help="grant reader access"
    )
    parser.add_argument("--story", action="store_true", help="first show a run without access")
    parser.add_argument(
        "--set", action="append", default=[], type=_pair, metavar="KEY=VALUE", help="one more param of the run (text)"
    )
    return parser.parse_args(arguments)


def add_stack_options(parser: argparse.ArgumentParser) -> None:
    """The options that `demo.road` and `demo.up` share."""
    parser.add_argument(
        "--home", type=Path, default=Path(".demo/airflow"), help="Airflow's folder (default: %(default)s)"
    )
    parser.add_argument("--dags", type=Path, default=ROOT / "example_dags", help="folder of DAG files")


def say(page: words.Page, text: str, kind: str = "faint") -> None:
    """Print one line at once, also into a pipe."""
    print(page.paint(page.wrapped(text), kind), flush=True)


class Drive:
    """Runs the management DAG in a running stack, and judges how it went."""

    def __init__(self, stack: AirflowStack, options: argparse.Namespace, page: words.Page) -> None:
        self._stack = stack
        self._options = options
        self._page = page

    def all_environments(self) -> int:
        """One run for all environments; returns the exit status."""
        environments: list[str] = self._options.environments
        return self._judge(self._run(environments, grant_access=self._options.grant_access), environments)

    def story(self) -> int:
        """A run that must fail for lack of access, then the run that grants it; returns the exit status."""
        first: list[str] = self._options.environments[:1]
        place = words.last_part(first[0])
        self._title(f"1. Without access: {place} may not read the repository yet")
        road = self._run(first, grant_access=False)
        self._print_failures(road)
        if road.state == "success":
            self._bad(
                f"This run was to fail and did not: {place} can read the repository already, so there is no story to"
                " show. Start with an empty demo folder."
            )
            return 1
        if not any(READER in failure.error for failure in road.failures):
            self._bad(f"This run failed, but not because {place} lacks {READER}: no error names that role.")
            return 1
        self._print(
            "That is the point of this story: to pip, a repository that may not be read looks like one without the"
            " package; the task's error names the cause and what to grant, and to whom."
        )
        self._title("2. With access: the same DAG makes the grant, and installs")
        return self._judge(self._run(self._options.environments, grant_access=True), self._options.environments)

    def _run(self, environments: list[str], *, grant_access: bool) -> Road:
        options = self._options
        dag_id = options.dag_id
        self._stack.wait_for_dag(dag_id)
        client = self._stack.client
        for run_id in client.unfinished_runs(dag_id):
            # Left by a demo that was interrupted. It would go on beside ours, in the same environments.
            say(self._page, f"ending the interrupted run {run_id}")
            client.fail_run(dag_id, run_id)
        conf: dict[str, Any] = {
            "source": _source(options.source),
            "requirement": f"{options.package}=={options.version}",
            "environments": environments,
            "grant_access": grant_access,
            "approval": "none",  # nobody is there to be asked
            **dict(options.set),
        }
        run_id = client.trigger(dag_id, conf)
        say(self._page, f"started {dag_id}, run {run_id}")
        follower = Follower(client, page=self._page, say=lambda line: print(line, flush=True), check=self._stack.check)
        return follower.follow(dag_id, run_id)

    def _judge(self, road: Road, environments: Sequence[str]) -> int:
        """Print the table and the last sentence; returns the exit status."""
        self._print_failures(road)
        if road.report:
            print(f"\n{words.table(road.report, self._page)}", flush=True)
        computed = [row for row in road.report if words.has_distance(row)]
        if road.state != "success":
            self._bad(f"The run ended as {road.state}.")
            return 1
        if len(computed) < max(len(environments), len(road.report), 1):
            self._bad(f"Only {len(computed)} of {len(environments)} environments computed a distance.")
            return 1
        self._print(words.conclusion(road.results), "good")
        return 0

    def _print_failures(self, road: Road) -> None:
        for failure in road.failures:
            print(f"\n{self._page.paint(self._page.wrapped(failure.name + ' failed:'), 'bad')}")
            print(self._page.wrapped(failure.error, first="    "))
            for file in failure.logs:
                print(self._page.paint(f"    The whole log: {file}", "faint"), flush=True)

    def _print(self, text: str, kind: str = "") -> None:
        print("\n" + self._page.paint(self._page.wrapped(text), kind), flush=True)

    def _title(self, text: str) -> None:
        self._print(text, "strong")

    def _bad(self, text: str) -> None:
        self._print(text, "bad")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("name at least one environment")
    if twice := {name for name in names if names.count(name) > 1}:
        raise argparse.ArgumentTypeError(f"named twice: {', '.join(sorted(twice))}")
    return names


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"not KEY=VALUE: {text!r}")
    return key, value


def _source(text: str) -> str:
    """A local path as an absolute one: a task's working directory is not ours. A URI stays."""
    return text if "://" in text else str(Path(text).resolve())


if __name__ == "__main__":
    sys.exit(main())
