"""Which nodes reach which: the program on real sockets, and who is named for what it says."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _reach

from tests.unit.test_probe import PROGRAM as PROBE

PROGRAM = Path(__file__).parents[2] / "roles/preflight/files/reach.py"
ADDRESS = "127.0.0.1"


def run(*words: Any) -> str:
    done = subprocess.run([sys.executable, str(PROGRAM), *map(str, words)], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return done.stdout


def free() -> int:
    with socket.create_server((ADDRESS, 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def swallowing() -> Iterator[int]:
    """A port that takes a connection and a few bytes, and is silent then: as where large packets are lost."""
    server = socket.create_server((ADDRESS, 0))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(server.accept()), daemon=True)
    thread.start()
    yield int(server.getsockname()[1])
    server.close()


def test_what_listens_is_reached_and_what_does_not_is_told(swallowing: int) -> None:
    open_port, closed = free(), free()
    with socket.create_server((ADDRESS, 0)) as other:
        busy = other.getsockname()[1]
        listened = run("listen", ADDRESS, 20, open_port, busy)
    assert f"listening={open_port}\n" in listened and f"busy={busy} " in listened and f"listening={busy}" not in listened
    said = run("connect", 2, "me", f"me={ADDRESS} you={ADDRESS}", open_port, closed, swallowing)
    assert said.splitlines() == ["reached=1", f"unreached=you|{closed}|refused", f"unreached=you|{swallowing}|{_reach.LARGE}"]
    # It is answered again: one listener serves all nodes.
    assert run("connect", 2, "me", f"me={ADDRESS} a={ADDRESS} b={ADDRESS} c={ADDRESS}", open_port) == "reached=3\n"
    assert _reach.read({"stdout": listened}, {"stdout": said}) == {
        "listening": [open_port], "tried": True, "unreached": [["you", closed, "refused"], ["you", swallowing, _reach.LARGE]]}


def test_it_goes_out_from_the_address_of_the_training() -> None:
    """Linux has all of 127/8, so that one which is not the usual one shows."""
    with socket.create_server((ADDRESS, 0)) as server:
        child = subprocess.Popen([sys.executable, str(PROGRAM), "connect", "5", "me", f"me=127.0.0.9 you={ADDRESS}", str(server.getsockname()[1])],
                                 stdout=subprocess.PIPE, text=True)
        peer, (source, _) = server.accept()
        with peer:
            assert source == "127.0.0.9"
            got = 0
            while got < 200000:
                got += len(peer.recv(65536))
            peer.send(b"whole\n")
        assert child.communicate(timeout=60)[0] == "reached=1\n"


def test_a_node_without_its_address_tells_nothing_of_the_others() -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), "connect", "1", "me", f"me=192.0.2.1 you={ADDRESS}", "9"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "") and "192.0.2.1: Cannot assign requested address" in done.stderr
    assert _reach.read({"stdout": ""}, {"stdout": done.stdout})["tried"] is False


def test_the_listener_is_no_finding_of_the_probe() -> None:
    """Of a preflight that was broken off, as reach.yml starts it: by -c."""
    port = free()
    words = [sys.executable, "-c", PROGRAM.read_text(encoding="utf-8"), "listen", ADDRESS, "60", str(port)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    pid = int(done.stdout.split("pid=")[1])
    try:
        with socket.create_server((ADDRESS, 0)) as other:
            ports = (port, other.getsockname()[1])
            words = ["/bin/sh", "-c", PROBE, "probe", "1", "/", "/nowhere", "/nowhere", "none.service", "", " ".join(map(str, ports)), "/nowhere", "root",
                     "/nowhere", "/nowhere", "/nowhere", "", "/nowhere"]
            said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    finally:
        os.kill(pid, signal.SIGTERM)
    assert f"listen={ports[1]} " in said and f"listen={port} " not in said


def test_the_listener_ends_by_itself() -> None:
    port = free()
    run("listen", ADDRESS, 1, port)
    for _ in range(100):
        if run("connect", 1, "me", f"me={ADDRESS} you={ADDRESS}", port) == f"reached=0\nunreached=you|{port}|refused\n":
            return
    pytest.fail("it listens for ever")


def cluster(count: int, *unreached: tuple[int, int, int, str], silent: tuple[int, ...] = (), deaf: tuple[int, ...] = ()) -> dict[str, dict[str, Any]]:
    """Nodes 0 to count - 1 on ports 6000 and 60000; unreached are (from, to, port, why)."""
    return {f"n{node}": {"listening": [] if node in deaf else [6000, 60000], "tried": node not in silent,
                         "unreached": [[f"n{to}", port, why] for source, to, port, why in unreached if source == node]} for node in range(count)}


def words(nodes: dict[str, dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    return {host: [(one["check"], one["found"]) for one in found] for host, found in _reach.judge(nodes).items() if found}


@pytest.mark.parametrize(("nodes", "expected"), [
    (cluster(4), {}),
    # A node's own firewall drops a port: all others are the witnesses.
    (cluster(5, *((node, 2, 60000, "no answer") for node in (0, 1, 3, 4))), {"n2": [("reach_in", "port 60000 from n0, n1, n3 … (4 nodes): no answer")]}),
    # One way alone is cut: who tried is told.
    (cluster(4, (1, 2, 60000, "no answer"), (1, 2, 6000, "no answer")), {"n1": [("reach_out", "ports 6000, 60000 to n2: no answer")]}),
    # A node that reaches nobody.
    (cluster(5, *((3, to, port, "refused") for to in (0, 1, 2, 4) for port in (6000, 60000))),
     {"n3": [("reach_out", f"ports 6000, 60000 to n{to}: refused") for to in (0, 1, 2, 4)]}),
    # So of three, where one of the two that try each is half of them.
    (cluster(3, *((0, to, port, "no answer") for to in (1, 2) for port in (6000, 60000))),
     {"n0": [("reach_out", f"ports 6000, 60000 to n{to}: no answer") for to in (1, 2)]}),
    (cluster(3, *((0, to, 6000, _reach.LARGE) for to in (1, 2))), {"n0": [("reach_large", f"port 6000 to n{to}") for to in (1, 2)]}),
    # Of two nodes nobody can tell which end it is.
    (cluster(2, (0, 1, 6000, "no answer")), {"n1": [("reach_in", "port 6000 from n0: no answer")]}),
    (cluster(3, (0, 1, 6000, _reach.LARGE), (2, 1, 6000, _reach.LARGE)), {"n1": [("reach_large", "port 6000 from n0, n2")]}),
    # Where it could not listen itself nobody can reach it, and that says nothing.
    (cluster(3, (0, 1, 6000, "refused"), (2, 1, 6000, "refused"), deaf=(1,)), {"n1": [("reach_unknown", "it could not listen")]}),
    (cluster(3, silent=(2,)), {"n2": [("reach_unknown", "it could not try")]}),
])
def test_who_is_named(nodes: dict[str, dict[str, Any]], expected: dict[str, list[tuple[str, str]]]) -> None:
    assert words(nodes) == expected


@pytest.mark.parametrize(("always", "odd", "wanted"), [
    (False, {}, "abc"), (True, {}, "abc"), (False, {"facts": {}}, ""), (True, {"facts": {}}, "ac"),
    (True, {"job": "active"}, "ac"), (False, {"job": "active"}, "")])
def test_who_is_tried(tmp_path: Path, always: bool, odd: dict[str, Any], wanted: str) -> None:
    """Before a launch all or none; playbooks/check_cluster.yml tries those that answered, and where no run of ours is in progress."""
    root = PROGRAM.parents[3]
    good = {"facts": {"launched": False}, "job": "inactive"}
    hosts = {name: {"__preflight_node": {**good, **(odd if name == "b" else {})}, "ansible_connection": "local"} for name in "abc"}
    topology = {"nodes": [{"name": name, "address": f"192.0.2.{number}"} for number, name in enumerate("abc")]}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    (tmp_path / "always.yml").write_text(json.dumps({"__preflight_reach_always": always}), encoding="utf-8")
    (tmp_path / "play.yml").write_text(json.dumps([
        {"name": "Tell", "hosts": "all", "gather_facts": False, "vars": {"cluster_topology": topology},
         "vars_files": [str(root / "roles/preflight/vars/main.yml"), str(tmp_path / "always.yml")],
         "tasks": [{"name": "Tell", "ansible.builtin.debug": {"msg": "wanted={{ __preflight_reach_wanted | join }} {{ __preflight_reach_all }}."},
                    "run_once": True}]}]), encoding="utf-8")
    done = subprocess.run(["ansible-playbook", str(tmp_path / "play.yml"), "-i", str(tmp_path / "hosts.yml")], cwd=root, capture_output=True, text=True,
                          env={**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}, check=False)
    peers = " ".join(f"{name}=192.0.2.{'abc'.index(name)}" for name in wanted)
    assert f"wanted={wanted} {peers}." in " ".join(done.stdout.split()), done.stdout + done.stderr
