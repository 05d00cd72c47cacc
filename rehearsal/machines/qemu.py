"""Running QEMU: the command that starts a machine, hardware acceleration, and the processes of machines."""
from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

from rehearsal.machines.network import USER_NETWORK, Cluster
from rehearsal.nodes import NodesError
from rehearsal.nodes.rootfs import KEYRING

# Of the probe: a working accelerator needs one second, software emulation two.
PROBE_TIMEOUT = 15.0


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


def architecture(machine: str) -> Architecture:
    """Return what QEMU needs for a processor architecture (as ``platform.machine()`` names it).

    Raises:
        NodesError: when there is no image for it.
    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if machine not in ARCHITECTURES:
        raise NodesError(f"Virtual machines are made for {' and '.join(ARCHITECTURES)}, found {machine}.")
    return ARCHITECTURES[machine]


def search_path() -> str:
    """Return PATH with the folders of the system's programs, which an ordinary user's may lack."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing_packages() -> list[str]:
    """Return the Debian packages that this machine lacks for running virtual machines."""
    arch = architecture(platform.machine())
    programs = {arch.qemu: arch.package, "qemu-img": "qemu-utils", "mke2fs": "e2fsprogs", "mmdebstrap": "mmdebstrap",
                "ssh": "openssh-client", "tar": "tar", "dpkg-deb": "dpkg", "apt-get": "apt"}
    if os.geteuid() != 0:
        programs.update({"newuidmap": "uidmap", "podman": "podman"})
    missing = [package for program, package in programs.items() if shutil.which(program, path=search_path()) is None]
    if arch.package == "qemu-system-x86" and not Path("/usr/share/seabios").exists():
        missing.append("seabios")
    if not Path(KEYRING).exists():
        missing.append("debian-archive-keyring")
    return missing


def run(*command: str | Path, what: str, timeout: float = 600) -> str:
    """Run a program; returns its output, raises NodesError with what it said when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              check=False, timeout=timeout, env={**os.environ, "PATH": search_path()})
    except subprocess.TimeoutExpired as error:
        raise NodesError(f"{what}: `{shlex.join(words)}` did not end within {timeout:.0f} s.") from error
    if done.returncode != 0:
        raise NodesError(f"{what}: `{shlex.join(words)}` failed with status {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


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


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of every process that runs QEMU."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if Path(words[0]).name.startswith("qemu-system-"):
                    yield int(entry.name), words


def pid_of(folder: Path) -> int | None:
    """Return the number of a machine's process, if the one in its file is really its own."""
    file = folder / "pid"
    for pid, words in processes():
        if str(file) in words and file.exists() and file.read_text().strip() == str(pid):
            return pid
    return None


def end(pids: Sequence[int]) -> None:
    """End processes, and wait until they are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            alive = {pid for pid, _ in processes()}
            if not alive.intersection(pids):
                return
            time.sleep(0.1)
    raise NodesError(f"The virtual machines with the process numbers {', '.join(map(str, pids))} do not end.")
