"""Two pretend nodes that train, a controller that follows, and what is done to them and seen of them.

Times are those of this machine: the containers have its clock.
"""
from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from rehearsal import containers
from rehearsal.containers.podman import environment
from tests.playing import ENVIRONMENT, PROJECT, UNIT, WORKSPACE, Site
from tests.run.controller import PATIENCE, Controller, Missed, expect
from tests.run.table import Told

RUN = f"{WORKSPACE}/runs/current"
#: of the supervisors, seconds: what no site sets, shorter here (docs/run.md, config.json)
TIMES = {"beat": 1, "lost": 8, "orphan": 16, "backoff": 1}
GRACE, FORM, HANG = 15, 120, 20
#: a supervisor whose run is over
LINGERS = 30.0
#: of every launch; the training is long enough for whatever is done to it
VARIABLES: dict[str, Any] = {
    "pretrain_new_run": True, "pretrain_stop_timeout": GRACE, "pretrain_node_timeout": FORM, "pretrain_hang_timeout": HANG, "pretrain_poll_seconds": 2,
    "pretrain_first_iteration_timeout": 600, "pretrain_unreachable_timeout": 90, "plan_train_iters": 5000, "plan_save_interval": 4,
    "plan_eval_interval": 5000, "pretrain_keep_checkpoints": 3}
#: before each start of a supervisor, as root: `current` is the run that is launched
_SHORTER = """#!/usr/bin/python3
import json
path = "%s/supervise/config.json"
settings = json.load(open(path))
settings["times"].update(%s)
with open(path, "r+") as file:
    file.truncate()
    json.dump(settings, file)
"""


@dataclass
class Struck:
    """When something was done, and how the run stood before."""

    at: float
    before: dict[str, Any]

    @property
    def generation(self) -> int:
        """That was struck."""
        return int(self.before["generation"])


def _wanted(more: dict[str, Any]) -> dict[str, Any]:
    """The variables of a launch."""
    environment = {**ENVIRONMENT, "STANDIN_ITERATION_SECONDS": 0.7, **more.get("pretrain_environment_extra", {})}
    return {**VARIABLES, **more, "pretrain_environment_extra": environment}


class Player:
    """Plays the cases; a training that goes on is used by the next case with the same launch."""

    def __init__(self, folder: Path, name: str = "ascend-run") -> None:
        self.folder, self._name = folder, name
        self.site = Site(folder)
        self.nodes = {node.name: node for node in self.up()}
        self.controller: Controller | None = None
        self.launched: dict[str, Any] = {}
        self.told = Told()

    # the machines

    def up(self) -> list[Any]:
        """Bring up those that are not there."""
        return containers.up(folder=self.folder / "ssh", name=self._name, log=lambda line: None)

    def podman(self, *words: str) -> None:
        """What only the machine below can do to a node."""
        subprocess.run(["podman", *words], env=environment(), capture_output=True, check=True)

    def instance(self, node: str) -> str:
        """Its container."""
        return str(self.nodes[node].instance)

    def converge(self) -> None:
        """Bring them to where a training can be launched, as a user would; unless that was done before."""
        if all(self.root(name, f"ls /etc/systemd/system/{UNIT}.d/times.conf") for name in self.nodes):
            return
        # With the plan of the launches: the index cache is that of its samples.
        plan = {name: value for name, value in VARIABLES.items() if name.startswith("plan_")}
        status, output = self.site.play("site.yml", "--skip-tags", "launch", **plan)
        expect(status == 0, "site.yml failed", output[-2000:])

    def shorten(self) -> None:
        """Shorter times for the supervisors than a site needs."""
        program, drop_in = "/usr/local/sbin/shorter-times", f"/etc/systemd/system/{UNIT}.d"
        for name in self.nodes:
            self.root(name, f"cat >{program}; chmod 0755 {program}; mkdir -p {drop_in}", _SHORTER % (RUN, json.dumps(TIMES)))
            self.root(name, f"printf '[Service]\\nExecStartPre=+{program}\\n' >{drop_in}/times.conf; systemctl daemon-reload")

    def root(self, node: str, command: str, given: str = "") -> str:
        """A command as root on a node, not by ssh: the network may be what is struck. Its output; that it fails is no matter."""
        words = ["podman", "exec", "--interactive", self.instance(node), "bash", "-c", command]
        return subprocess.run(words, input=given, env=environment(), capture_output=True, text=True, check=False, timeout=120).stdout

    def cut(self, node: str, other: str) -> str:
        """What this node sends to the other is lost."""
        return self.root(node, f"ip route add blackhole {self.nodes[other].address}")

    def mend(self) -> None:
        """Whatever a case has left: nothing is cut, off or frozen."""
        for name in self.nodes:
            self.root(name, "ip route flush type blackhole; pkill -CONT -u ascend")
        self.nodes = {node.name: node for node in self.up()}

    # asking, as the training user

    def ask(self, node: str = "node1", *words: str) -> dict[str, Any]:
        """What a node tells of the run; {} where it cannot be asked."""
        python = f"{WORKSPACE}/conda/envs/test/bin/python"
        said = self.root(node, f"runuser -u ascend -- {python} {WORKSPACE}/bin/supervise ask status {RUN}/supervise/config.json {' '.join(words)}")
        with contextlib.suppress(ValueError):
            answer = json.loads(said)
            return dict(answer) if "state" in answer else {}
        return {}

    def until(self, condition: Callable[[dict[str, Any]], Any], what: str, node: str = "node1", seconds: float = PATIENCE) -> dict[str, Any]:
        """Ask until the answer is as wanted."""
        deadline, answer = time.monotonic() + seconds, dict[str, Any]()
        while time.monotonic() < deadline:
            answer = self.ask(node)
            if answer and condition(answer):
                return answer
            time.sleep(0.3)
        keys = ("state", "generation", "restarts", "strikes", "cause", "culprit", "verdict", "checkpoint")
        raise Missed(f"did not come: {what}", {key: answer.get(key) for key in keys}, answer.get("nodes"))

    def journal(self, since: float) -> list[dict[str, Any]]:
        """What the hub wrote down since then."""
        lines = self.root("node1", f"cat {RUN}/supervise/journal.jsonl").splitlines()
        return [one for one in map(json.loads, lines) if one["time"] >= since]

    def ranks(self, node: str) -> dict[int, int]:
        """Rank to pid of what lives."""
        said = self.root(node, f"cd {RUN}/stacks && for f in rank*.pid; do p=$(cat $f); ! kill -0 $p 2>/dev/null || echo $f $p; done")
        return {int(line.split()[0][4:-4]): int(line.split()[1]) for line in said.splitlines() if len(line.split()) == 2}

    def supervisor(self, node: str) -> int:
        """Its pid."""
        return int(self.root(node, f"systemctl show --property MainPID --value {UNIT}").strip() or 0)

    # a training

    def start(self, playbook: str, **variables: Any) -> Controller:
        """Start a playbook as a user would, in a session of its own."""
        return Controller(self.site.start(playbook, session=True, **variables), self.folder / "controllers.log")

    def launch(self, **more: Any) -> None:
        """A new training with these variables, begun and followed."""
        self.told = Told()
        self.finish()
        self.launched = _wanted(more)
        self.controller = self.start("playbooks/pretrain.yml", **self.launched)
        self._begun()

    def training(self, saved: bool = True, **more: Any) -> dict[str, Any]:
        """A training with these variables that gets on: the one that runs, or a new one. With `saved` it has strikes left, and a checkpoint."""
        self.told = Told()
        if _wanted(more) != self.launched or not self.controller or self.controller.over or self.ask().get("state") != "running":
            self.launch(**more)
        return self.until(lambda told: told["state"] == "running" and (told["training"]["iteration"] or 0) >= 1 and (
            not saved or (not told["strikes"] and told["checkpoint"]["newest"] > (told["training"]["loaded"] or 0))), "a training that gets on")

    def _begun(self) -> None:
        """Wait until the launch is there, not a run before it."""
        assert self.controller
        deadline = time.monotonic() + PATIENCE
        while not any("Follow | Say how to follow again" in line for _, line in self.controller.lines):
            expect(not self.controller.over, "the launch failed", self.controller.text()[-1500:])
            expect(time.monotonic() < deadline, "the launch did not come", self.controller.text()[-1500:])
            time.sleep(0.2)

    def finish(self) -> None:
        """End what runs, and prove that nothing is left."""
        self.mend()
        if self.controller and not self.controller.over:
            status, output = self.site.play("playbooks/stop.yml", pretrain_stop_timeout=GRACE)
            expect(status == 0, "stop.yml failed", output[-1500:])
            self.controller.end()
        self.controller, self.launched = None, {}

    # striking, and what comes of it

    def strike(self, node: str, command: str, then: Callable[[], Any] | None = None) -> Struck:
        """Do something to a node; the time is that of the moment before."""
        before = self.ask()
        expect(before.get("state") == "running", "a training to strike", before)
        if then:
            at = time.time()
            then()
            return Struck(at, before)
        return Struck(float(self.root(node, f"date +%s.%N; {command}").split()[0]), before)

    def saw(self, since: float, controller: Controller | None = None) -> str:
        """What the user saw, as it is shown in the table."""
        one = controller or self.controller
        return " / ".join(re.sub(r"^Run \w+: ", "", line) for line in one.told(since)) if one else ""

    def restarted(self, struck: Struck, node: str, rank: int | None, says: str, setting: float = 0.0, of: str = "") -> dict[str, Any]:
        """The next generation trains, this node and rank are named and nobody else, and nothing of the old one lives.

        Args:
            struck: what was done.
            node: the culprit's.
            rank: its global one, None where it is none's.
            says: a word of the reason.
            setting: seconds that the supervisors wait by their settings.
            of: which settings those are.
        """
        wanted = struck.generation + 1
        told = self.until(lambda told: told["state"] == "running" and told["generation"] >= wanted and (told["training"]["iteration"] or 0)
                          > (told["training"]["loaded"] or 0), f"generation {wanted} trains")
        expect(told["generation"] == wanted, f"one restart, to generation {wanted}", told["generation"])
        culprit = told["culprit"] or {}
        expect((culprit.get("generation"), culprit.get("node"), culprit.get("rank")) == (struck.generation, node, rank) and says in str(culprit.get("reason")),
               f"{node}, rank {rank} blamed for: {says}", culprit, told["order"])
        expect(told["training"]["loaded"] >= (struck.before["checkpoint"]["newest"] or 0), "it goes on from the newest checkpoint",
               told["training"]["loaded"], struck.before["checkpoint"])
        expect(told["restarts"] == struck.before["restarts"] + 1, "one restart is counted", told["restarts"])
        self.generations({wanted})
        self.times(struck, setting, of)
        self.heard(lambda text: f"runs on 2 nodes from iteration {told['training']['loaded']}" in text and f"{node}: " in text, struck.at)
        return told

    def heard(self, condition: Callable[[str], Any], since: float) -> None:
        """The user was told so."""
        assert self.controller
        deadline = time.monotonic() + PATIENCE
        while not condition(self.controller.text(since)):
            expect(time.monotonic() < deadline and not self.controller.over, "the user was not told", self.controller.text(since)[-1500:])
            time.sleep(0.3)
        self.told.saw = self.saw(since)

    def times(self, struck: Struck, setting: float, of: str = "") -> None:
        """From the hub's journal: until the failure was known, until nothing lived, until the next generation ran."""
        first: dict[str, float] = {}
        for one in self.journal(struck.at - 0.05):
            first.setdefault(str(one["event"]), float(one["time"]))
        last = 0.0
        for event, words in (("failure", "known"), ("forming", "all stopped"), ("running", "runs again"), ("done", "over")):
            if event in first and first[event] - struck.at >= last:
                last = first[event] - struck.at
                over = f" (= {of} {setting:g} + {last - setting:.1f})" if setting and event == "failure" else ""
                self.told.seconds.append(f"{words} {last:.1f}{over}")

    def generations(self, wanted: set[int]) -> None:
        """Only these live: looked for on the nodes."""
        look = ("for e in /proc/[0-9]*/environ; do tr '\\0' '\\n' <$e 2>/dev/null | grep -h ^SUPERVISE_GENERATION= ; done | sort | uniq -c")
        for name in self.nodes:
            found = {int(line.split("=")[1]) for line in self.root(name, look).splitlines()}
            expect(found == wanted, f"on {name} only generations {sorted(wanted)} live", sorted(found))
            expect(self.held(name) == {"/dev/davinci0", "/dev/davinci1"}, f"the ranks of {name} hold its NPUs", self.held(name))

    def held(self, node: str) -> set[str]:
        """NPUs that any process of the node has open."""
        return set(self.root(node, "find /proc/[0-9]*/fd -lname '/dev/davinci[0-9]*' -printf '%l\\n' 2>/dev/null").split())

    def unmoved(self, struck: Struck, iterations: int = 5) -> dict[str, Any]:
        """Nothing came of it: the same generation trains on, and nobody is blamed."""
        far = (struck.before["training"]["iteration"] or 0) + iterations
        told = self.until(lambda told: (told["training"]["iteration"] or 0) >= far or told["generation"] != struck.generation or told["state"] != "running",
                          f"iteration {far}")
        expect((told["state"], told["generation"], told["order"]) == ("running", struck.generation, struck.before["order"]),
               "the training goes on, and nobody is blamed", told["state"], told["generation"], told["order"])
        self.told.seconds.append("nothing happens")
        self.told.saw = self.saw(struck.at) or "iterations alone"
        return told

    def ended(self, since: float, code: int, says: str, node: str | None = None, ranks: list[int] | None = None, setting: float = 0.0,
              of: str = "") -> dict[str, Any]:
        """The run is over with these words and this culprit, as the controller keeps it, and nothing is left on the nodes."""
        assert self.controller
        self.controller.end()
        path = max((PROJECT / "molecule/inventory/runs").glob("*/verdict.json"), key=lambda path: path.stat().st_mtime)
        expect(path.stat().st_mtime >= since - 1, "a verdict was kept", self.controller.text(since)[-1500:])
        verdict: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        expect(verdict["code"] == code and says in verdict["message"], f"the run ended with {code}: {says}", verdict["code"], verdict["message"])
        if node is not None:
            expect(verdict["culprit"] == node, f"{node or 'nobody'} is blamed", verdict["culprit"], verdict["message"])
        if ranks is not None:
            expect(verdict["ranks"] == ranks, f"ranks {ranks} are blamed", verdict["ranks"], verdict["message"])
        self.nothing_left()
        self.times(Struck(since, {"generation": 0}), setting, of)
        self.told.saw = " ".join(str(verdict["message"]).split())
        self.controller, self.launched = None, {}
        return verdict

    def nothing_left(self) -> None:
        """No unit is active, the training user has no process, and nobody holds an NPU: looked for on the nodes."""
        deadline = time.monotonic() + LINGERS
        for name in self.nodes:
            while True:
                state = self.root(name, f"systemctl is-active {UNIT}").strip()
                left = self.root(name, "pgrep -u ascend -a").splitlines()
                # The hub answers those who follow for some seconds more, and runs the site's command.
                ends = bool(left) and all("/bin/supervise run " in line for line in left) and not self.held(name) and time.monotonic() < deadline
                if not ends:
                    break
                time.sleep(0.5)
            expect(state in ("inactive", "failed") and not left and not self.held(name), f"nothing is left on {name}", state, left, self.held(name))
