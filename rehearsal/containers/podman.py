"""Running podman, with a configuration of our own only where this machine needs one, and what of it is missing here."""
from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

from rehearsal.nodes import STATE, NodesError
from rehearsal.nodes.rootfs import KEYRING

CAP_SYS_RESOURCE = 24
# There where the hierarchy of control groups is the unified one, version 2.
CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers")


def containers_conf(
    *, cgroup_v2: bool, root: bool, capabilities: int, limits: tuple[int, int], runc: bool
) -> str | None:
    """Say which configuration podman needs on this machine, if any.

    With cgroup v2 and the usual rights podman's own defaults are right. crun refuses cgroup v1 beside v2
    ("hybrid"), and root without CAP_SYS_RESOURCE may not raise limits, which podman does by default.

    Args:
        cgroup_v2: whether /sys/fs/cgroup is the unified hierarchy.
        root: whether podman runs as root.
        capabilities: the effective set, bit n for capability n.
        limits: hard limits of open files and of processes; -1 is unlimited.
        runc: whether runc is installed.

    Returns:
        Text for ``CONTAINERS_CONF``, or None to leave podman alone.

    Raises:
        NodesError: when runc is needed and missing, or the machine cannot do it at all.
    """
    may_raise = not root or bool(capabilities >> CAP_SYS_RESOURCE & 1)
    if cgroup_v2 and may_raise:
        return None
    if not cgroup_v2 and not root:
        raise NodesError("This machine has control groups version 1, where systemd cannot run in a container of an "
                         "ordinary user. Run this as root, or boot with systemd.unified_cgroup_hierarchy=1.")
    if not cgroup_v2 and not runc:
        raise NodesError("This machine has control groups version 1, for which podman needs runc: found none. "
                         "Install it (package runc), or boot with systemd.unified_cgroup_hierarchy=1.")
    lines = ["[containers]"]
    if not may_raise:
        nofile, nproc = (most if hard < 0 else min(hard, most) for hard, most in zip(limits, (20000, 10000)))
        lines.append(f'default_ulimits = ["nofile={nofile}:{nofile}", "nproc={nproc}:{nproc}"]')
    lines.append("[engine]")
    if not cgroup_v2:
        lines += ['runtime = "runc"', 'cgroup_manager = "cgroupfs"']
    lines.append('events_logger = "file"')
    return "\n".join(lines) + "\n"


def environment() -> dict[str, str]:
    """Return the environment for podman: with a configuration of our own only where the machine needs one."""
    environment = dict(os.environ)
    if "CONTAINERS_CONF" in environment:
        return environment
    status = Path("/proc/self/status").read_text()
    text = containers_conf(
        cgroup_v2=CGROUP_V2.exists(),
        root=os.geteuid() == 0,
        capabilities=int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16),
        limits=(resource.getrlimit(resource.RLIMIT_NOFILE)[1], resource.getrlimit(resource.RLIMIT_NPROC)[1]),
        runc=shutil.which("runc", path=f"{environment.get('PATH', '')}:/usr/sbin:/sbin") is not None,
    )
    if text is not None:
        path = STATE / "containers.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        environment["CONTAINERS_CONF"] = str(path)
    return environment


def run(*arguments: str, stdin: bytes | None = None, check: bool = True, timeout: float = 300) -> str:
    """Run podman and return what it printed; raise NodesError with its message when it fails."""
    command = ["podman", *arguments]
    try:
        done = subprocess.run(command, input=stdin if stdin is not None else b"", capture_output=True,
                              env=environment(), timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise NodesError(f"`{' '.join(command)}` did not end within {timeout:.0f} s.") from error
    if check and done.returncode != 0:
        tail = "\n".join(done.stderr.decode(errors="replace").strip().splitlines()[-15:])
        raise NodesError(f"`{' '.join(command)}` failed with status {done.returncode}:\n{tail}")
    return done.stdout.decode(errors="replace").strip()


def missing_packages() -> list[str]:
    """Return the Debian packages that this machine lacks for running nodes."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    programs = {"podman": "podman", "mmdebstrap": "mmdebstrap", "ssh": "openssh-client", "tar": "tar",
                "dpkg-deb": "dpkg", "apt-get": "apt",
                # netavark, podman's network program, calls it.
                "iptables": "iptables"}
    if os.geteuid() != 0:
        programs.update({"newuidmap": "uidmap", "slirp4netns": "slirp4netns"})
    missing = [package for program, package in programs.items() if shutil.which(program, path=path) is None]
    # podman is content with either, but crun refuses cgroup v1 (`containers_conf`).
    runtimes = ("crun", "runc") if CGROUP_V2.exists() else ("runc",)
    if not any(shutil.which(runtime, path=path) for runtime in runtimes):
        missing.append(runtimes[0])
    helpers = [Path(folder) / "netavark" for folder in ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/lib/podman")]
    if not any(helper.exists() for helper in helpers) and shutil.which("netavark", path=path) is None:
        missing.append("netavark")
    if not Path(KEYRING).exists():
        missing.append("debian-archive-keyring")
    return missing


def require_programs() -> None:
    """Raise NodesError, with the command that installs them, when packages are missing."""
    missing = missing_packages()
    if missing:
        raise NodesError("This machine lacks what the nodes need. As root: "
                         f"apt-get install --no-install-recommends {' '.join(missing)}")
