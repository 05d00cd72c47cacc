"""The nodes of a rehearsal as virtual machines: for what containers lack, a kernel of their own (NFS, a firewall, a reboot).

    python -m rehearsal.machines up | down | clean | check

From outside they are like those of ``rehearsal.nodes``: a cluster is known by its folder (``.rehearsal/ssh-vm`` by
default), which holds ``config`` (for ``ssh -F``), ``known_hosts``, ``id_ed25519`` and ``nodes.json``; besides, a folder for
each machine with its disk and ``console.log``. QEMU runs as the calling user, by hardware acceleration where that works.
"""
from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from rehearsal import nodes
from rehearsal.nodes import Log, Node, NodesError

SOURCES = nodes.PROJECT / "rehearsal" / "machine"
FOLDER = nodes.STATE / "ssh-vm"
NAME = "ascend-machines"

# What node_base installs is there already: the compiler alone takes minutes to unpack without hardware acceleration, and the
# containers show that it can be installed. What sharing needs is installed by the roles.
IMAGE_PACKAGES = (*nodes.IMAGE_PACKAGES, *nodes.REPOSITORY_PACKAGES, "udev", "kmod", "initramfs-tools", "zstd")
REPOSITORY_PACKAGES = ("nfs-kernel-server", "nfs-common", "nftables", "iptables", "firewalld", "ufw")
# The lists of the machines' own package repository stay.
IMAGE_OPTIONS = ("--skip=cleanup/apt/lists",)

# Sparse: what is not written takes no room.
DISK_GIB = 16
MEMORY_MIB = 3072
# Seconds from the start of QEMU until ssh lets in; software emulation on a busy laptop is the slow case.
BOOT_TIMEOUT = {"kvm": 120, "tcg": 600}
# Of the probe: a working accelerator needs one second, software emulation two.
PROBE_TIMEOUT = 15.0
USER_NETWORK = ("10.0.2.15/24", "10.0.2.0/24")


@dataclass(frozen=True)
class Architecture:
    """What differs in QEMU between processor architectures."""

    qemu: str
    package: str
    kernel_package: str
    machine: str
    console: str


ARCHITECTURES = {
    "x86_64": Architecture("qemu-system-x86_64", "qemu-system-x86", "linux-image-cloud-amd64", "q35,usb=off,vmport=off", "ttyS0"),
    "aarch64": Architecture("qemu-system-aarch64", "qemu-system-arm", "linux-image-cloud-arm64", "virt", "ttyAMA0"),
}


@dataclass(frozen=True)
class Cluster:
    """What tells the machines of one folder from those of others."""

    name: str
    #: group and port of the wire between the machines
    group: str
    port: int
    #: first three bytes of their addresses on it
    network: str

    def address(self, index: int) -> str:
        """Return the address of a machine, 0 for the first."""
        return f"{self.network}.{nodes.FIRST_HOST + index + 1}"

    def mac(self, index: int, interface: int) -> str:
        """Return the hardware address of an interface (0 to the controller, 1 to the others) of a machine."""
        third, fourth = hashlib.sha256(self.name.encode()).digest()[:2]
        return f"52:54:{third:02x}:{fourth:02x}:{interface:02x}:{index + 1:02x}"


# ---- Pure parts -----------------------------------------------------------------------------------------------


def architecture(machine: str) -> Architecture:
    """Return what QEMU needs for a processor architecture (as ``platform.machine()`` names it).

    Raises:
        NodesError: when there is no image for it.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if machine not in ARCHITECTURES:
        raise NodesError(f"Virtual machines are made for {' and '.join(ARCHITECTURES)}, found {machine}.")
    return ARCHITECTURES[machine]


def cluster(folder: Path) -> Cluster:
    """Derive from a folder what keeps its machines from hearing those of another."""
    one, two, three, four, five = hashlib.sha256(str(folder).encode()).digest()[:5]
    return Cluster(name=nodes.cluster_name(NAME, folder), group=f"239.{one}.{two}.{three or 1}",
                   port=20000 + (four << 4) + (five & 15), network=f"10.214.{five}")


def qemu_command(arch: Architecture, accel: str, owner: Cluster, index: int, port: int, image: Path, folder: Path,
                 memory: int, cpus: int) -> list[str]:
    """Return the command that starts one machine in the background.

    Args:
        arch: of this machine's processor.
        accel: kvm or tcg.
        owner: the cluster it belongs to.
        index: 0 for node1.
        port: on 127.0.0.1, where its ssh is to be reached.
        image: folder with kernel and initrd. It is in .rehearsal: by it ``clean`` knows this checkout's machines.
        folder: of this machine: disk, seed, pid, console.log.
        memory: MiB.
        cpus: how many.
    """
    def option(path: Path) -> str:
        return str(path).replace(",", ",,")  # QEMU's own escape

    name = f"node{index + 1}"
    kernel = ["root=/dev/vda", "rw", f"console={arch.console}", "quiet", "mitigations=off", "audit=0", "apparmor=0",
              "fsck.mode=skip", "systemd.show_status=1", f"systemd.hostname={name}",
              f"systemd.machine_id={hashlib.sha256(f'{owner.name}-{name}'.encode()).hexdigest()[:32]}"]
    return [
        arch.qemu, "-name", f"{owner.name}-{name}", "-M", arch.machine,
        "-accel", "kvm" if accel == "kvm" else "tcg,thread=multi", "-cpu", "host" if accel == "kvm" else "max",
        "-m", str(memory), "-smp", str(cpus), "-nodefaults", "-no-user-config", "-display", "none", "-daemonize",
        # A guest that reboots ends its process, and `reboot` starts it again: an emulated processor that is reset takes minutes longer.
        "-no-reboot", "-pidfile", str(folder / "pid"),
        "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"), "-append", " ".join(kernel),
        "-chardev", f"file,id=console,path={option(folder / 'console.log')},append=on", "-serial", "chardev:console",
        "-drive", f"file={option(folder / 'disk.qcow2')},if=virtio,format=qcow2,cache=unsafe,discard=unmap",
        "-drive", f"file={option(folder / 'seed.tar')},if=virtio,format=raw,readonly=on",
        # restrict: air-gapped as the containers are; only what is forwarded comes in.
        "-netdev", f"user,id=outside,net={USER_NETWORK[1]},restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", f"virtio-net-pci,netdev=outside,mac={owner.mac(index, 0)},romfile=",
        "-netdev", f"socket,id=inside,mcast={owner.group}:{owner.port},localaddr=127.0.0.1",
        "-device", f"virtio-net-pci,netdev=inside,mac={owner.mac(index, 1)},romfile=",
        "-device", "virtio-rng-pci",
    ]


def seed_files(owner: Cluster, index: int, public_key: str, host_keys: tuple[str, str]) -> dict[str, tuple[int, str]]:
    """Return the files of one machine's own, name to mode and text, which it unpacks when it first boots."""
    name, address = f"node{index + 1}", owner.address(index)

    def network(interface: int, cidr: str) -> str:
        return f"[Match]\nMACAddress={owner.mac(index, interface)}\n[Network]\nAddress={cidr}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"

    return {
        "etc/hostname": (0o644, f"{name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n{address} {name}\n"),
        "etc/systemd/network/10-outside.network": (0o644, network(0, USER_NETWORK[0])),
        "etc/systemd/network/20-inside.network": (0o644, network(1, f"{address}/24")),
        "etc/ssh/ssh_host_ed25519_key": (0o600, host_keys[0]),
        "etc/ssh/ssh_host_ed25519_key.pub": (0o644, host_keys[1]),
        "home/ops/.ssh/authorized_keys": (0o644, public_key),  # of root; `furnish` makes it the user's
        "etc/rehearsal/seeded": (0o644, ""),
    }


def seed_tar(files: dict[str, tuple[int, str]]) -> bytes:
    """Pack files as a tar, owned by root; its length is a multiple of a disk's sector."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, (mode, text) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size, entry.mtime = mode, len(text.encode()), int(time.time())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


# ---- This machine ---------------------------------------------------------------------------------------------


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing_packages() -> list[str]:
    """Return the Debian packages that this machine lacks for running virtual machines."""
    arch = architecture(platform.machine())
    programs = {arch.qemu: arch.package, "qemu-img": "qemu-utils", "mke2fs": "e2fsprogs", "mmdebstrap": "mmdebstrap",
                "ssh": "openssh-client", "tar": "tar", "dpkg-deb": "dpkg", "apt-get": "apt"}
    if os.geteuid() != 0:
        programs.update({"newuidmap": "uidmap", "podman": "podman"})
    missing = [package for program, package in programs.items() if shutil.which(program, path=_path()) is None]
    if arch.package == "qemu-system-x86" and not Path("/usr/share/seabios").exists():
        missing.append("seabios")
    if not Path(nodes.KEYRING).exists():
        missing.append("debian-archive-keyring")
    return missing


def _run(*command: str | Path, what: str, timeout: float = 600) -> str:
    """Run a program; returns its output, raises NodesError with what it said when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              check=False, timeout=timeout, env={**os.environ, "PATH": _path()})
    except subprocess.TimeoutExpired as error:
        raise NodesError(f"{what}: `{shlex.join(words)}` did not end within {timeout:.0f} s.") from error
    if done.returncode != 0:
        raise NodesError(f"{what}: `{shlex.join(words)}` failed with status {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def probe(arch: Architecture, image: Path) -> str:
    """Find out whether hardware acceleration works: returns kvm, or tcg for software emulation.

    /dev/kvm may be there and refuse; or run firmware and hang in a kernel. So the machines' own kernel is started without a disk:
    it panics, which it is told to answer with a reboot, which ends QEMU with status 0.
    """
    words = [arch.qemu, "-M", arch.machine, "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none",
             "-no-reboot", "-kernel", str(image / "vmlinuz"), "-append", "panic=-1 quiet"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        if subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PROBE_TIMEOUT).returncode == 0:
            return "kvm"
    return "tcg"


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of every process that runs QEMU."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if Path(words[0]).name.startswith("qemu-system-"):
                    yield int(entry.name), words


def _pid(folder: Path) -> int | None:
    """Return the number of a machine's process, if the one in its file is really its own."""
    file = folder / "pid"
    for pid, words in _processes():
        if str(file) in words and file.exists() and file.read_text().strip() == str(pid):
            return pid
    return None


def _end(pids: Sequence[int]) -> None:
    """End processes, and wait until they are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            alive = {pid for pid, _ in _processes()}
            if not alive.intersection(pids):
                return
            time.sleep(0.1)
    raise NodesError(f"The virtual machines with the process numbers {', '.join(map(str, pids))} do not end.")


# ---- The image ------------------------------------------------------------------------------------------------


def _key(arch: Architecture) -> str:
    return nodes.digest([*(part.encode() for part in (
        nodes.SUITE, arch.kernel_package, str(DISK_GIB), *IMAGE_PACKAGES, "--", *REPOSITORY_PACKAGES, *IMAGE_OPTIONS)),
        (nodes.IMAGE_SOURCES / "local-repository.sh").read_bytes(),
        *nodes.tree(nodes.IMAGE_SOURCES / "root"), *nodes.tree(SOURCES)])


def build_image(log: Log = print) -> Path:
    """Build the machines' image unless it is there; returns the folder of vmlinuz, initrd.img and root.img.

    Raises:
        NodesError: with the tail of the failing program's output.
    """
    missing = missing_packages()
    if missing:
        raise NodesError(f"This machine lacks what virtual machines need. As root: apt-get install --no-install-recommends {' '.join(missing)}")
    arch = architecture(platform.machine())
    home = nodes.STATE / "image"
    image = home / f"machine-{_key(arch)}"
    with nodes.locked(home / "machine.lock"):
        if image.exists():
            return image
        # Older images stay while a machine runs on them.
        used = {word for _, words in _processes() for word in words}
        for old in home.glob("machine-*"):
            if old.is_dir() and str(old / "vmlinuz") not in used:
                shutil.rmtree(old)
        with tempfile.TemporaryDirectory(prefix="new-", dir=home) as made:
            fresh = Path(made) / "image"
            fresh.mkdir()
            tar = Path(made) / "machine.tar"
            nodes.make_rootfs(tar, (*IMAGE_PACKAGES, arch.kernel_package), REPOSITORY_PACKAGES,
                              [*IMAGE_OPTIONS, f"--customize-hook={SOURCES / 'customize.sh'}"], log)
            log("making the disk of the machines")
            # Owners are kept: by root, or inside a user namespace where this user is root.
            script = ('set -eu; mkdir "$1/root"; tar -x --numeric-owner -f "$1/machine.tar" -C "$1/root"; '
                      'cp "$1"/root/boot/vmlinuz-* "$1/image/vmlinuz"; cp "$1"/root/boot/initrd.img-* "$1/image/initrd.img"; '
                      'chmod a+r "$1"/image/*; truncate -s "$2" "$1/image/root.img"; '
                      'mke2fs -q -t ext4 -i 65536 -m 0 -E lazy_itable_init=0,lazy_journal_init=0 -d "$1/root" "$1/image/root.img"; '
                      'rm -r "$1/root"')
            _run(*([] if os.geteuid() == 0 else ["podman", "unshare"]), "sh", "-c", script, "sh", made, f"{DISK_GIB}G",
                 what="The disk image could not be made")
            fresh.rename(image)
    return image


# ---- Up and down ----------------------------------------------------------------------------------------------


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
                if nodes.ssh_ready(folder, name):
                    return
        alive = _pid(home) is not None
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
    with nodes.locked(folder / "lock"):
        homes = [folder / f"node{index + 1}" for index in range(count)]
        started: list[Path] = []
        try:
            accel = "" if all(_pid(home) for home in homes) else probe(arch, image)
            if accel:
                log(f"virtual machines of {memory} MiB and {cpus} processors, "
                    + ("with hardware acceleration" if accel == "kvm" else "by software emulation: KVM does not work on this machine"))
            key = folder / "id_ed25519"
            if not key.exists():
                nodes.make_key(key, owner.name)
            public_key = key.with_suffix(".pub").read_text()
            machines: list[Node] = []
            for index, home in enumerate(homes):
                machines.append(_start(arch, accel, owner, index, image, home, memory, cpus, public_key, started, log))
            nodes.write_access(folder, owner.name, machines, [
                (machine.name, (home / "host_key.pub").read_text()) for machine, home in zip(machines, homes)])
            seconds = BOOT_TIMEOUT[accel or "tcg"]
            since = time.monotonic()
            for index, machine in enumerate(machines):
                _wait(folder, machine.name, since + seconds, seconds)
                nodes.furnish(index, npus, public_key, lambda command, stdin, name=machine.name: execute(  # type: ignore[misc]
                    folder, name, command, stdin))
        except BaseException:
            _end([pid for pid in map(_pid, started) if pid])
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

    if _pid(home):
        log(f"{name} runs already")
        return node()
    home.mkdir(exist_ok=True)
    disk = home / "disk.qcow2"
    link = home / "image"
    if disk.exists() and not link.resolve().is_dir():
        raise NodesError(f"The disk of {name} was made on an image that is gone ({link.resolve()}). "
                         f"Remove the cluster: python -m rehearsal.machines down --folder {home.parent}")
    if not disk.exists():
        host_key = nodes.make_key(home / "host_key", name)
        (home / "host_key.pub").write_text(host_key)
        (home / "seed.tar").write_bytes(seed_tar(seed_files(owner, index, public_key, ((home / "host_key").read_text(), host_key))))
        (home / "seed.tar").chmod(0o600)
        link.unlink(missing_ok=True)
        link.symlink_to(image)
        saved.write_text(str(_free_port()))
        partial = home / "disk.partial"
        _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image / "root.img", partial, what="The disk could not be made")
        partial.rename(disk)
    (home / "pid").unlink(missing_ok=True)
    started.append(home)
    command = qemu_command(arch, accel, owner, index, int(saved.read_text()), link.resolve(), home, memory, cpus)
    (home / "command.json").write_text(json.dumps(command))
    _run(*command, what=f"{name} could not be started", timeout=60)
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
    pid = _pid(home)
    if pid is None:
        raise NodesError(f"The virtual machine {name} of {folder} does not run.")
    # Connections that are kept open would hang.
    subprocess.run(["ssh", "-F", str(folder / "config"), "-O", "exit", name], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    with contextlib.suppress(NodesError):  # the connection may break before its end
        execute(folder, name, ["systemctl", "reboot", "--no-block"], timeout=60)
    log(f"{name} reboots")
    deadline = time.monotonic() + seconds
    while _pid(home) == pid:
        if time.monotonic() > deadline:
            raise NodesError(f"{name} did not end its services within {seconds:.0f} s. The end of its console:\n{_console(home)}")
        time.sleep(0.5)
    # What it said before is no sign that it is up again.
    (home / "console.log").rename(home / "console.before-reboot.log")
    (home / "pid").unlink(missing_ok=True)
    _run(*json.loads((home / "command.json").read_text()), what=f"{name} could not be started again", timeout=60)
    _wait(folder, name, time.monotonic() + seconds, seconds)


def down(folder: Path = FOLDER, log: Log = print) -> None:
    """End the machines of a cluster, and remove its folder."""
    folder = folder.resolve()
    pids = [pid for pid in (_pid(file.parent) for file in folder.glob("node*/pid")) if pid]
    if pids:
        _end(pids)
        log(f"removed {len(pids)} virtual machines")
    if (folder / "nodes.json").exists() or (folder / "id_ed25519").exists():
        shutil.rmtree(folder)


def clean(log: Log = print) -> None:
    """End all machines of this checkout, and remove their images and their cluster's folder."""
    home = str(nodes.STATE / "image") + "/machine-"
    pids = [pid for pid, words in _processes() if any(word.startswith(home) for word in words)]
    if pids:
        _end(pids)
        log(f"removed {len(pids)} virtual machines")
    down(log=log)
    for image in (nodes.STATE / "image").glob("machine-*"):
        if image.is_dir():
            shutil.rmtree(image)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.machines", description="The nodes of a rehearsal as virtual machines.")
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="bring the machines up (those that run are kept)")
    up_parser.add_argument("--count", type=int, default=2, help="how many machines (default: %(default)s)")
    up_parser.add_argument("--npus", type=int, default=2, help="NPUs that each machine shows (default: %(default)s)")
    up_parser.add_argument("--memory", type=int, default=MEMORY_MIB, help="MiB for each (default: %(default)s)")
    up_parser.add_argument("--cpus", type=int, default=0, help="processors for each (default: those of this machine, divided)")
    reboot_parser = commands.add_parser("reboot", help="reboot a machine and wait for it")
    reboot_parser.add_argument("name", help="for example node2")
    down_parser = commands.add_parser("down", help="end and remove the machines")
    for one in (up_parser, reboot_parser, down_parser):
        one.add_argument("--folder", type=Path, default=FOLDER, help="keys, ssh configuration, disks (default: %(default)s)")
    commands.add_parser("clean", help="remove all machines of this checkout, and the image")
    commands.add_parser("check", help="print the Debian packages that this machine lacks for it")
    given = parser.parse_args(arguments)
    # Being told to end is an interruption: what was started is ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    log = nodes.print_line
    try:
        return nodes.run_command(given.command, {
            "up": lambda: up(given.count, given.npus, given.folder, given.memory, given.cpus, log),
            "reboot": lambda: reboot(given.name, given.folder, log=log),
            "down": lambda: down(given.folder, log),
            "clean": lambda: clean(log),
        }, missing_packages)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
