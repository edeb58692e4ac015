"""``python -m screenshots.take``: the pictures of the guides, of a real run in a real browser. See `make pictures`.

It runs inside the sandbox, as the demo does. A package is published and rolled out twice: first to dev without access
to the repository, which fails and is explained; then with access to dev, staging and prod, where somebody is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google.auth
from playwright.sync_api import expect

from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.build import build
from demo.airflow_stack import AirflowStack
from screenshots.browser import chromium, visitor
from screenshots.pages import EXPECT, Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from playwright.sync_api import Browser, FloatRect

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
DAG_ID = "publish_and_roll_out"
DAG_FILES = (f"{DAG_ID}.py", "haversine_distance.py", "fleet.yaml")
BUILDS = "gs://acme-packages-builds/wheels"
USERS = {"requester": "user", "approver": "user"}
LIMIT = 300_000
"""Bytes of a picture."""
SCALE = 1.5
OPERATION = 900.0
"""Seconds that an update lasts while the graph is taken: a real one lasts that long."""
PATIENCE = 900.0
SETTLED = """node => new Promise(done => {  // when it is where it was a moment ago
    const place = () => JSON.stringify(node.getBoundingClientRect());
    const look = before => setTimeout(() => place() === before ? done() : look(place()), 500);
    look(place());
})"""
SCROLL = """line => new Promise(done => {
    const scroll = () => line.scrollIntoView({block: 'start'});
    scroll();
    setTimeout(() => { scroll(); done(); }, 2000);  // what was not shown before has another height now
})"""
LOST = ("failed", "upstream_failed", "skipped", "removed")
"""States of a task that will not come to what is waited for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Take all pictures; returns 0, or raises what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m screenshots.take", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="a folder for Airflow; it is made anew")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="where they go (default: docs/pictures)")
    options = parser.parse_args(arguments)
    shutil.rmtree(options.home, ignore_errors=True)
    options.pictures.mkdir(parents=True, exist_ok=True)
    # Copies: beside them there is no checkout, as in Composer, and so no path of this machine in the form.
    dags = options.home / "dag-files"
    dags.mkdir(parents=True)
    for name in DAG_FILES:
        shutil.copy(ROOT / "example_dags" / name, dags)
    cloud = Cloud(Session(google.auth.default()[0]))
    build(cloud.storage, str(ROOT / "example_packages" / "mypythonlib"), BUILDS)  # what CI does
    with (
        AirflowStack(
            home=options.home / "airflow", dags=dags, python_path=[ROOT], parallelism=4, users=USERS, say=_say
        ) as stack,
        chromium() as browser,
    ):
        stack.wait_for_dag(DAG_ID)
        Camera(stack, browser, options.pictures).all()
    return 0


class Camera:
    """Does what the people in the pictures do, and takes the pictures."""

    def __init__(self, stack: AirflowStack, browser: Browser, folder: Path) -> None:
        self._stack = stack
        self._browser = browser
        self._folder = folder
        self._heavy: list[str] = []

    def all(self) -> None:
        """Every picture, in the order of the story."""
        run_id = self._trigger(environments=["dev"], grant_access=False)
        self._wait(run_id, "roll_out.dev.environment", "failed")
        self.failed_install(run_id)
        self._wait_for_end(run_id)
        run_id = self.form()
        self._wait(run_id, "roll_out.dev.environment", "success")
        _set_time(operation_seconds=OPERATION)
        self._wait(run_id, "roll_out.staging.environment", "deferred")
        self.graph(run_id)
        # The clock is put forward, so that nobody waits for the update's end.
        _set_time(virtual=True)
        _set_time(advance=OPERATION)
        _set_time(virtual=False, operation_seconds=0)
        self._stack.wait_for_question(DAG_ID, run_id, "roll_out.prod.approval", PATIENCE)
        self.approval(run_id)
        self._wait(run_id, "roll_out.report", "success")
        self.report(run_id)
        if self._heavy:
            raise RuntimeError(f"more than {LIMIT} bytes: {', '.join(self._heavy)}")

    def failed_install(self, run_id: str) -> None:
        """The log of a task that failed for lack of access."""
        # Not higher: the last lines of the log would pull some of the traceback into the picture.
        visit = self._visit("requester", 1440, 840)
        log = visit.log(DAG_ID, run_id, "roll_out.dev.environment", map_index=0)
        # The explanation, and not the lines of the traceback that stand above and below it.
        cause = log.get_by_text("InstallFailedError:").last
        expect(cause).to_be_attached(timeout=EXPECT)
        visit.page.keyboard.press("w")  # lines are wrapped
        cause.evaluate(SCROLL)
        last = log.get_by_text("The environment keeps running").last
        expect(last).to_be_in_viewport(timeout=EXPECT)
        self._take(visit, "failed-install", visit.panel(last, below=2))

    def form(self) -> str:
        """The form, filled in; returns the id of the run that it starts."""
        visit = self._visit("requester", 1300, 1500)
        form = visit.form(DAG_ID)
        form.write("requirement", "mypythonlib==1.0.0")
        form.choose("approval", "Before prod")
        form.choose_many("environments", ["dev", "staging", "prod"])
        visit.page.mouse.move(0, 0)
        self._take(visit, "form", form.dialog.bounding_box(), keep=True)
        before = self._runs()
        form.trigger.click()
        return self._new_run(before)

    def graph(self, run_id: str) -> None:
        """Dev is done, staging is under way, prod has not begun."""
        visit = self._visit("requester", 1500, 560)
        graph = visit.graph(DAG_ID, run_id, "roll_out")
        graph.get_by_role("link", name="roll_out", exact=True).click()
        visit.page.get_by_role("button", name="Collapse Details Panel").click()
        visit.page.get_by_role("button", name="Zoom to selected task").click()
        expect(graph.get_by_test_id("rf__node-roll_out.outcome")).to_be_in_viewport(ratio=0.9, timeout=EXPECT)
        group = graph.get_by_test_id("rf__node-roll_out")
        group.evaluate(SETTLED)
        for _ in range(2):
            visit.page.get_by_role("button", name="Zoom In").click()
            group.evaluate(SETTLED)
        visit.page.mouse.move(0, 0)
        # The buttons and the small map that lie over the graph.
        panels = graph.locator(".react-flow__panel")
        panels.evaluate_all("panels => panels.forEach(panel => { panel.style.visibility = 'hidden'; })")
        self._take(visit, "graph", visit.around(group))

    def approval(self, run_id: str) -> None:
        """The question before prod; then it is answered with yes."""
        visit = self._visit("approver", 1440, 1000)
        question = visit.required_action("roll_out.prod.approval")
        self._take(visit, "approval", visit.panel(question.reject), keep=True)
        question.approve.click()
        expect(question.approve).to_be_disabled(timeout=EXPECT)

    def report(self, run_id: str) -> None:
        """What the rollout came to."""
        visit = self._visit("requester", 1440, 900)
        log = visit.log(DAG_ID, run_id, "roll_out.report")
        expect(log).to_contain_text("installed", timeout=EXPECT)
        self._take(visit, "report", visit.panel(log.get_by_text("Post Execute")))

    def _visit(self, user: str, width: int, height: int) -> Visit:
        page = visitor(self._browser, scale=SCALE).new_page()
        page.set_viewport_size({"width": width, "height": height})
        return Visit.of(page, self._stack, user)

    def _take(self, visit: Visit, name: str, clip: FloatRect | None = None, *, keep: bool = False) -> None:
        file = self._folder / f"{name}.png"
        visit.page.screenshot(path=file, clip=clip, animations="disabled", caret="hide")
        size = file.stat().st_size
        _say(f"{file.name}: {size // 1000} kB" + (f", more than {LIMIT // 1000}" if size > LIMIT else ""))
        self._heavy += [name] if size > LIMIT else []
        if not keep:
            visit.page.context.close()

    def _trigger(self, **conf: Any) -> str:
        return self._stack.client_of("requester").trigger(DAG_ID, conf)

    def _runs(self) -> list[str]:
        return self._stack.client.unfinished_runs(DAG_ID)

    def _new_run(self, before: Sequence[str]) -> str:
        return str(_until("a new run", lambda: next((run for run in self._runs() if run not in before), None)))

    def _wait(self, run_id: str, task_id: str, wanted: str) -> None:
        def there() -> bool | None:
            self._stack.check()
            tasks = self._stack.client.task_instances(DAG_ID, run_id)
            state = next((task.state for task in tasks if task.task_id == task_id), None)
            if state in LOST and state != wanted:
                raise RuntimeError(f"{task_id} is {state}; " + str({task.task_id: task.state for task in tasks}))
            return state == wanted or None

        _until(f"{task_id} to be {wanted}", there)
        _say(f"{task_id}: {wanted}")

    def _wait_for_end(self, run_id: str) -> None:
        _until("the run's end", lambda: run_id not in self._runs() or None)


def _until(what: str, find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while (found := find()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(1)
    return found


def _set_time(**value: object) -> None:
    """Tell the sandbox, whose proxy this process runs behind, what time it is."""
    request = urllib.request.Request(  # noqa: S310 - our own http://127.0.0.1
        f"{os.environ['HTTP_PROXY']}/sandbox/time",
        data=json.dumps(value).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
        answer.read()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
