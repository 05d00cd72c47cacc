"""The nodes of a rehearsal as systemd containers, reached by real ssh.

    python -m rehearsal.containers up | down | clean | check

``podman``: how it is run on this machine. ``image``: what the containers begin with. ``network``: what they share.
"""
from __future__ import annotations

import ipaddress
import shutil
import time
from pathlib import Path
from typing import Callable

from rehearsal.containers import podman
from rehearsal.containers.image import NODE_IMAGE, ROOTFS_IMAGE, build_image
from rehearsal.containers.network import LABEL_FOLDER, LABEL_PROJECT, make_network
from rehearsal.nodes import FIRST_HOST, PROJECT, STATE, Log, Node, NodesError, cluster_name, locked
from rehearsal.nodes.furnish import furnish
from rehearsal.nodes.ssh import make_key, ssh_ready, write_access

FOLDER = STATE / "ssh"
NAME = "ascend-rehearsal"


def _state(container: str) -> str:
    return podman.run("container", "inspect", "--format", "{{.State.Status}}", container, check=False)


def _journal(container: str) -> str:
    text = podman.run("exec", container, "journalctl", "--no-pager", "-n", "25", check=False, timeout=30)
    return text or podman.run("logs", "--tail", "25", container, check=False, timeout=30)


def _wait(what: str, container: str, ready: Callable[[], bool], seconds: float) -> None:
    """Wait until ready() is true; when the time is up, raise with the end of the node's journal."""
    deadline = time.monotonic() + seconds
    while not ready():
        state = _state(container)
        if time.monotonic() > deadline or state != "running":
            when = f"within {seconds:.0f} s" if state == "running" else f"and the container is {state or 'gone'}"
            raise NodesError(f"{container}: {what} {when}. The end of its journal:\n{_journal(container)}\n"
                             f"Look further with: podman exec -it {container} bash")
        time.sleep(0.3)


def _start(node: str, container: str, address: str, image: str, network: str, folder: Path, log: Log) -> None:
    """Start one container, unless it runs already."""
    state = _state(container)
    if state == "running":
        old = podman.run("container", "inspect", "--format", "{{.ImageName}}", container)
        log(f"{node} runs already" + ("" if old == image else ", from an older image: for the new one, take it down first"))
        return
    if state:
        log(f"starting {node} again")
        podman.run("start", container)
        return
    # The same at every start: with another one nobody reaches the address until the old one is forgotten, half a minute later.
    mac = "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)
    try:
        podman.run("run", "--detach", "--name", container, "--hostname", node, "--systemd=always",
                   "--network", network, "--ip", address, "--mac-address", mac, "--publish", "127.0.0.1::22", "--dns=none",
                   # For the net.* sysctls of the roles, the image's init makes all others read-only; and root sees, as on a machine, who has an NPU open.
                   "--cap-add=NET_ADMIN,SYS_ADMIN,SYS_PTRACE", "--security-opt", "unmask=/proc/sys", "--shm-size=1g",
                   "--label", f"{LABEL_FOLDER}={folder}", "--label", f"{LABEL_PROJECT}={PROJECT}", image)
    except NodesError:
        podman.run("rm", "--force", container, check=False)
        raise
    log(f"started {node} ({address})")


def up(count: int = 2, npus: int = 2, folder: Path = FOLDER, name: str = NAME, log: Log = print) -> list[Node]:
    """Bring up ``node1`` to ``node<count>``, keeping those that run, and write the files for reaching them.

    Args:
        count: how many nodes.
        npus: how many NPUs each node's stand-ins show.
        folder: where keys, ssh configuration and nodes.json go; it also tells clusters apart.
        name: what the containers' names begin with.
        log: is given one line for each step.

    Raises:
        NodesError: what was found, and how to look further.
    """
    if not 1 <= count <= 200:
        raise NodesError(f"--count is {count}, expected 1 to 200 nodes.")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    image = build_image(log)
    prefix = cluster_name(name, folder)
    with locked(folder / "lock"):
        subnet = make_network(prefix, folder)
        wanted = [(f"node{index + 1}", f"{prefix}-node{index + 1}", str(subnet[FIRST_HOST + index + 1]))
                  for index in range(count)]
        key = folder / "id_ed25519"
        if not any(_state(container) for _, container, _ in wanted) or not key.exists():
            make_key(key, prefix)
        public_key = key.with_suffix(".pub").read_text()
        for node, container, address in wanted:
            _start(node, container, address, image, prefix, folder, log)

        nodes: list[Node] = []
        host_keys: list[tuple[str, str]] = []
        for index, (node, container, address) in enumerate(wanted):
            _wait("systemd did not come up", container,
                  lambda one=container: podman.run(  # type: ignore[misc]  # bound now, not later
                      "exec", one, "systemctl", "is-system-running", check=False) in ("running", "degraded"), 90)
            furnish(index, npus, public_key, lambda command, stdin, one=container: podman.run(  # type: ignore[misc]
                "exec", "--interactive", one, *command, stdin=stdin))
            port = int(podman.run("port", container, "22/tcp").splitlines()[0].rpartition(":")[2])
            nodes.append(Node(name=node, address=address, port=port, instance=container))
            # Read out of band, so that the first connection is verified as well.
            host_keys.append((node, podman.run("exec", container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")))

        write_access(folder, prefix, nodes, host_keys)
        for one in nodes:
            _wait("it did not let `ops` in by ssh", one.instance,
                  lambda host=one.name: ssh_ready(folder, host), 30)  # type: ignore[misc]
    log(f"{count} nodes are up; look in with: ssh -F {folder / 'config'} node1")
    return nodes


def _remove(label: str, log: Log) -> None:
    """Remove the containers and networks with a label."""
    containers = podman.run("ps", "--all", "--quiet", "--filter", f"label={label}").split()
    if containers:
        podman.run("rm", "--force", "--volumes", "--time", "3", *containers)
        log(f"removed {len(containers)} nodes")
    networks = podman.run("network", "ls", "--quiet", "--filter", f"label={label}").split()
    if networks:
        podman.run("network", "rm", *networks)


def down(folder: Path = FOLDER, log: Log = print) -> None:
    """Remove the nodes and the network of one cluster, and its folder."""
    folder = folder.resolve()
    if shutil.which("podman"):
        _remove(f"{LABEL_FOLDER}={folder}", log)
    if (folder / "nodes.json").exists() or (folder / "id_ed25519").exists():
        shutil.rmtree(folder)


def clean(log: Log = print) -> None:
    """Remove everything that was made for this checkout: nodes, networks, images, and the folder .rehearsal."""
    if shutil.which("podman"):
        _remove(f"{LABEL_PROJECT}={PROJECT}", log)
        for image in (NODE_IMAGE, ROOTFS_IMAGE):
            for one in podman.run("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter",
                                  f"reference={image}").splitlines():
                # Another checkout may be using the same image: then it stays.
                podman.run("rmi", one, check=False)
    if STATE.exists():
        shutil.rmtree(STATE)
        log(f"removed {STATE}")
