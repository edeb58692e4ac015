"""The management DAG as three people use it in Airflow's web UI: a requester, an approver, and a viewer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright comes with the newest Airflow's requirements only")

from playwright.sync_api import expect

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.fleet import Identity, Stage
from airflow_gar_provider.core.plan import Change, Item, Plan
from airflow_gar_provider.core.rollout import StageVerdict, Verdict
from airflow_gar_provider.steps.fleet_state import FleetState
from demo.airflow_client import AirflowApiError, AirflowClient
from screenshots.pages import EXPECT
from tests.browser.conftest import DAG_ID, ENVIRONMENTS, NAMES, REPOSITORY, declared
from tests.rollout.conftest import Run, World

if TYPE_CHECKING:
    from screenshots.pages import Visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE = 900.0  # it takes two minutes; the machine may have much else to do
FILLED = {"requirement": "mypythonlib==1.0.0", "environments": ["dev", "prod"], "approval": "prod"}
GOOGLE = "https://console.cloud.google.com/"  # links of our own
HOSTILE = (
    '<img src="x" onerror="window.stolen=1">',
    "<script>window.stolen=1</script>",
    "[click](javascript:window.stolen=1)",
    "[click](https://evil.example/a)",
    "![picture](https://evil.example/b.png)",
    "https://evil.example/c",
    "www.evil.example/d",
    "<https://evil.example/e>",
    "a` [click](https://evil.example/f) `b",
    "a | [click](https://evil.example/g) | b",
    "line\n\n# [click](https://evil.example/h)",
    "someone@evil.example",
    "{{ 6 * 7 }}",
)


def client(management: World) -> AirflowClient:
    assert management.stack is not None
    return management.stack.client


def runs(management: World) -> list[str]:
    """All runs of the management DAG, the newest first."""
    answer = client(management)._call("GET", f"dags/{DAG_ID}/dagRuns?order_by=-run_after&limit=50")
    return [run["dag_run_id"] for run in answer["dag_runs"]]


def new_run(management: World, before: list[str]) -> Run:
    """The run that was started meanwhile."""
    deadline = time.monotonic() + 60
    while not (new := [run for run in runs(management) if run not in before]):
        assert time.monotonic() < deadline, "no run was started"
        time.sleep(0.5)
    assert len(new) == 1
    return Run(management, DAG_ID, new[0])


def wait_for_question(run: Run, task_id: str) -> None:
    """Until somebody is asked."""
    run.world.stack.wait_for_question(run.dag_id, run.run_id, task_id, PATIENCE)


def started(management: World, requester: Visit, **filled: Any) -> Run:
    """Fill in the form as the requester, and press Trigger."""
    assert management.stack is not None
    management.stack.wait_for_dag(DAG_ID, PATIENCE)
    before = runs(management)
    form = requester.form(DAG_ID)
    form.write("wheels", "")
    form.write("requirement", filled["requirement"])
    form.choose_many("environments", filled["environments"])
    form.choose("approval", f"Before {filled['approval']}")
    form.trigger.click()
    expect(form.dialog).to_be_hidden(timeout=EXPECT)
    return new_run(management, before)


@pytest.fixture(scope="module")
def first(management: World, visit: Callable[[str], Visit]) -> Run:
    """A run that the requester has started with the form."""
    return started(management, visit("requester"), **FILLED)


@pytest.fixture(scope="module")
def asked(first: Run) -> Run:
    """The same, when dev is done and somebody is asked before prod."""
    wait_for_question(first, "roll_out.prod.approval")
    return first


@pytest.fixture(scope="module")
def approved(asked: Run, visit: Callable[[str], Visit]) -> Iterator[Run]:
    """The same, after the approver has found the question, and has pressed Approve."""
    question = visit("approver").required_action("roll_out.prod.approval")
    text = question.text()
    assert "Roll out to stage prod?" in text
    rows = question.rows()
    assert [row for row in rows if row[0] == "prod" and "mypythonlib absent → ==1.0.0" in " ".join(row)], rows
    assert [row for row in rows if row[0] == "dev" and "installed" in row], rows  # what the canary came to
    assert "dev: passed" in text
    question.approve.click()
    expect(question.approve).to_be_disabled(timeout=EXPECT)
    assert asked.wait(PATIENCE) == "success", asked.states()
    yield asked


def test_the_run_has_exactly_what_was_filled_in(management: World, first: Run) -> None:
    """Text stays text, the list is a list, what was emptied is null, and the rest is the form's defaults."""
    found = client(management)._call("GET", f"dags/{DAG_ID}/dagRuns/{first.run_id}")
    assert found["triggering_user_name"] == "requester"
    assert found["conf"] == {
        "source": None,
        "wheels": None,
        "strategy": "one",
        "grant_access": True,
        "dry_run": False,
        "approved_plan": None,
        **FILLED,
    }


def test_the_graph_shows_stages_and_states(asked: Run, visit: Callable[[str], Visit]) -> None:
    """While somebody is asked before prod: dev is done, prod is not begun."""
    graph = visit("viewer").graph(DAG_ID, asked.run_id)
    for name in NAMES:
        expect(graph.get_by_role("link", name=re.compile(rf"(^|\.){name}$")).first).to_be_attached(timeout=EXPECT)
    assert visit("viewer").state(graph, "roll_out.dev.verdict") == "success"
    assert visit("viewer").state(graph, "roll_out.prod.approval") == "awaiting_input"
    assert visit("viewer").state(graph, "roll_out.prod.verdict") == ""


def test_the_approver_reads_and_approves(management: World, approved: Run) -> None:
    """The rollout went on, and its report says who approved."""
    assert declared(management) == {"dev": "==1.0.0", "staging": None, "prod": "==1.0.0"}
    [approval] = approved.report()["approvals"]
    assert (approval["stage"], approval["outcome"], approval["by"]) == ("prod", "approved", "approver")


def test_the_report_is_readable(approved: Run, visit: Callable[[str], Visit]) -> None:
    """The log of the report shows a line for each environment below a line with the names of its columns."""
    log = visit("viewer").log(DAG_ID, approved.run_id, "roll_out.report")
    expect(log).to_contain_text("installed", timeout=EXPECT)
    lines = log.inner_text().splitlines()
    [head] = [line for line in lines if "environment" in line and "outcome" in line]
    column = head.index("outcome")
    for name in FILLED["environments"]:
        [line] = [line for line in lines if re.search(rf"\b{name}\b.*\binstalled\b", line)]
        assert line.index("installed") == column, (head, line)


def test_the_approver_rejects(management: World, approved: Run, visit: Callable[[str], Visit]) -> None:
    """The run is failed, prod was not touched, and what was done in dev is undone, as the DAG wants it."""
    run = started(management, visit("requester"), **{**FILLED, "requirement": "mypythonlib==1.1.0"})
    wait_for_question(run, "roll_out.prod.approval")
    before = management.cloud.composer.get_environment(EnvironmentName.parse(ENVIRONMENTS[2]))
    question = visit("approver").required_action("roll_out.prod.approval")
    question.reject.click()
    expect(question.reject).to_be_disabled(timeout=EXPECT)
    assert run.wait(PATIENCE) == "failed", run.states()
    assert management.cloud.composer.get_environment(EnvironmentName.parse(ENVIRONMENTS[2])) == before
    assert declared(management) == {"dev": "==1.0.0", "staging": None, "prod": "==1.0.0"}
    assert run.outcomes() == {"dev": "rolled_back", "prod": "not_reached"}
    visit("viewer").run(DAG_ID, run.run_id)
    expect(visit("viewer").page.get_by_text("Failed", exact=True).first).to_be_visible(timeout=EXPECT)


def test_a_viewer_may_not_trigger(management: World, visit: Callable[[str], Visit]) -> None:
    """Airflow shows the form to viewers, too; pressing Trigger says that it is forbidden, and starts nothing."""
    assert management.stack is not None
    management.stack.wait_for_dag(DAG_ID, PATIENCE)
    before = runs(management)
    viewer = visit("viewer")
    form = viewer.form(DAG_ID)
    with viewer.page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        form.trigger.click()
    assert posted.value.status == 403
    expect(viewer.page.get_by_text("Forbidden").first).to_be_visible(timeout=EXPECT)
    with pytest.raises(AirflowApiError, match="403"):
        management.stack.client_of("viewer").trigger(DAG_ID, FILLED)
    assert runs(management) == before


def test_an_environment_off_the_list_cannot_be_submitted(management: World, visit: Callable[[str], Visit]) -> None:
    """The list offers no other name, and other names in the form's JSON are refused."""
    assert management.stack is not None
    management.stack.wait_for_dag(DAG_ID, PATIENCE)
    before = runs(management)
    requester = visit("requester")
    form = requester.form(DAG_ID)
    form.field("environments").get_by_role("combobox").fill("nowhere")
    expect(requester.page.get_by_role("option")).to_have_count(0)
    form.write_json({"environments": ["nowhere"]})
    with requester.page.expect_response(lambda answer: answer.request.method == "POST") as posted:
        form.trigger.click()
    assert json.loads(posted.value.request.post_data or "")["conf"]["environments"] == ["nowhere"]
    assert posted.value.status == 400
    expect(requester.page.get_by_text("'nowhere' is not one of").first).to_be_visible(timeout=EXPECT)
    assert runs(management) == before


def test_foreign_text_in_an_approval_is_dead(management: World, visit: Callable[[str], Visit]) -> None:
    """Whatever packages, pip or DAG names say: it is shown as text, nothing of it can be clicked, no script runs."""
    assert management.stack is not None
    management.stack.wait_for_dag("foreign_text", PATIENCE)
    run_id = "hostile"
    keep_hostile_plan(
        FleetState(management.cloud.storage, "gs://acme-packages-builds/foreign-text", f"foreign_text/{run_id}")
    )
    client(management)._call("POST", "dags/foreign_text/dagRuns", {"dag_run_id": run_id, "logical_date": None})
    run = Run(management, "foreign_text", run_id)
    wait_for_question(run, "question")
    approver = visit("approver")
    outside: list[str] = []
    approver.page.on("request", lambda request: outside.append(request.url) if "evil" in request.url else None)
    question = approver.required_action("question")
    text = question.text()
    for hostile in HOSTILE:
        shown = " ".join(hostile.replace("`", "'").split())
        assert text.count(shown) >= 4, hostile
    links = approver.page.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert [link for link in links if not link.startswith((question.page.url.split("/dags/")[0], GOOGLE))] == []
    nothing_ran(approver)
    # The log has the same text. Airflow links every URL of a log, so its links are not looked at.
    expect(approver.log("foreign_text", run_id, "question")).to_contain_text(HOSTILE[0], timeout=EXPECT)
    nothing_ran(approver)
    assert outside == []


def nothing_ran(visit: Visit) -> None:
    """No script of the hostile texts has run, and there is no element of theirs."""
    assert visit.page.evaluate("window.stolen") is None
    assert visit.page.locator("img[src*=evil], img[onerror], [href^=javascript]").count() == 0


def keep_hostile_plan(state: FleetState) -> None:
    """A plan, verdicts and a stage's verdict in which every text that others write is hostile."""
    dev, prod = (EnvironmentName.parse(ENVIRONMENTS[index]) for index in (0, 2))
    changes = tuple(Change(text, "change", text, text) for text in HOSTILE)
    blocked = tuple(Change(text, "blocked", None, None, text) for text in HOSTILE)
    items = (
        Item(dev, "dev", "change", None, changes, True, (), Identity(), "x"),
        Item(prod, "prod", "change", HOSTILE[0], changes + blocked, True, HOSTILE, Identity(), "x"),
    )
    stages = (Stage("dev", max_failures=9), Stage("prod"))
    state.write_plan(Plan("hostile", "2026-11-23T00:00:00Z", REPOSITORY, "one", stages, items, {}))
    packages = tuple({"package": text, "before": text, "after": text} for text in HOSTILE)
    why = " ".join(HOSTILE)
    state.put_verdict(Verdict(str(dev), "dev", "failed", why, why, packages, 3.0, "javascript:window.stolen=1"))
    state.judge(StageVerdict("dev", True, why))
