"""Real supervisors: those that are killed, frozen, late, doubled or strangers, and those that are asked."""
from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time

import pytest
from supervise import config, hub, link, processes
from supervise.door import encoded
from supervise.nodes import checked

from rehearsal.supervisors import PROGRAM, PYTHON, Cluster, until
from tests.unit import supervise_tools as tools

LONG = {"iterations": 1000}


@pytest.fixture
def cluster(tmp_path):
    made = []

    def make(**settings):
        made.append(Cluster(tmp_path, **{"training": LONG, **settings}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def shuts_down(tmp_path):
    """The environment of a supervisor whose machine shuts down."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\necho stopping\nexit 1\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}


def stopped(cluster, statuses=None):
    cluster.ask(what="stop")
    assert cluster.end() == (statuses or [3] * len(cluster.names))


def test_a_supervisor_that_is_killed_and_comes_back(cluster):
    two = cluster(max_restarts=1).start()
    two.training(2)
    old = two.ranks("n1")[1]
    two.kill("n1")
    told = two.until(lambda told: told["state"] in ("stopping", "forming"))
    assert told["cause"] == "n1: the connection of its supervisor closed, and it did not come back"
    assert not two.jobs("n0") or until(lambda: not two.jobs("n0"), "n0 stops")
    two.processes["n1"].wait()
    two.start("n1")
    told = two.until(lambda told: told["state"] == "running" and told["generation"] == 1)
    assert not processes.lives(old), "its old job is ended before"
    assert told["restarts"] == 1 and told["training"]["loaded"] == 0
    stopped(two)


def test_a_supervisor_that_is_frozen(cluster):
    two = cluster(max_restarts=1, times={"lost": 5}).start()
    two.training(2)
    two.kill("n1", signal.SIGSTOP)
    told = two.until(lambda told: told["state"] == "forming")
    assert told["cause"] == "n1: not heard for 5 s (times.lost)"
    assert two.jobs("n1"), "its job goes on, as far as anybody knows"
    two.kill("n1", signal.SIGCONT)
    two.until(lambda told: told["state"] == "running" and told["generation"] == 1)
    stopped(two)


def test_a_hub_that_is_frozen_blames_nobody(cluster):
    two = cluster(times={"lost": 5}).start()
    told = two.training(2)
    two.kill("n0", signal.SIGSTOP)
    time.sleep(7)  # longer than it waits for anybody
    two.kill("n0", signal.SIGCONT)
    before = told["training"]["iteration"] + 20
    told = two.until(lambda told: told["training"]["iteration"] > before)
    assert (told["state"], told["generation"], told["order"]) == ("running", 0, [])
    stopped(two)


def test_a_hub_that_is_killed_and_comes_back(cluster):
    two = cluster(max_restarts=1).start()
    first = two.training(2)
    two.kill("n0")
    two.processes["n0"].wait()
    assert two.ask("n1")["from"] == "n1", "another node answers"
    told = two.ask("n1")
    assert (told["hub"], told["state"], told["run"]) == (False, "running", two.run) and told["age"] >= 0
    two.start("n0")
    told = two.until(lambda told: told["state"] == "running" and told["generation"] == 1)
    assert told["epoch"] != first["epoch"]
    assert told["cause"] == "n0: the supervisor of the master was started anew"
    stopped(two)


def test_a_node_that_is_cut_off_stops_itself_and_calls_on(cluster):
    two = cluster(max_restarts=1, times={"orphan": 6}).start()
    two.training(2)
    two.kill("n0")
    two.processes["n0"].wait()
    until(lambda: not two.jobs("n1"), lambda: two.said("n1"))
    assert "the hub was not heard for 6 s (times.orphan)" in two.said("n1") and two.processes["n1"].poll() is None
    two.start("n0")
    two.until(lambda told: told["state"] == "running" and told["generation"] == 1)
    two.kill("n1", signal.SIGTERM)  # a wish to stop, on any node
    assert two.end() == [3, 3]
    assert two.result()["verdict"].startswith("stopped: asked for by SIGTERM at the supervisor of n1")


def test_without_a_hub_a_stop_is_one_nodes_and_then_nobody_is_asked(cluster):
    two = cluster(times={"lost": 5}).start()
    two.training(2)
    two.kill("n0")
    two.processes["n0"].wait()
    two.kill("n1", signal.SIGTERM)
    assert two.end("n1") == [3]
    told = two.ask("n1")
    assert told["error"].startswith(f"no supervisor of run {two.run} answers n1 ({two.address('n0')}:{two.port}: ")
    two.start("n0")
    told = two.until(lambda told: told["state"] == "done")
    assert told["verdict"] == "n0: the supervisor of the master was started anew"
    two.end("n0")


def test_a_machine_that_shuts_down_is_no_wish_to_stop(cluster, shuts_down):
    two = cluster(max_restarts=1)
    two.start("n0")
    two.start("n1", **shuts_down)
    two.training(2)
    two.kill("n1", signal.SIGTERM)
    assert two.end("n1") == [0]
    told = two.until(lambda told: told["state"] == "forming")
    assert told["cause"] == "n1: its machine shuts down" and told["stop_asked"] == ""
    two.start("n1")
    two.until(lambda told: told["state"] == "running" and told["generation"] == 1)
    stopped(two)


def test_a_stop_before_all_have_come(cluster):
    two = cluster().start("n0")
    two.until(lambda told: told["state"] == "forming" and told["nodes"]["phases"] == {"ready": 1, "unheard": 1})
    two.ask(what="stop")
    assert two.end("n0") == [3]
    assert two.ask("n0")["verdict"].startswith("stopped: asked for by")


def test_a_node_that_was_not_there_when_the_run_was_stopped_hears_of_it(cluster):
    two = cluster(max_restarts=1, times={"lost": 5, "orphan": 300, "form": 300}).start()
    two.training(2)
    two.kill("n1", signal.SIGSTOP)
    two.until(lambda told: told["state"] == "forming")
    two.ask(what="stop")
    until(lambda: (two.folder / "n0/supervise/result.json").exists(), lambda: two.said("n0"))
    assert two.processes["n0"].poll() is None
    two.kill("n1", signal.SIGCONT)
    assert two.end() == [3, 3]
    assert not two.jobs("n1")


def test_who_is_ready_and_shuts_down_is_not_started_with(cluster, shuts_down):
    three = cluster(nodes=3, times={"lost": 60})
    three.start("n0", "n1")
    three.start("n2", **shuts_down)
    # Of n1 nothing is heard yet: all others wait for it.
    three.kill("n1", signal.SIGSTOP)
    three.until(lambda told: told["nodes"]["phases"].get("ready", 0) >= 2)
    three.kill("n2", signal.SIGTERM)
    assert three.end("n2") == [0]
    three.kill("n1", signal.SIGCONT)
    three.until(lambda told: told["nodes"]["phases"] == {"ready": 2, "preparing": 1})
    three.start("n2")
    assert three.training(2)["generation"] == 0
    stopped(three)


def test_a_hub_waits_for_who_has_not_heard_of_the_end(tmp_path):
    """Also one that comes back after the end, which has heard nobody yet."""
    def waits(kept_before, *reports):
        settings = tools.config(run_dir=str(tmp_path), times={"lost": 3600})
        (tmp_path / "supervise").mkdir(exist_ok=True)
        (tmp_path / "supervise/state.json").write_text(json.dumps(kept_before))

        async def play():
            meeting = hub.Hub(settings, b"", "e1")
            c = meeting.coordinator
            for name, aware in reports:
                c.report(name, "i1", checked({"generation": 0, "phase": "stopped", "seen": 1, "epoch": "e1"}))
                c.stop("ann")
                if aware:
                    c.report(name, "i1", checked({"generation": 0, "phase": "stopped", "seen": c.version, "epoch": "e1"}))
            end = asyncio.ensure_future(meeting.run())
            await asyncio.wait([end], timeout=1.5)
            end.cancel()
            return not end.done()

        return asyncio.run(play())

    assert waits({}, ("n1", False))
    assert not waits({}, ("n1", True))
    over = {"version": 1, "run": "r1", "phase": "done", "code": 3, "verdict": "stopped", "stop_asked": "ann"}
    assert waits(over)
    assert waits(over, ("n1", True))
    assert not waits(over, *((name, True) for name in ("n0", "n1", "n2")))


def test_a_node_that_never_comes(cluster):
    two = cluster(times={"form": 8}).start("n0")
    assert two.end("n0") == [1]
    assert two.result()["verdict"] == "not ready within 8 s (times.form): n1 (never heard)"


@pytest.mark.parametrize("says", [True, False])
def test_who_says_that_it_comes_back_is_waited_for(cluster, says):
    two = cluster().start("n0")
    settings = config.load(str(two.config("n1")))

    async def n1():
        wait = time.monotonic() + 60
        while True:
            with contextlib.suppress(*link.FAILURES):
                reader, writer = await link.connect(settings, settings.token(), settings.hub, "n1", "i1")
                break
            assert time.monotonic() < wait
            await asyncio.sleep(0.1)
        report = {"generation": 0, "phase": "ready", "seen": 0, "epoch": ""}
        while report["phase"] == "ready":
            writer.write(encoded(report))
            view = await link.read(reader, 60)
            report["phase"] = "running" if view["phase"] == "running" else "ready"
            await asyncio.sleep(0.05)
        writer.write(encoded(report))
        if says:
            writer.write(encoded(link.BACK))
            await reader.read()
        writer.close()
        await asyncio.sleep(0.1)

    asyncio.run(n1())
    if says:
        time.sleep(3)  # longer than one that crashed is waited for
        assert two.ask()["state"] == "running"
        two.ask(what="stop")
        two.kill("n0")
    else:
        assert two.until(lambda told: told["state"] in ("stopping", "done"))["cause"].startswith("n1: the connection of its supervisor closed")


def test_strangers(cluster):
    two = cluster().start()
    two.training(1)
    address = (two.address("n0"), two.port)
    with contextlib.ExitStack() as open_until_the_end:
        silent = [open_until_the_end.enter_context(socket.create_connection(address)) for _ in range(300)]
        for one in silent:
            one.settimeout(60)

        def is_shut(one):
            try:
                return one.recv(4096) == b""
            except ConnectionError:
                return True

        assert sum(map(is_shut, silent)) >= 284, "of one address 16 may wait"
        assert two.ask()["state"] == "running"
        assert all(is_shut(one) or is_shut(one) for one in silent), "after 5 s the others, too"

    def answer(data):
        with socket.create_connection(address, timeout=30) as link:
            link.settimeout(30)
            link.sendall(data)
            said = b""
            with contextlib.suppress(ConnectionError):
                while part := link.recv(4096):
                    said += part
        return said.splitlines()[-1]

    assert b"no message of a supervisor" in answer(b"GET / HTTP/1.1\r\n\r\n")
    assert b"no message of a supervisor" in answer(b"[" * 4000 + b"\n")
    assert b"a line of more than 4096 bytes" in answer(b"x" * 5000)
    hello = {"run": two.run, "node": "n1", "incarnation": "i", "ask": None, "nonce": "n", "mac": "0" * 64}
    assert b"wrong token" in answer(json.dumps(hello).encode() + b"\n")
    assert b"no message of a supervisor" in answer(b'{"run": "half a\n')
    told = two.ask()
    assert (told["state"], told["order"]) == ("running", [])
    stopped(two)


def test_a_supervisor_of_an_earlier_launch_and_a_second_one(cluster, tmp_path):
    two = cluster()
    two.start("n0")
    token = tmp_path / "n1/supervise/token"
    good = token.read_text()
    token.write_text("f" * 64)
    two.start("n1")
    assert two.end("n1") == [4]
    assert "refused by the hub: wrong token: a supervisor of another run, or of an earlier launch of this one. Compare" in two.said("n1")
    assert "wrong token" in two.ask("n1")["error"]
    token.chmod(0o644)
    assert "has mode 0644, expected 0600" in two.command("n1", "status")["error"]
    token.chmod(0o600)
    token.write_text(good)
    two.start("n1")
    two.training(1)
    second = subprocess.run([PYTHON, str(PROGRAM), "run", str(two.config("n1"))], capture_output=True, text=True, check=False)
    assert second.returncode == 2 and "Another supervisor of run" in second.stderr
    stopped(two)


def test_a_supervisor_that_fails_itself_is_no_run_that_failed(cluster):
    two = cluster()
    (two.folder / "n0/supervise/state.json").write_text(json.dumps({"version": 1, "run": two.run, "generation": "many"}))
    two.start("n0")
    assert two.end("n0") == [6]
    assert "Traceback" in two.said("n0") and "'many'" in two.said("n0")


def test_a_port_that_is_taken(cluster):
    two = cluster()
    with socket.socket() as taken:
        taken.bind((two.address("n0"), two.port))
        taken.listen()
        two.start("n0")
        assert two.end("n0") == [2]
    assert f"{two.address('n0')}:{two.port} cannot be listened on" in two.said("n0") and "ss -ltnp" in two.said("n0")
