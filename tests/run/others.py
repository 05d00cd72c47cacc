"""Who else is there: controllers that go, come and meet, strangers at the door, what is left of other runs, and a machine that is replaced."""
from __future__ import annotations

import signal
import subprocess
import time

from tests.playing import UNIT, WORKSPACE
from tests.run.controller import PATIENCE, afterwards, expect
from tests.run.nodes import GRACE, RUN, Player
from tests.run.restarts import AGAIN
from tests.run.table import case

PYTHON = f"{WORKSPACE}/conda/envs/test/bin/python"
#: run on a node: connections that say nothing, half a line, HTTP, and a question with another token; prints what the last one was told
STRANGERS = """
import socket, sys, time
address = (sys.argv[1], 29400)
some = []
for number in range(300):
    try:
        one = socket.create_connection(address, 2)
    except OSError:
        continue
    some.append(one)
    try:
        if number % 3 == 1: one.sendall(b'{"run": "half a li')
        if number % 3 == 2: one.sendall(b"GET / HTTP/1.1" + bytes([13, 10]) * 2 + b"x" * 8192)
    except OSError:
        pass
print(len(some))
time.sleep(8)
"""


@case("the controller is killed before a rank dies; another one, from another folder, follows after the restart")
def controller_gone(play: Player) -> None:
    play.training(**AGAIN)
    assert play.controller
    play.controller.kill()
    struck = play.strike("node2", f"kill -KILL {play.ranks('node2')[3]}")
    told = play.until(lambda told: told["state"] == "running" and told["generation"] == struck.generation + 1
                      and told["training"]["iteration"] > told["training"]["loaded"], "the next generation trains, with no controller")
    expect((told["culprit"]["node"], told["culprit"]["rank"]) == ("node2", 3), "the culprit is known", told["culprit"])
    play.generations({told["generation"]})
    play.times(struck, 0)
    since = time.time()
    play.controller = play.start("playbooks/follow_training.yml", pretrain_poll_seconds=2)
    words = f"runs on 2 nodes from iteration {told['training']['loaded']} (generation {told['generation']}, {told['restarts']} restart"
    play.heard(lambda text: words in text, since)
    deadline = time.monotonic() + PATIENCE
    while len(play.controller.iterations(since)) < 2:
        expect(time.monotonic() < deadline, "the newcomer is told iterations", play.controller.text()[-800:])
        time.sleep(0.2)


@case("a second controller follows, launches the same run once more, asks for the status; Ctrl-C in the first")
def second_controller(play: Player) -> None:
    before = play.training(**AGAIN)
    first = play.controller
    assert first
    since = time.time()
    status, output = play.site.play("playbooks/status_training.yml")
    expect(status == 0 and before["run"] in output and "node2" in output, "the status is shown", output[-800:])
    second = play.start("playbooks/pretrain.yml", **{**play.launched, "pretrain_new_run": False})
    with afterwards(second.kill):
        deadline = time.monotonic() + PATIENCE
        while len(second.iterations(since)) < 2:
            expect(time.monotonic() < deadline and not second.over, "it follows the same run", second.text()[-1200:])
            time.sleep(0.2)
        expect("is in progress: following it" in second.text(), "it says so", second.text()[-1200:])
        play.told.saw = play.saw(since, second)
        first.process.send_signal(signal.SIGINT)
        first.end()
        expect("Ctrl-C ends the following, not the training" in first.text(), "how to follow again was said")
        told = play.ask()
        expect((told["state"], told["generation"]) == ("running", before["generation"]), "the training does not notice", told["state"])
    play.controller = play.start("playbooks/follow_training.yml", pretrain_poll_seconds=2)
    play.told.seconds.append("nothing happens")


@case("the controller does not reach the master any more, the nodes reach each other")
def controller_cut(play: Player) -> None:
    play.training(**AGAIN)
    gateway = play.nodes["node1"].address.rsplit(".", 1)[0] + ".1"
    struck = play.strike("node1", f"ip route add blackhole {gateway}/32")
    with afterwards(play.mend):
        play.heard(lambda text: "node1 does not answer" in text, struck.at)
        since = time.time()
        assert play.controller
        deadline = time.monotonic() + PATIENCE
        while not play.controller.iterations(since):
            expect(time.monotonic() < deadline, "another node is asked", play.controller.text(struck.at)[-800:])
            time.sleep(0.2)
        play.told.seconds.append(f"another node's word at {time.time() - struck.at:.1f}")
    saw = play.told.saw
    play.unmoved(struck)
    play.told.saw = saw


@case("300 connections to the hub that say nothing, half a line, or HTTP")
def strangers(play: Player) -> None:
    play.training(**AGAIN)
    struck = play.strike("node2", "true")
    address = play.nodes["node1"].address
    came = play.root("node2", f"cat >/tmp/strangers.py; timeout 60 python3 /tmp/strangers.py {address}", STRANGERS)
    expect(int(came.split()[0]) > 16, "strangers came", came)
    play.unmoved(struck)
    play.told.seconds.append(f"{came.split()[0]} came in")


def _by_hand(play: Player, node: str, command: str) -> str:
    return play.root(node, f"runuser -u ascend -- timeout 60 {command} 2>&1; echo status $?")


def _refused_beside(play: Player, command: str, statuses: tuple[int, ...], words: str) -> None:
    """A program by hand on node2 is refused with one of these, and the run does not notice."""
    struck = play.strike("node2", "true")
    said = _by_hand(play, "node2", command)
    expect(int(said.rsplit("status ", 1)[1]) in statuses and words in said, "it is refused", said)
    play.unmoved(struck)
    play.told.saw = said


@case("`supervise ask` with another token")
def wrong_token_asks(play: Player) -> None:
    play.training(**AGAIN)
    play.root("node2", f"rm -rf /tmp/other; cp -r {RUN}/supervise /tmp/other; sed -i 's#{RUN.rsplit('/', 1)[0]}/[0-9a-f]*/supervise/token#/tmp/other/token#' "
                       "/tmp/other/config.json; printf %064d 7 >/tmp/other/token; chmod 0600 /tmp/other/token; chown -R ascend: /tmp/other")
    _refused_beside(play, f"{PYTHON} {WORKSPACE}/bin/supervise ask stop /tmp/other/config.json", (4,), "error")


@case("the last node's supervisor comes back with another token")
def wrong_token_joins(play: Player) -> None:
    play.training(pretrain_max_restarts=1, pretrain_node_timeout=20)
    struck = play.strike("node2", f"printf %064d 7 >{RUN}/supervise/token; kill -KILL {play.supervisor('node2')}")
    play.ended(struck.at, 1, "node2", "node2", [])
    said = play.root("node2", f"journalctl -u {UNIT} --no-pager -o cat -n 12")
    expect("refused by the hub" in said, "node2's journal says why", said)


@case("a supervisor of an older run is started by hand on the last node")
def stale_supervisor(play: Player) -> None:
    play.finish()
    play.training(saved=False, pretrain_max_restarts=1, plan_save_interval=7)
    play.finish()
    play.root("node2", f"rm -rf /tmp/stale; cp -rL {RUN} /tmp/stale; rm -f /tmp/stale/supervise/result.json; chown -R ascend: /tmp/stale; "
                       f"sed -i 's#{RUN.rsplit('/', 1)[0]}/[0-9a-f]*#/tmp/stale#g' /tmp/stale/supervise/config.json")
    play.training(**AGAIN)
    _refused_beside(play, f"{PYTHON} {WORKSPACE}/bin/supervise run /tmp/stale/supervise/config.json", (2, 4), "")


@case("a second supervisor of the same run is started by hand")
def second_supervisor(play: Player) -> None:
    play.training(**AGAIN)
    _refused_beside(play, f"{PYTHON} {WORKSPACE}/bin/supervise run {RUN}/supervise/config.json", (2,), "Another supervisor of run")


@case("the launch script is started by hand beside the run")
def script_beside(play: Player) -> None:
    play.training(**AGAIN)
    _refused_beside(play, f"bash {RUN}/pretrain_mixtral.sh", (1,), "another training holds")


@case("the script by hand on both nodes; its torchrun is killed; a second start; stop.yml")
def by_hand(play: Player) -> None:
    play.training(saved=False, **AGAIN)
    play.finish()
    checkpoints = f"{WORKSPACE}/Megatron-LM/ckpt/Mixtral-8x7B"
    for name in play.nodes:
        play.root(name, f"rm -rf {checkpoints}/iter_* {checkpoints}/latest*; runuser -u ascend -- bash -c "
                        f"'setsid bash {RUN}/pretrain_mixtral.sh >/tmp/by_hand.txt 2>&1 </dev/null &'")
    deadline = time.monotonic() + PATIENCE
    while not play.root("node2", f"grep -aE 'iteration +3/' {RUN}/train.log"):
        expect(time.monotonic() < deadline, "it trains", play.root("node2", "tail -5 /tmp/by_hand.txt"))
        time.sleep(1)
    play.root("node1", "pkill -KILL -u ascend -f bin/torchrun")
    time.sleep(1)
    said = _by_hand(play, "node1", f"bash {RUN}/pretrain_mixtral.sh")
    expect("status 1" in said and ("still live on this node" in said or "another training holds" in said), "a second start is refused", said)
    at = time.monotonic()
    status, output = play.site.play("playbooks/stop.yml", pretrain_stop_timeout=GRACE)
    expect(status == 0 and "Nothing of a training is left on 2 nodes" in output, "stop.yml ends it", output[-1500:])
    play.told.seconds.append(f"stopped in {time.monotonic() - at:.1f}")
    play.nothing_left()
    play.told.saw = said


@case("a machine is replaced: another host key, an empty disk; then the documented commands")
def replaced(play: Player) -> None:
    # Data parallel 4, expert parallel 2: the first node writes all that the second one needs.
    play.training(saved=False, plan_tensor_model_parallel_size=1, pretrain_keep_checkpoints=0)
    wanted = {name: value for name, value in play.launched.items() if name != "pretrain_new_run"}
    play.until(lambda told: told["training"]["iteration"] >= 6, "a checkpoint, and more")
    hosts = play.folder / "ssh/known_hosts"
    known = hosts.read_text(encoding="utf-8")
    struck = play.strike("node2", "", lambda: play.podman("rm", "--force", "--time", "0", play.instance("node2")))
    assert play.controller
    play.controller.end()
    play.mend()
    keys = hosts.read_text(encoding="utf-8")
    hosts.write_text(known, encoding="utf-8")
    play.ended(struck.at, 1, "node2", "node2", [])
    said = subprocess.run(["ssh", "-F", str(play.folder / "ssh/config"), "ops@node2", "true"], capture_output=True, text=True, check=False)
    expect("REMOTE HOST IDENTIFICATION HAS CHANGED" in said.stderr, "another host key is refused", said.stderr)
    # As `ssh-keygen -R` and a comparison with the console do it.
    hosts.write_text(keys, encoding="utf-8")
    since = time.time()
    play.controller = play.start("site.yml", **wanted, pretrain_resume=True)
    deadline = time.monotonic() + 4 * PATIENCE
    while not play.controller.iterations(since):
        expect(not play.controller.over and time.monotonic() < deadline, "site.yml with pretrain_resume goes on", play.controller.text()[-2500:])
        time.sleep(1)
    play.told.seconds.append(f"set up anew, and trains on, after {time.time() - since:.0f}")
    expect("Loading the checkpoint of iteration" in play.controller.text(), "from the newest checkpoint", play.controller.text()[-2500:])
    play.told.saw += " / " + play.controller.iterations(since)[0]
    play.finish()
    play.nothing_left()
    play.shorten()
