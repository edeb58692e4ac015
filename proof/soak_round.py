"""One round of the soak: DAG runs, other people's acts, faults and kills, as chance has them; and its history."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from proof.worker import worker

AT_ONCE = 3
"""Tries that are under way at a time, in processes of their own."""
RUNS = 4
"""DAG runs at a time."""
BURSTS = (1, 1, 2, 3, 5, 8)
"""How many calls a turn may have."""
PATIENCE = 15
"""After so many steps without it a try has its turn."""
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "lost_answer"},
    {"kind": "delay", "seconds": 0.05},
    {"kind": "token_expiry"},
)


WRITES = ("objects.insert", "objects.copy", "objects.rewrite", "objects.delete")
UPDATE = "google.cloud.orchestration.airflow.service.v1.Environments.UpdateEnvironment"


class Round:
    """One round: what was asked and done in it, as the checker will read it."""

    def __init__(self, seed: int, number: int, events: int, home: Path) -> None:
        from proof.soak_runs import Wishes  # noqa: PLC0415 -- Airflow reads its settings when it is imported
        from proof.soak_turns import Turns  # noqa: PLC0415
        from proof.soak_world import SoakWorld  # noqa: PLC0415

        self.chance = random.Random(f"{seed}/{number}")
        own = worker()
        self.google, self.home, self.wanted = own.google, home, events
        self.google.clear_faults()
        self.soak = SoakWorld(own.google, own.prefix(), self.chance)
        self.wishes, self.turns = Wishes(self.soak, self.chance), Turns(own.google)
        self.first_call = self.google.get("calls?since=1000000000")["count"]
        self.start = self.soak.state()
        self.counts: Counter[str] = Counter()
        self.runs: dict[str, Any] = {}
        """Name -> (DAG, data, journal, when it began), of all."""
        self.steps: list[dict[str, Any]] = []
        self.tries: list[dict[str, Any]] = []
        self.under_way: list[Any] = []
        self.active: list[str] = []

    @property
    def events(self) -> int:
        """So many so far."""
        return sum(count for kind, count in self.counts.items() if not kind.startswith(("run:", "fault:", "call:")))

    def play(self) -> dict[str, Any]:
        """All of it; the history."""
        assert threading.active_count() == 1, "a thread here would be lost in the forked processes"
        while True:
            self._begin()
            if not self.under_way:
                break
            chance = self.chance.random()
            if chance < 0.2:
                self._others()
            elif chance < 0.24:
                self._time()
            else:
                self._turn(self._next())
        self._settle()
        return self._history()

    @property
    def _open(self) -> bool:
        return self.events < self.wanted

    # What may happen

    def _begin(self) -> None:
        """Fill the places: new runs while there may be, then tries of what is ready."""
        from proof.dag_run import Journal  # noqa: PLC0415
        from proof.soak_turns import Steps, Try  # noqa: PLC0415

        while len(self.under_way) < AT_ONCE:
            busy = {(one.run, one.key) for one in self.under_way}
            ready = []
            for name in list(self.active):
                dag, data, journal, started = self.runs[name]
                waiting = Steps(dag, Journal(journal), started, self.google.port).ready()
                if not waiting:
                    self.active.remove(name)
                    data["ended"] = len(self.steps)
                ready += [(name, key) for key in waiting if (name, key) not in busy]
            if self._open and len(self.active) < RUNS and (not ready or self.chance.random() < 0.4):
                self._new_run()
                continue
            if not ready:
                return
            name, key = self.chance.choice(ready)
            dag, _, journal, started = self.runs[name]
            one = Try(name, key, journal, self.home / f"{name}.log", dag, started, self.chance.random())
            self.under_way.append(one)

    def _new_run(self) -> None:
        name = f"run{len(self.runs):04d}"
        acts = len(self.soak.acts)
        asked = self.wishes.next(len(self.runs))
        self._note_acts(acts)
        now = datetime.fromisoformat(self.google.get("time")["now"].replace("Z", "+00:00"))
        journal = self.home / f"{name}.jsonl"
        journal.unlink(missing_ok=True)
        self.runs[name] = (asked.dag, {**asked.data, "begun": len(self.steps)}, journal, now)
        self.active.append(name)
        self.counts[f"run:{asked.data['kind']}"] += 1

    def _others(self) -> None:
        acts = len(self.soak.acts)
        self.soak.act()
        self._note_acts(acts)

    def _note_acts(self, since: int) -> None:
        """A step for each act of others."""
        for act in self.soak.acts[since:]:
            self._step("others", act=act)
            self.counts[f"others: {act['kind']}" + ("" if act["accepted"] else " (refused)")] += 1
            if "environment" in act and act["kind"] == "pip.conf":
                self.soak.look_at_pip_conf(act["environment"], len(self.steps) - 1)

    def _time(self) -> None:
        self.google.post("time", {"advance": self.chance.choice((2.0, 10.0, 40.0))})
        self._step("time")

    def _next(self) -> Any:
        """Whose turn it is; at the latest after a while, as a client does not wait for its answer for ever."""
        last = {step["actor"]: number for number, step in enumerate(self.steps)}
        overdue = [one for one in self.under_way if one.held and len(self.steps) - last[str(one)] > PATIENCE]
        return overdue[0] if overdue else self.chance.choice(self.under_way)

    def _turn(self, one: Any) -> None:
        """One try's turn, with what goes wrong in it."""
        from proof.dag_run import TRIES, Journal  # noqa: PLC0415

        calls, fault, kill = self.chance.choice(BURSTS), None, None
        if not one.process:
            self.counts["tries"] += 1
            one_try = {"run": one.run, "task": str(one.key), "from": len(self.steps), "to": None, "killed": False}
            self.tries.append(one_try)
        tries = Journal(one.journal).begun.get(one.key, 0) + (not one.process)
        if self.chance.random() < 0.25:
            fault = {"method": "*", "skip": self.chance.randrange(calls), **self.chance.choice(FAULTS)}
            fault["times"] = self.chance.choice((1, 1, 1, 2)) if fault["kind"] == "status" else 1
        elif self.chance.random() < 0.1:
            fault = {"method": UPDATE, "kind": "failed_operation", "message": "The build's machine was lost."}
        # Who dies at the last try keeps its turn in the rollout for three hours; the others would only wait.
        if tries < TRIES and self.chance.random() < 0.08:
            kill = self.chance.choice(("before", "after"))
        turn = self.turns.go(one, calls, fault, kill)
        self._step(str(one), turn=turn)
        if turn.end != "held":
            self.under_way.remove(one)
            running = next(t for t in reversed(self.tries) if (t["run"], t["task"]) == (one.run, str(one.key)))
            running.update(to=len(self.steps) - 1, killed=turn.end == "killed")
            self.counts["kills"] += turn.end == "killed"

    def _step(self, actor: str, *, act: dict[str, Any] | None = None, turn: Any = None) -> None:
        """Write down what happened, and what the clock says after it."""
        step = {"actor": actor, "now": self.google.get("time")["now"]}
        if act is not None:
            step["act"] = act
        if turn is not None:
            step |= {"calls": list(turn.calls), "released": turn.released, "end": turn.end}
        self.steps.append(step)
        if turn is not None:
            self._look(turn)

    def _look(self, turn: Any) -> None:
        """Count a turn's calls; read what it may have written."""
        from proof.soak_turns import of_product  # noqa: PLC0415
        from proof.world import World  # noqa: PLC0415

        world: World = self.soak.world
        calls = self.google.calls(turn.calls[0])[: turn.calls[1] - turn.calls[0]]
        first = [] if turn.released is None else self.google.calls(turn.released)[:1]
        touched = []
        for name, bucket in world.buckets.items():
            own = [call for call in [*first, *calls] if call["resource"].split("/")[0] == bucket]
            if any(call["method"].endswith(WRITES) for call in own):
                self.soak.look_at_pip_conf(name, len(self.steps) - 1)
            if own or any(call["resource"].endswith(f"/environments/{name}") for call in calls):
                touched.append(name)
        self.soak.touched = touched or self.soak.touched
        for call in calls:
            if of_product(call):
                self.counts["calls"] += 1
                self.counts[f"call:{call['method'].rpartition('.')[2]}"] += 1
        for call in [*first, *calls]:
            # A held call is hit, if at all, when it goes on.
            if call.get("fault") and not call["fault"].startswith("hold_"):
                self.counts["faults"] += 1
                self.counts[f"fault:{call['fault']}"] += 1

    def _settle(self) -> None:
        """All that takes time has ended."""
        self.google.post("time", {"advance": 600.0})
        self._step("time")

    def _history(self) -> dict[str, Any]:
        from proof.dag_run import Journal  # noqa: PLC0415

        runs = {}
        for name, (_, data, path, _) in self.runs.items():
            journal = Journal(path)
            ended = {str(key): vars(end) for key, end in journal.ended.items()}
            runs[name] = {**data, "tasks": ended, "history": [[str(k), vars(end)] for k, end in journal.history]}
        return {
            "runs": runs,
            "tries": self.tries,
            "steps": self.steps,
            "first_call": self.first_call,
            "calls": self.google.calls(self.first_call),
            "operations": self.soak.operations(),
            "pip_confs": self.soak.pip_confs,
            "start": self.start,
            "state": self.soak.state(),
            "bugs": self.google.bugs(),
            "prefix": self.soak.world.prefix,
        }
