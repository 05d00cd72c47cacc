"""Runs that end: by a failure that nothing can go on from, or by a stop in whatever state they are."""
from __future__ import annotations

import json
import time
from typing import Any

from tests.playing import UNIT, WORKSPACE, fault
from tests.run.controller import afterwards, expect
from tests.run.nodes import GRACE, HANG, RUN, TIMES, Player
from tests.run.table import case

SMALL = f"{WORKSPACE}/small"
STOPPED = "The training was stopped: asked for by"


@case("SIGKILL to a rank, and no restart is allowed (the default)")
def no_restart(play: Player) -> None:
    play.training(saved=False)
    struck = play.strike("node2", f"kill -KILL {play.ranks('node2')[3]}")
    play.ended(struck.at, 1, "signal 9 (SIGKILL)", "node2", [3])


@case("a rank fails after iteration 2 of every start, before any checkpoint; 2 restarts are allowed; the site's command is told")
def storm(play: Player) -> None:
    kept = play.folder / "on_end.json"
    kept.unlink(missing_ok=True)
    begun = time.time()
    play.launch(pretrain_max_restarts=2, plan_save_interval=1000, pretrain_on_end=f"cat >{kept}",
                  pretrain_environment_extra=fault("exception", "3", "2"))
    verdict = play.ended(begun, 1, "Gave up: 3 starts in a row brought no new checkpoint", "node2", [3])
    expect(verdict["generation"] == 2 and verdict["restarts"] == 2, "three starts", verdict["generation"])
    told = json.loads(kept.read_text(encoding="utf-8"))
    expect(told["culprit"] == "node2" and told["code"] == 1, "the site's command got the verdict", told)
    for name in play.nodes:
        for generation in range(3):
            words = json.loads(play.root(name, f"cat {RUN}/supervise/evidence-{generation}.json"))
            raised = [rank for rank, one in words["evidence"]["ranks"].items() if one["record"]]
            expect(raised == (["3"] if name == "node2" else []), f"{name} keeps why start {generation} ended", words)


@case("three ranks die, each after a new checkpoint; one restart without a new one is allowed")
def storm_with_checkpoints(play: Player) -> None:
    for node, rank in (("node1", 1), ("node2", 2), ("node1", 0)):
        before = play.training(pretrain_max_restarts=1)
        struck = play.strike(node, f"kill -KILL {play.ranks(node)[rank]}")
        told = play.restarted(struck, node, rank, "killed")
        expect(told["training"]["loaded"] > (before["training"]["loaded"] or 0), "each start gets further", told["training"]["loaded"])


@case("a rank hangs after iteration 3; no restart is allowed")
def hang(play: Player) -> None:
    play.launch(pretrain_environment_extra=fault("hang", "2", "3"))
    play.until(lambda told: (told["training"]["iteration"] or 0) >= 3, "iteration 3")
    begun = time.time()
    play.ended(begun, 1, "global rank 2 on node2", "node2", [2], HANG, "hang")


@case("a machine goes off for good; a restart is allowed")
def gone_for_good(play: Player) -> None:
    play.training(pretrain_max_restarts=1, pretrain_node_timeout=20)
    struck = play.strike("node2", "", lambda: play.podman("kill", play.instance("node2")))
    with afterwards(play.mend):
        assert play.controller
        play.controller.end()
    # It has come back by itself, and finds nobody.
    _stop(play)
    play.ended(struck.at, 1, "not ready within 20 s", "node2", [])


@case("the disk for checkpoints fills up on the last node; the save fails, and so would the next start")
def disk_full(play: Player) -> None:
    play.finish()
    for name in play.nodes:
        play.root(name, f"mkdir -p {SMALL} && mount -t tmpfs -o size=400m none {SMALL} && chown ascend: {SMALL}")
    with afterwards(play.finish, lambda: [play.root(name, f"umount -l {SMALL}") for name in play.nodes]):
        play.training(pretrain_max_restarts=1, cluster_checkpoint_dir=SMALL)
        struck = play.strike("node2", f"dd if=/dev/zero of={SMALL}/other bs=1M 2>/dev/null")
        verdict = play.ended(struck.at, 1, "node2 cannot start:", "node2")
        expect(verdict["cause"] == "disk_full" or SMALL in verdict["message"], "the disk is named", verdict["message"])


def _stopped(play: Player, since: float, who: str = "by playbooks/stop.yml") -> dict[str, Any]:
    verdict = play.ended(since, 3, STOPPED, "", [])
    expect(who in verdict["message"], f"stopped by {who}", verdict["message"])
    return verdict


def _stop(play: Player) -> float:
    at = time.time()
    status, output = play.site.play("playbooks/stop.yml", pretrain_stop_timeout=GRACE)
    expect(status == 0 and "Nothing of a training is left on 2 nodes" in output, "stop.yml stops it, and proves it", output[-1500:])
    return at


def _ask_stop(play: Player, node: str = "node2") -> float:
    """By the supervisors' own program, on a node that is not the master."""
    at = time.time()
    program = f"{WORKSPACE}/conda/envs/test/bin/python {WORKSPACE}/bin/supervise ask stop {WORKSPACE}/runs/current/supervise/config.json --who night-watch"
    said = json.loads(play.root(node, f"runuser -u ascend -- {program}"))
    expect(said.get("stop_asked") == "night-watch", "the stop is taken", said)
    return at


@case("playbooks/stop.yml while it trains")
def stop_running(play: Player) -> None:
    play.training(pretrain_max_restarts=1)
    _stopped(play, _stop(play))


@case("playbooks/stop.yml with a save first (`pretrain_stop_saves`) of 40 s: longer than torchrun lets its workers, or the grace")
def stop_saves(play: Player) -> None:
    play.training(saved=False, pretrain_stop_saves=True, plan_save_interval=1000, pretrain_environment_extra={"STANDIN_SAVE_SECONDS": 40})
    told = play.until(lambda told: told["training"]["iteration"] >= 3, "iteration 3")
    verdict = _stopped(play, _stop(play))
    expect(verdict["checkpoint"] >= told["training"]["iteration"], "it was saved where it stood, on both nodes", verdict["checkpoint"])
    expect(f"checkpoint of iteration {verdict['checkpoint']}" in verdict["message"], "which is said", verdict["message"])


@case("systemctl stop of the unit on the last node alone")
def stop_unit(play: Player) -> None:
    play.training(pretrain_max_restarts=1)
    struck = play.strike("node2", f"systemctl stop {UNIT}")
    _stopped(play, struck.at, "SIGTERM at the supervisor of node2")


@case("a stop while the stacks are asked for (DUMPING)")
def stop_dumping(play: Player) -> None:
    play.training(pretrain_max_restarts=1)
    play.strike("node2", f"kill -STOP {play.ranks('node2')[2]}")
    play.until(lambda told: told["state"] == "dumping", "the stacks are asked for")
    _stopped(play, _ask_stop(play), "night-watch")


@case("a stop while ranks that ignore SIGTERM are waited for (STOPPING)")
def stop_stopping(play: Player) -> None:
    play.training(pretrain_max_restarts=1)
    pids = " ".join(map(str, play.ranks("node2").values()))
    play.root("node2", f"kill -STOP {pids}")
    play.strike("node1", f"kill -KILL {play.ranks('node1')[0]}")
    play.until(lambda told: told["state"] == "stopping", "it is being stopped")
    _stopped(play, _ask_stop(play), "night-watch")


@case("a stop between two generations (FORMING)")
def stop_forming(play: Player) -> None:
    play.training(pretrain_max_restarts=1)
    pid = play.supervisor("node2")
    play.strike("node2", f"kill -STOP {pid}")
    play.until(lambda told: told["state"] == "forming", "the next generation is formed")
    at = _ask_stop(play, "node1")
    time.sleep(2)
    play.root("node2", f"kill -CONT {pid}")
    _stopped(play, at, "night-watch")


@case("playbooks/stop.yml while the nodes cannot reach each other")
def stop_split(play: Player) -> None:
    play.training(pretrain_max_restarts=1)
    struck = play.strike("node1", "true", lambda: [play.cut("node1", "node2"), play.cut("node2", "node1")])
    with afterwards(play.mend):
        time.sleep(TIMES["lost"] + 1)
        _stop(play)
        _stopped(play, struck.at)
