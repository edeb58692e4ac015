"""The soak's checker finds what it is there to find: a violation of each kind is planted in a history that has none."""

from __future__ import annotations

import ast
import base64
import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proof.checker import check
from proof.checker_rules import RULES

ROOT = Path(__file__).parents[2]
PATCH = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"
FILE, CONTENT = "acme_lib-1.0-py3-none-any.whl", b"wheel"
SHA = hashlib.sha256(CONTENT)
TOOL = {"public-tool": "==3.0"}
LIB = {**TOOL, "acme-lib": "==1.0"}
FOREIGN = "# theirs\n[global]\ntimeout = 45\n"
ACCOUNT = "reader-e00@w-packages.iam.gserviceaccount.com"
HOST = "https://europe-west1-python.pkg.dev/w-packages/python/simple/"


def key_line(key: str) -> str:
    """A line of pip.conf that holds a key file."""
    encoded = base64.b64encode(json.dumps({"private_key_id": key}).encode()).decode()
    return f"index-url = {HOST.replace('://', f'://_json_key_base64:{encoded}@')}\n"


def at(second: int) -> str:
    """A moment."""
    return f"2026-11-22T12:00:{second:02d}Z"


def environment(name: str) -> str:
    """A resource name."""
    return f"projects/w-data/locations/europe-west1/environments/{name}"


def operation(name: str, where: str, begun: int, ended: int, packages: dict[str, str]) -> dict[str, Any]:
    """An update that succeeded."""
    found = {"name": name, "environment": where, "kind": "UPDATE", "state": "SUCCEEDED", "error": ""}
    return {**found, "created": at(begun), "ended": at(ended), "packages": packages, "variables": {}}


def task(result: object = None, state: str = "success", error: str = "", message: str = "") -> dict[str, Any]:
    """How a task ended."""
    return {"state": state, "tries": 1, "result": result, "error": error, "message": message}


def verdict(name: str) -> dict[str, Any]:
    """Of an environment that got acme-lib."""
    packages = [{"package": "acme-lib", "before": None, "after": "1.0"}]
    return {"environment": environment(name), "outcome": "installed", "why": None, "packages": packages}


def record(run: str, begun: str) -> str:
    """A run record of an install that went well."""
    value = {"run": f"{run}/manual/install", "before": TOOL, "operation": begun, "outcome": "installed"}
    return json.dumps({**value, "sending": False, "phase": "done"})


def fine() -> dict[str, Any]:
    """A history without a violation: an install, a rollout to two environments, a pip.conf, a key; others' acts."""
    actors = ["run0000/install", "run0001/roll_out.prod.environment[0]", "run0001/roll_out.prod.environment[1]"]
    steps: list[dict[str, Any]] = [
        {"actor": "others", "act": {"kind": "publish", "file": FILE, "sha256": SHA.hexdigest(), "accepted": True}},
        {"actor": actors[0], "calls": [0, 1], "released": None, "end": "held"},
        {
            "actor": "others",
            "act": {
                "kind": "pip.conf",
                "environment": "e00",
                "blind": False,
                "accepted": True,
                "content": FOREIGN + "retries = 9\n",
                "generation": "2",
            },
        },
        {"actor": actors[0], "calls": [1, 1], "released": 0, "end": "ended"},
        {"actor": actors[1], "calls": [1, 2], "released": None, "end": "held"},
        {"actor": "time"},
        {"actor": actors[2], "calls": [2, 3], "released": None, "end": "ended"},
        {"actor": actors[1], "calls": [3, 3], "released": None, "end": "ended"},
        {
            "actor": "others",
            "act": {
                "kind": "packages",
                "environment": "e03",
                "wanted": {"numbers": "==2.0"},
                "accepted": True,
                "operation": "o4",
            },
        },
        {
            "actor": "others",
            "act": {
                "kind": "variables",
                "environment": "e03",
                "wanted": {"MODE": "a"},
                "accepted": True,
                "operation": "o5",
            },
        },
        {"actor": "run0002/point", "calls": [3, 3], "released": None, "end": "ended"},
        {"actor": "time"},
    ]
    steps = [{"now": at(number * 3), **step} for number, step in enumerate(steps)]
    wheres = ["e00", "e01", "e02"]
    pointed = FOREIGN + "retries = 9\n" + key_line("k1")
    confs = [
        {"step": -1, "generation": "1", "content": FOREIGN},
        {"step": 2, "generation": "2", "content": FOREIGN + "retries = 9\n"},
        {"step": 10, "generation": "3", "content": pointed},
    ]
    names = ("e00", "e01", "e02", "e03")
    installed = {"outcome": "installed", "packages": [], "operation": "o1", "environment": environment("e00")}
    plain = {"history": [], "begun": 1, "ended": 11}
    book = json.dumps({"made": ["k1", "k2"], "making": None})
    variables = operation("o5", "e03", 29, 30, {**TOOL, "numbers": "==2.0"})
    return {
        "prefix": "w",
        "first_call": 0,
        "bugs": [],
        "calls": [
            {"method": PATCH, "principal": "tasks", "resource": environment(where), "status": 200} for where in wheres
        ],
        "steps": steps,
        "tries": [
            {"run": "run0000", "task": "install", "from": 1, "to": 3},
            {"run": "run0002", "task": "point", "from": 10, "to": 10},
            {"run": "run0003", "task": "prune", "from": 10, "to": 11},
        ],
        "runs": {
            "run0000": {
                **plain,
                "kind": "install",
                "pins": {"acme-lib": "1.0"},
                "absent": ["acme-geo"],
                "tasks": {"install": task(installed)},
            },
            "run0001": {
                **plain,
                "kind": "rollout",
                "fleet": "north",
                "pins": {"acme-lib": "1.0"},
                "places": {"prod": 1},
                "tasks": {"roll_out.plan": task(), "roll_out.report": task()},
            },
            "run0002": {
                **plain,
                "kind": "pip_conf",
                "form": "index",
                "environments": ["e00"],
                "tasks": {"point": task()},
            },
            "run0003": {**plain, "kind": "prune", "package": "acme-geo", "keep_last": 1, "tasks": {"prune": task()}},
        },
        "operations": [
            operation("o1", "e00", 9, 9, LIB),
            operation("o2", "e01", 12, 15, LIB),
            operation("o3", "e02", 18, 21, LIB),
            operation("o4", "e03", 24, 27, {**TOOL, "numbers": "==2.0"}),
            {**variables, "variables": {"MODE": "a"}},
        ],
        "pip_confs": {"e00": confs, **dict.fromkeys(names[1:], confs[:1])},
        "start": {
            "environments": {name: {"state": "RUNNING", "packages": TOOL} for name in names},
            "variables": {},
            "operations": [],
            "files": {},
        },
        "state": {
            "environments": {
                **{name: {"state": "RUNNING", "packages": LIB} for name in wheres},
                "e03": {"state": "RUNNING", "packages": {**TOOL, "numbers": "==2.0"}},
            },
            "variables": {"e03": {"MODE": "a"}},
            "files": {FILE: [base64.b64encode(SHA.digest()).decode()]},
            "keys": {ACCOUNT: [{"id": "k1", "disabled": False}, {"id": "k2", "disabled": True}]},
            "objects": {
                "e00": {
                    "config/pip/pip.conf": pointed,
                    "data/gar/runs/a.json": record("run0000", "o1"),
                    f"data/gar/keys/{ACCOUNT}.json": book,
                },
                "e01": {"config/pip/pip.conf": FOREIGN, "data/gar/runs/b.json": record("run0001", "o2")},
                "e02": {"config/pip/pip.conf": FOREIGN},
                "e03": {"config/pip/pip.conf": FOREIGN},
                "state": {"north/ledger/run0001-x.json": json.dumps({"environments": [verdict("e01")]})},
            },
        },
    }


def put(*path: Any, value: object) -> Callable[[dict[str, Any]], None]:
    """Something else at a place of the history."""

    def plant(history: dict[str, Any]) -> None:
        for key in path[:-1]:
            history = history[key]
        history[path[-1]] = value

    return plant


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Nothing at a place of the history."""

    def plant(history: dict[str, Any]) -> None:
        for key in path[:-1]:
            history = history[key]
        del history[path[-1]]

    return plant


def both(*plants: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Several."""

    def plant(history: dict[str, Any]) -> None:
        for one in plants:
            one(history)

    return plant


def again(state: str, error: str) -> Callable[[dict[str, Any]], None]:
    """The install's update, once more, before it."""

    def plant(history: dict[str, Any]) -> None:
        history["calls"].append(history["calls"][0])
        history["steps"][3]["calls"] = [3, 4]
        one = {**history["operations"][0], "state": state, "error": error, "name": "o0", "created": at(1)}
        history["operations"].insert(0, {**one, "ended": at(2)})
        history["operations"][1] = {**history["operations"][1], "state": state, "error": error}
        history["state"]["environments"]["e00"]["packages"] = TOOL if state == "FAILED" else LIB

    return plant


UNTYPED = [["install", {**task(None, "failed", "Untyped KeyError", "'x'"), "tries": 1}]]
SILENT = [["install", task(None, "failed", "", "")]]
OBJECTS = ("state", "objects")
BEFORE_WRONG = json.dumps({**json.loads(record("run0000", "o1")), "before": {}})
OTHERS_OPERATION = record("run0000", "o4")
LEDGER = (*OBJECTS, "state", "north/ledger/run0001-x.json")
PLANTED: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("installed", put("runs", "run0000", "pins", value={"acme-lib": "1.1"}), "never declared"),
    ("installed", put("runs", "run0000", "absent", value=["public-tool"]), "never declared"),
    ("installed", put("operations", 0, "state", value="FAILED"), "names o1, which failed"),
    (
        "owned",
        put("operations", 0, "packages", value={"acme-lib": "==1.0"}),
        "changed public-tool of e00, which it was",
    ),
    (
        "owned",
        put("operations", 0, "packages", value={**TOOL, "acme-lib": "==9"}),
        "which nobody wished and which never",
    ),
    ("owned", put("calls", 0, "status", value=400), "o1 of e00 was begun by no call"),
    (
        "owned",
        drop("operations", 1),
        "an update of e01 by run0001/roll_out.prod.environment[0] was accepted and has no",
    ),
    ("kept", put("operations", 3, "packages", value=TOOL), "the update of others in step 8 came out otherwise"),
    ("kept", put("state", "environments", "e03", "packages", value=TOOL), "and the last update left"),
    ("kept", put("state", "environments", "e03", "state", value="ERROR"), "e03 is ERROR"),
    ("kept", put("state", "variables", value={}), "the variables of e03 are None, set was {'MODE': 'a'}"),
    ("pip_conf", put("pip_confs", "e00", 2, "content", value="[global]\n"), "our write of e00's pip.conf changed"),
    ("pip_conf", put(*OBJECTS, "e01", "config/pip/pip.conf", value=""), "at the end is not the one"),
    ("pip_conf", put("pip_confs", "e00", 1, "content", value=FOREIGN), "of generation 2 is not what was written"),
    ("pointed", put("runs", "run0002", "environments", value=["e01"]), "says that e01's pip.conf is as wished (index)"),
    ("pointed", put("runs", "run0002", "form", value="extra_index"), "as wished (extra_index), and it never was"),
    ("doubled", again("SUCCEEDED", ""), "updated e00 without a change"),
    ("doubled", again("FAILED", "ERROR: Could not find a version"), "repeated an update of e00 that can only fail"),
    ("registry", put("state", "files", FILE, value=["AAAA"]), "has other content than was asked for"),
    ("registry", put("state", "files", "x-1-py3-none-any.whl", value=["AAAA"]), "was published, and nobody was asked"),
    ("registry", drop("state", "files", FILE), "is gone, and nobody was asked to delete it"),
    (
        "registry",
        both(drop("state", "files", FILE), put("runs", "run0003", "package", value="acme-lib")),
        "was pruned, and an environment pinned it all the time",
    ),
    (
        "registry",
        both(drop("state", "files", FILE), put("runs", "run0003", "package", value="acme-lib")),
        "has 0 versions left, the newest 1 were to stay",
    ),
    ("ledger", drop(*LEDGER), "run0001 has 0 ledgers"),
    ("ledger", put(*LEDGER, value=json.dumps({"environments": [verdict("e03")]})), "and was not updated"),
    ("ledger", put("runs", "run0001", "pins", value={"acme-lib": "1.1"}), "acme-lib 1.0, wished was 1.1"),
    ("ledger", put("start", "environments", "e01", "packages", value=LIB), "had acme-lib None, it had ['1.0']"),
    ("places", put("operations", 1, "ended", value=at(20)), "['e01', 'e02'] of prod were updated at a time, allowed"),
    ("records", put(*OBJECTS, "e00", "data/gar/runs/a.json", value=BEFORE_WRONG), "record says before was {}"),
    ("records", put(*OBJECTS, "e00", "data/gar/runs/a.json", value=OTHERS_OPERATION), "claims o4, which was begun by"),
    ("records", put(*OBJECTS, "e00", "data/gar/runs/a.json", value=record("run7", "o1")), "that was not asked for"),
    ("typed", put("runs", "run0000", "history", value=UNTYPED), "run0000/install, try 1: Untyped KeyError: 'x'"),
    ("typed", put("runs", "run0000", "history", value=SILENT), "failed without a cause"),
    ("typed", put("runs", "run0000", "tasks", "install", "state", value="up_for_retry"), "was not brought to an end"),
    (
        "keys",
        put("state", "keys", ACCOUNT, 1, value={"id": "k9", "disabled": False}),
        "keys that work and that nobody names: ['k9']",
    ),
    ("keys", put("state", "keys", ACCOUNT, 1, "id", value="k9"), "that nobody names than tries died: ['k9']"),
    ("keys", put("state", "keys", ACCOUNT, 0, "disabled", value=True), "a key that does not work: ['k1']"),
    ("sound", put("bugs", value=["KeyError"]), "the sandbox: KeyError"),
    ("sound", put("operations", 4, "ended", value=None), "o5 has not ended"),
]


def test_a_history_without_a_violation_has_none() -> None:
    """Nothing is found where nothing is wrong."""
    assert check(fine()) == []


@pytest.mark.parametrize(("rule", "plant", "words"), PLANTED, ids=[f"{r}-{n}" for n, (r, _, _) in enumerate(PLANTED)])
def test_a_planted_violation_is_found(rule: str, plant: Callable[[dict[str, Any]], None], words: str) -> None:
    """Whatever is lost, doubled or wrong: the rule that is there for it says so."""
    history = copy.deepcopy(fine())
    plant(history)
    found = [line for line in check(history) if line.startswith(f"{rule}: ")]
    assert any(words in line for line in found), check(history)


def test_every_rule_has_a_planted_violation() -> None:
    """A rule that was never seen to find something proves nothing."""
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


@pytest.mark.parametrize("module", ["checker", "checker_rules", "checker_fleet", "soak_world"])
def test_the_checker_knows_nothing_of_the_product(module: str) -> None:
    """A mistake that both make would hide: no line of the product is imported, by what is imported neither."""
    todo, seen = [f"proof/{module}.py"], set()
    while todo:
        path = todo.pop()
        seen.add(path)
        tree = ast.parse((ROOT / path).read_text())
        names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        names += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
        own = [name for name in names if name.startswith("airflow_gar_provider")]
        assert [name for name in own if not name.startswith("airflow_gar_provider.sandbox")] == [], path
        assert not own or path == "proof/google.py", "the sandbox is started, and read from outside"
        found = {f"{name.replace('.', '/')}.py" for name in names if name.startswith("proof.")}
        todo += [name for name in found if name not in seen]
