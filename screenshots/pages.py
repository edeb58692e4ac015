"""Airflow's web UI (3.3) as a person uses it: log in, fill the form, look at the graph, answer, read a log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from playwright.sync_api import FloatRect, Locator, Page

    from demo.airflow_stack import AirflowStack

EXPECT = 180_000
"""Milliseconds, for what is expected of a page."""


class Visit:
    """One user's tab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    @classmethod
    def of(cls, page: Page, stack: AirflowStack, user: str) -> Visit:
        """Log in through the form."""
        page.goto(f"{stack.url}/")
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(stack.passwords[user])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Welcome")).to_be_visible(timeout=EXPECT)
        return cls(page, stack.url)

    def form(self, dag_id: str) -> Form:
        """Open a DAG's trigger form."""
        self.page.goto(f"{self.url}/dags/{quote(dag_id)}")
        self.page.get_by_role("button", name="Trigger Dag").click()
        form = Form(self.page.get_by_role("dialog"))
        expect(form.trigger).to_be_visible(timeout=EXPECT)
        return form

    def run(self, dag_id: str, run_id: str) -> None:
        """The page of a run."""
        self.page.goto(f"{self.url}/dags/{quote(dag_id)}/runs/{quote(run_id)}")
        expect(self.page.get_by_role("button", name="Show Graph")).to_be_visible(timeout=EXPECT)

    def graph(self, dag_id: str, run_id: str, *groups: str) -> Locator:
        """The graph of a run with its groups opened: those that are named, the outer ones first, or all."""
        self.run(dag_id, run_id)
        self.page.get_by_role("button", name="Show Graph").click()
        graph = self.page.locator(".react-flow")
        expect(graph.locator(".react-flow__node").first).to_be_visible(timeout=EXPECT)
        for group in groups:
            node = graph.get_by_test_id(f"rf__node-{group}")
            node.get_by_role("button", name="+ ").click()
            expect(node.get_by_role("button", name="- ")).to_be_visible(timeout=EXPECT)
        if not groups:
            everything = self.page.get_by_role("button", name="Expand all task groups")
            everything.click()
            expect(everything).to_be_disabled(timeout=EXPECT)
        return graph

    def state(self, graph: Locator, task_id: str) -> str:
        """The state that the graph shows of a task; empty for none."""
        badge = graph.get_by_test_id(f"rf__node-{task_id}").get_by_test_id("state-badge")
        expect(badge).to_be_visible(timeout=EXPECT)
        return badge.inner_text().strip()

    def task(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, tab: str = "") -> None:
        """The page of a task of a run; `tab` is the last part of its URL, nothing is the log."""
        mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
        path = f"/dags/{quote(dag_id)}/runs/{quote(run_id)}/tasks/{quote(task_id)}{mapped}"
        self.page.goto(f"{self.url}{path}" + (f"/{tab}" if tab else ""))

    def log(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> Locator:
        """The log of a task, as it is shown."""
        self.task(dag_id, run_id, task_id, map_index=map_index)
        return self.page.get_by_test_id("virtualized-list")

    def around(self, element: Locator) -> FloatRect:
        """Where an element is on the page, with a margin, for a picture."""
        box, size = element.bounding_box(), self.page.viewport_size
        if box is None or size is None:
            raise ValueError("the page does not show what the picture is of")
        left, top = max(box["x"] - 8, 0), max(box["y"] - 8, 0)
        right = min(box["x"] + box["width"] + 8, size["width"])
        bottom = min(box["y"] + box["height"] + 8, size["height"])
        return {"x": left, "y": top, "width": right - left, "height": bottom - top}

    def panel(self, last: Locator, *, below: float = 20) -> FloatRect:
        """Where the details of a task are on the page, for a picture: from their head down to below an element."""
        fold = self.page.get_by_role("button", name="Collapse Details Panel")
        border = self.page.get_by_role("separator").filter(has=fold).bounding_box()
        low, size = last.bounding_box(), self.page.viewport_size
        if border is None or low is None or size is None:
            raise ValueError("the page does not show what the picture is of")
        left, top = border["x"] + border["width"] + 13, 64.0
        bottom = min(low["y"] + low["height"] + below, size["height"])
        return {"x": left, "y": top, "width": size["width"] - left, "height": bottom - top}

    def required_action(self, task_id: str) -> Question:
        """From the first page to the question of a task, by clicks."""
        self.page.goto(f"{self.url}/")
        self.page.get_by_role("button", name="Required Action").click()
        drawer = self.page.get_by_role("dialog", name="Required Actions")
        # By its address: what is shown is the task's display name.
        drawer.locator(f"a[href$='/tasks/{quote(task_id)}/required_actions']").first.click()
        expect(drawer).to_be_hidden(timeout=EXPECT)  # it has the same buttons
        self.page.wait_for_url("**/required_actions")
        return Question(self.page)


class Form:
    """The trigger form."""

    def __init__(self, dialog: Locator) -> None:
        self.dialog = dialog
        self.trigger = dialog.get_by_role("contentinfo").get_by_role("button", name="Trigger")

    def field(self, name: str) -> Locator:
        """The field of a param; the part of the form that it is in is opened."""
        page = self.dialog.page
        control = page.locator(f"[name='element_{name}'], [id='element_{name}']")
        opener = self.dialog.locator("[data-part=item]").filter(has=control).locator("[data-part=item-trigger]")
        expect(opener).to_have_count(1, timeout=EXPECT)
        if opener.get_attribute("aria-expanded") != "true":
            opener.click()
        field = self.dialog.get_by_role("group").filter(has=control)
        expect(field).to_be_visible(timeout=EXPECT)
        return field

    def write(self, name: str, text: str) -> None:
        """Type into a text field."""
        self.field(name).locator(f"[id='element_{name}']").fill(text)

    def switch(self, name: str, on: bool) -> None:
        """Turn a switch."""
        field = self.field(name)
        box = field.get_by_role("checkbox")
        if box.is_checked() != on:
            field.locator("[data-part=control]").click()
        expect(box).to_be_checked(checked=on)

    def choose(self, name: str, value: str) -> None:
        """Choose one of a list."""
        field = self.field(name)
        field.get_by_role("combobox").click()
        self.dialog.page.get_by_role("option", name=value, exact=True).click()
        expect(field).to_contain_text(value)

    def write_json(self, changes: Mapping[str, object]) -> None:
        """Change what the form will send, in its JSON editor."""
        opener = self.dialog.get_by_role("button", name="Advanced Options")
        if opener.get_attribute("aria-expanded") != "true":
            opener.click()
        editor = self.dialog.get_by_role("textbox", name="Editor content")
        editor.focus()
        page = self.dialog.page
        page.keyboard.press("ControlOrMeta+A")
        page.keyboard.insert_text(json.dumps(changes))
        # The editor closes brackets and quotes that it believes to be open.
        page.keyboard.press("ControlOrMeta+Shift+End")
        page.keyboard.press("Delete")

    def choose_many(self, name: str, values: Sequence[str]) -> None:
        """Choose exactly these of a list."""
        field = self.field(name)
        while (chosen := field.get_by_label("Remove ")).count():
            chosen.first.click()
        for value in values:
            field.get_by_role("combobox").fill(value)
            self.dialog.page.get_by_role("option", name=value, exact=True).click()
            expect(field.get_by_label(f"Remove {value}")).to_be_visible()


class Question:
    """The page on which a person answers a task."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.approve = page.get_by_role("button", name="Approve", exact=True)
        self.reject = page.get_by_role("button", name="Reject", exact=True)
        expect(self.approve).to_be_visible(timeout=EXPECT)
        # What holds the buttons holds the text, too.
        self.body = page.locator("div").filter(has=self.approve).filter(has=page.locator("table")).last

    def text(self) -> str:
        """All that is shown."""
        return self.body.inner_text()

    def rows(self) -> list[list[str]]:
        """The cells of all tables."""
        return [row.locator("td").all_inner_texts() for row in self.body.locator("tbody tr").all()]
