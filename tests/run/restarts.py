"""A training that may be started again: one after the other is done to it, and it goes on."""
from __future__ import annotations

import time
from typing import Any

from tests.playing import UNIT
from tests.run.controller import PATIENCE, expect
from tests.run.nodes import HANG, TIMES, Player, Struck
from tests.run.table import case

#: one start may fail without a new checkpoint: each of these cases waits for one first
AGAIN: dict[str, Any] = {"pretrain_max_restarts": 1}


def _kill_rank(play: Player, node: str, rank: int) -> None:
    play.training(**AGAIN)
    struck = play.strike(node, f"kill -KILL {play.ranks(node)[rank]}")
    play.restarted(struck, node, rank, "killed")


@case("SIGKILL to rank 0, on the master")
def kill_rank_first(play: Player) -> None:
    _kill_rank(play, "node1", 0)


@case("SIGKILL to rank 3, on the last node")
def kill_rank_last(play: Player) -> None:
    _kill_rank(play, "node2", 3)


@case("SIGKILL to torchrun of the last node alone")
def kill_torchrun(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node2", "pkill -KILL -u ascend -f bin/torchrun")
    play.restarted(struck, "node2", None, "torchrun exited 137")


@case("SIGKILL to the supervisor of the last node; systemd starts it again")
def kill_supervisor(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node2", f"kill -KILL {play.supervisor('node2')}")
    play.restarted(struck, "node2", None, "supervisor")


@case("SIGKILL to the supervisor of the master, the hub; systemd starts it again")
def kill_master(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node1", f"kill -KILL {play.supervisor('node1')}")
    play.restarted(struck, "node1", None, "the supervisor of the master was started anew")


@case("a rank is frozen (SIGSTOP): no iteration any more")
def freeze_rank(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node2", f"kill -STOP {play.ranks('node2')[2]}")
    play.restarted(struck, "node2", 2, "no iteration after", HANG, "hang")


@case("the last node's supervisor is frozen, and goes on when the others have stopped")
def freeze_supervisor(play: Player) -> None:
    play.training(**AGAIN)
    pid = play.supervisor("node2")
    struck = play.strike("node2", f"kill -STOP {pid}")
    play.until(lambda told: told["state"] == "forming", "the others stop")
    play.root("node2", f"kill -CONT {pid}")
    play.restarted(struck, "node2", None, f"not heard for {TIMES['lost']} s", TIMES["lost"], "lost")


@case("the last node's supervisor is frozen for half of `lost`")
def freeze_supervisor_briefly(play: Player) -> None:
    play.training(**AGAIN)
    pid = play.supervisor("node2")
    struck = play.strike("node2", f"kill -STOP {pid}")
    time.sleep(TIMES["lost"] / 2)
    play.root("node2", f"kill -CONT {pid}")
    play.unmoved(struck)


@case("the master's supervisor, the hub, is frozen for longer than `lost`")
def freeze_master(play: Player) -> None:
    play.training(**AGAIN)
    pid = play.supervisor("node1")
    struck = play.strike("node1", f"kill -STOP {pid}")
    time.sleep(TIMES["lost"] + 3)
    play.root("node1", f"kill -CONT {pid}")
    play.unmoved(struck)


@case("the hub is frozen for longer than `orphan`: the others stop by themselves")
def freeze_master_long(play: Player) -> None:
    play.training(**AGAIN)
    pid = play.supervisor("node1")
    struck = play.strike("node1", f"kill -STOP {pid}")
    deadline = time.monotonic() + PATIENCE
    while play.ranks("node2"):
        expect(time.monotonic() < deadline, "the last node stops itself")
        time.sleep(0.2)
    stopped = time.time() - struck.at
    play.root("node1", f"kill -CONT {pid}")
    play.restarted(struck, "node1", None, "its supervisor did not get on for")
    play.told.seconds.insert(0, f"node2 stopped itself at {stopped:.1f} (= orphan {TIMES['orphan']} + {stopped - TIMES['orphan']:.1f})")


def _split(play: Player, ways: list[tuple[str, str]]) -> Struck:
    play.training(**AGAIN)
    struck = play.strike("node1", "true", lambda: [play.cut(*way) for way in ways])
    play.until(lambda told: told["state"] in ("stopping", "forming"), "the split is noticed")
    deadline = time.monotonic() + PATIENCE
    while play.ranks("node2"):
        expect(time.monotonic() < deadline, "the cut-off node stops itself")
        time.sleep(0.2)
    stopped = time.time() - struck.at
    play.told.seconds.append(f"node2 stopped itself at {stopped:.1f} (= orphan {TIMES['orphan']} + {stopped - TIMES['orphan']:.1f})")
    return struck


@case("the network between the nodes is cut, both ways, until both have stopped")
def split(play: Player) -> None:
    struck = _split(play, [("node1", "node2"), ("node2", "node1")])
    play.mend()
    play.restarted(struck, "node2", None, f"not heard for {TIMES['lost']} s", TIMES["lost"], "lost")


@case("what the last node sends is lost, the other direction is not")
def split_one_way(play: Player) -> None:
    struck = _split(play, [("node2", "node1")])
    play.mend()
    play.restarted(struck, "node2", None, f"not heard for {TIMES['lost']} s", TIMES["lost"], "lost")


@case("the network goes and comes five times, each time for less than `lost`")
def flapping(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node1", "true")
    for _ in range(5):
        play.cut("node2", "node1")
        time.sleep(2)
        play.root("node2", "ip route flush type blackhole")
        time.sleep(1)
    play.unmoved(struck)


@case("the newest checkpoint is cut short on the last node, then a rank dies")
def corrupt_shard(play: Player) -> None:
    told = play.training(**AGAIN)
    # Two of them, the newest broken before anybody asks for it.
    told = play.until(lambda now: now["checkpoint"]["newest"] > told["checkpoint"]["newest"], "another checkpoint")
    newest = told["checkpoint"]["newest"]
    folder = f"/opt/ascend-cluster/Megatron-LM/ckpt/Mixtral-8x7B/iter_{newest:07d}"
    struck = play.strike("node2", f"for f in {folder}/*/*.pt; do truncate -s -1000 $f; done; kill -KILL {play.ranks('node2')[3]}")
    now = play.until(lambda told: told["state"] == "running" and told["generation"] > struck.generation and (told["training"]["iteration"] or 0)
                     > (told["training"]["loaded"] or 0), "the next generation trains")
    expect(0 < now["training"]["loaded"] < newest or now["training"]["loaded"] > newest, f"not {newest} is loaded", now["training"]["loaded"])
    expect(now["culprit"]["node"] == "node2" and now["culprit"]["rank"] == 3, "node2 rank 3 is named", now["culprit"])
    play.generations({struck.generation + 1})
    play.times(struck, 0)
    play.heard(lambda text: f"runs on 2 nodes from iteration {now['training']['loaded']}" in text, struck.at)
    play.told.seconds.append(f"iteration {newest} is broken, {now['training']['loaded']} is loaded")


@case("a machine goes off without a word, and comes back")
def power_off(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node2", "", lambda: play.podman("kill", play.instance("node2")))
    play.until(lambda told: told["state"] == "forming", "the others stop")
    play.mend()
    play.restarted(struck, "node2", None, "")
    expect(play.root("node2", f"systemctl is-enabled {UNIT}").strip() == "enabled", "the unit is enabled while the run is wanted")


@case("the master's machine goes off without a word, and comes back")
def power_off_master(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node1", "", lambda: play.podman("kill", play.instance("node1")))
    time.sleep(TIMES["lost"])
    play.mend()
    play.restarted(struck, "node1", None, "the supervisor of the master was started anew")
