"""``python -m demo.up``: starts a local Airflow with its web UI, prints the URL and the login, and waits for Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from demo import words
from demo.airflow_client import AirflowApiError
from demo.airflow_stack import AirflowStack, StackError
from demo.ending import Ended, end_on_signals
from demo.road import DAG_ID, ROOT, add_stack_options, say

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, print, wait; returns 0 when it was ended by a signal, 1 when Airflow failed."""
    parser = argparse.ArgumentParser(prog="python -m demo.up", description=__doc__.splitlines()[0])
    add_stack_options(parser)
    parser.add_argument("--dag-id", default=DAG_ID, help="the DAG to make ready (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="the web UI's port on 127.0.0.1 (default: a free one)")
    options = parser.parse_args(arguments)
    page = words.Page.of(sys.stdout)
    try:
        end_on_signals()
        with AirflowStack(
            home=options.home,
            dags=options.dags,
            python_path=[ROOT],
            port=options.port,
            say=lambda line: say(page, line),
        ) as stack:
            stack.wait_for_dag(options.dag_id)
            print(f"\n{welcome(stack.url, stack.user, stack.password, options.dag_id, page)}\n", flush=True)
            while True:
                stack.check()
                time.sleep(1)
    except (StackError, AirflowApiError) as error:
        print(page.paint("The demo's Airflow failed.", "bad"), error, sep="\n", file=sys.stderr)
        return 1
    except Ended:
        print("\nStopped: everything that was started has ended. The state is kept for the next time.", flush=True)
        return 0


def welcome(url: str, user: str, password: str, dag_id: str, page: words.Page) -> str:
    """Where to go, how to get in, and what to do there."""
    return "\n".join(
        [
            page.paint(f"Airflow runs at {url}", "strong"),
            f"Log in as {user} with the password {password}",
            page.wrapped(
                f"Open the DAG {dag_id} ({url}/dags/{dag_id}), press Trigger, look through the form, and trigger it."
                " Then follow it in the grid; each task's log tells what it did."
            ),
            "Ctrl-C stops everything.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
