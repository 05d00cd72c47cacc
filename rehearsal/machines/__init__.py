"""The nodes of a rehearsal as virtual machines: for what containers lack, a kernel of their own (NFS, a firewall, a reboot).

    python -m rehearsal.machines up | reboot | down | clean | check

From outside they are like containers; in the cluster's folder there is besides a folder for each machine with its disk and
``console.log``. QEMU runs as the calling user, by hardware acceleration where that works.

``qemu``: how it is run. ``image``: what the machines begin with. ``network``: what they share. ``seed``: what each has of its own.
"""
from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Sequence

from rehearsal.machines.image import build_image
from rehearsal.machines.network import Cluster, cluster
from rehearsal.machines.qemu import Architecture, architecture, end, pid_of, probe, processes, qemu_command, run
from rehearsal.machines.seed import seed_files, seed_tar
from rehearsal.nodes import STATE, Log, Node, NodesError, locked
from rehearsal.nodes.furnish import furnish
from rehearsal.nodes.ssh import make_key, ssh_ready, write_access

FOLDER = STATE / "ssh-vm"
MEMORY_MIB = 3072
# Seconds from the start of QEMU until ssh lets in; software emulation on a busy laptop is the slow case.
BOOT_TIMEOUT = {"kvm": 120, "tcg": 600}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _console(folder: Path) -> str:
    file = folder / "console.log"
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return "\n".join(line for line in lines[-25:] if line.strip()) or "(nothing)"


def _wait(folder: Path, name: str, deadline: float, seconds: float) -> None:
    """Wait until a machine lets in by ssh; when the time is up, or it is gone, raise with the end of its console."""
    home = folder / name
    while True:
        # Not even asked before sshd can be there: a connection costs an emulated machine time.
        if "SSH server" in _console(home) or "ssh.service" in _console(home) or deadline - time.monotonic() < seconds - 20:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if ssh_ready(folder, name):
                    return
        alive = pid_of(home) is not None
        if time.monotonic() > deadline or not alive:
            what = f"did not let `ops` in by ssh within {seconds:.0f} s" if alive else "ended while it booted"
            raise NodesError(f"The virtual machine {name} {what}. The end of its console ({home / 'console.log'}):\n{_console(home)}")
        time.sleep(0.5)


def up(count: int = 2, npus: int = 2, folder: Path = FOLDER, memory: int = MEMORY_MIB, cpus: int = 0, log: Log = print) -> list[Node]:
    """Bring up ``node1`` to ``node<count>``, keeping those that run, and write the files for reaching them.

    Machines of a folder that were ended (not by ``down``) start again with their disks.

    Args:
        count: how many machines.
        npus: how many NPUs each one's stand-ins show.
        folder: of the cluster.
        memory: MiB for each.
        cpus: for each; 0 divides this machine's among them.
        log: is given one line for each step.

    Raises:
        NodesError: what was found, and the end of the console. What this call started is ended then.
    """
    if not 1 <= count <= 9:
        raise NodesError(f"--count is {count}, expected 1 to 9 virtual machines.")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    image = build_image(log)
    arch = architecture(platform.machine())
    owner = cluster(folder)
    cpus = cpus or max(1, (os.cpu_count() or 1) // count)
    with locked(folder / "lock"):
        homes = [folder / f"node{index + 1}" for index in range(count)]
        started: list[Path] = []
        try:
            accel = "" if all(pid_of(home) for home in homes) else probe(arch, image)
            if accel:
                log(f"virtual machines of {memory} MiB and {cpus} processors, "
                    + ("with hardware acceleration" if accel == "kvm" else "by software emulation: KVM does not work on this machine"))
            key = folder / "id_ed25519"
            if not key.exists():
                make_key(key, owner.name)
            public_key = key.with_suffix(".pub").read_text()
            machines: list[Node] = []
            for index, home in enumerate(homes):
                machines.append(_start(arch, accel, owner, index, image, home, memory, cpus, public_key, started, log))
            write_access(folder, owner.name, machines, [
                (machine.name, (home / "host_key.pub").read_text()) for machine, home in zip(machines, homes)])
            seconds = BOOT_TIMEOUT[accel or "tcg"]
            since = time.monotonic()
            for index, machine in enumerate(machines):
                _wait(folder, machine.name, since + seconds, seconds)
                furnish(index, npus, public_key, lambda command, stdin, name=machine.name: execute(  # type: ignore[misc]
                    folder, name, command, stdin))
        except BaseException:
            end([pid for pid in map(pid_of, started) if pid])
            raise
    log(f"{count} virtual machines are up after {time.monotonic() - since:.0f} s; look in with: ssh -F {folder / 'config'} node1")
    return machines


def _start(arch: Architecture, accel: str, owner: Cluster, index: int, image: Path, home: Path, memory: int, cpus: int,
           public_key: str, started: list[Path], log: Log) -> Node:
    """Start one machine, unless it runs."""
    name = f"node{index + 1}"
    saved = home / "port"

    def node() -> Node:
        return Node(name=name, address=owner.address(index), port=int(saved.read_text()), instance=f"{owner.name}-{name}")

    if pid_of(home):
        log(f"{name} runs already")
        return node()
    home.mkdir(exist_ok=True)
    disk = home / "disk.qcow2"
    link = home / "image"
    if disk.exists() and not link.resolve().is_dir():
        raise NodesError(f"The disk of {name} was made on an image that is gone ({link.resolve()}). "
                         f"Remove the cluster: python -m rehearsal.machines down --folder {home.parent}")
    if not disk.exists():
        host_key = make_key(home / "host_key", name)
        (home / "host_key.pub").write_text(host_key)
        (home / "seed.tar").write_bytes(seed_tar(seed_files(owner, index, public_key, ((home / "host_key").read_text(), host_key))))
        (home / "seed.tar").chmod(0o600)
        link.unlink(missing_ok=True)
        link.symlink_to(image)
        saved.write_text(str(_free_port()))
        partial = home / "disk.partial"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image / "root.img", partial, what="The disk could not be made")
        partial.rename(disk)
    (home / "pid").unlink(missing_ok=True)
    started.append(home)
    command = qemu_command(arch, accel, owner, index, int(saved.read_text()), link.resolve(), home, memory, cpus)
    (home / "command.json").write_text(json.dumps(command))
    run(*command, what=f"{name} could not be started", timeout=60)
    log(f"started {name} ({owner.address(index)}), console: {home / 'console.log'}")
    return node()


def execute(folder: Path, name: str, command: Sequence[str], stdin: bytes = b"", timeout: float = 300) -> str:
    """Run a command as root on a machine; returns its output.

    Raises:
        NodesError: when it fails.
    """
    words = ["ssh", "-F", str(folder / "config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ControlPath=none",
             name, "sudo " + shlex.join(command)]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise NodesError(f"`{shlex.join(command)}` did not end on {name} within {timeout:.0f} s.") from error
    if done.returncode != 0:
        raise NodesError(f"`{shlex.join(command)}` failed on {name} with status {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")


def reboot(name: str, folder: Path = FOLDER, seconds: float = BOOT_TIMEOUT["tcg"], log: Log = print) -> None:
    """Reboot a machine from inside: its services end in their order, then it starts again from its disk, and lets in.

    Raises:
        NodesError: with the end of the console, when ending or starting takes longer than `seconds`.
    """
    home = folder.resolve() / name
    pid = pid_of(home)
    if pid is None:
        raise NodesError(f"The virtual machine {name} of {folder} does not run.")
    # Connections that are kept open would hang.
    subprocess.run(["ssh", "-F", str(folder / "config"), "-O", "exit", name], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    with contextlib.suppress(NodesError):  # the connection may break before its end
        execute(folder, name, ["systemctl", "reboot", "--no-block"], timeout=60)
    log(f"{name} reboots")
    deadline = time.monotonic() + seconds
    while pid_of(home) == pid:
        if time.monotonic() > deadline:
            raise NodesError(f"{name} did not end its services within {seconds:.0f} s. The end of its console:\n{_console(home)}")
        time.sleep(0.5)
    # What it said before is no sign that it is up again.
    (home / "console.log").rename(home / "console.before-reboot.log")
    (home / "pid").unlink(missing_ok=True)
    run(*json.loads((home / "command.json").read_text()), what=f"{name} could not be started again", timeout=60)
    _wait(folder, name, time.monotonic() + seconds, seconds)


def down(folder: Path = FOLDER, log: Log = print) -> None:
    """End the machines of a cluster, and remove its folder."""
    folder = folder.resolve()
    pids = [pid for pid in (pid_of(file.parent) for file in folder.glob("node*/pid")) if pid]
    if pids:
        end(pids)
        log(f"removed {len(pids)} virtual machines")
    if (folder / "nodes.json").exists() or (folder / "id_ed25519").exists():
        shutil.rmtree(folder)


def clean(log: Log = print) -> None:
    """End all machines of this checkout, and remove their images and their cluster's folder."""
    home = str(STATE / "image") + "/machine-"
    pids = [pid for pid, words in processes() if any(word.startswith(home) for word in words)]
    if pids:
        end(pids)
        log(f"removed {len(pids)} virtual machines")
    down(log=log)
    for image in (STATE / "image").glob("machine-*"):
        if image.is_dir():
            shutil.rmtree(image)
