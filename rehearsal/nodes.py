"""The nodes of a rehearsal: systemd containers that are reached by real ssh.

    python -m rehearsal.nodes up | down | clean | check

A cluster is known by its folder (``.rehearsal/ssh`` by default): two folders are two clusters, which
share the node image and nothing else, each with its own network, addresses and ports. The folder holds
``config`` (for ``ssh -F``), ``known_hosts``, ``id_ed25519`` and ``nodes.json`` (name, address, port, instance).
"""
from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Iterable, Iterator, Mapping, Sequence

PROJECT = Path(__file__).resolve().parent.parent
STATE = PROJECT / ".rehearsal"
IMAGE_SOURCES = PROJECT / "rehearsal" / "image"
HARDWARE_ROOT = PROJECT / "rehearsal" / "hardware" / "root"
FOLDER = STATE / "ssh"
NAME = "ascend-rehearsal"

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# In the image: what a freshly installed server has, and Python's headers (a stand-in for a conda distribution,
# which brings its own). Nothing of what the roles install.
IMAGE_PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "iproute2", "procps",
                  "iputils-ping", "python3", "python3-apt", "python3-venv", "python3-dev", "bzip2", "xz-utils")
# In the image's own package repository, for the roles to install.
REPOSITORY_PACKAGES = ("acl", "g++", "make", "rsync", "git", "pciutils", "numactl", "net-tools", "curl", "unzip")

ROOTFS_IMAGE = "localhost/ascend-rehearsal-rootfs"
NODE_IMAGE = "localhost/ascend-rehearsal-node"
LABEL_PROJECT = "ascend-rehearsal.project"
LABEL_FOLDER = "ascend-rehearsal.folder"
# Private networks to choose from, the first that nothing else on the machine overlaps.
SUBNETS = tuple(f"10.213.{third}.0/24" for third in range(64, 128))
FIRST_HOST = 10  # node1 is .11
CAP_SYS_RESOURCE = 24
# There where the hierarchy of control groups is the unified one, version 2.
CGROUP_V2 = Path("/sys/fs/cgroup/cgroup.controllers")

Log = Callable[[str], None]


class NodesError(Exception):
    """The nodes could not be made; the message says what was found and what to do."""


@dataclass(frozen=True)
class Node:
    """One node: its inventory name, address on the cluster's network, ssh port on 127.0.0.1, and what runs it."""

    name: str
    address: str
    port: int
    #: name of its container, or of its virtual machine
    instance: str


# ---- Pure parts -----------------------------------------------------------------------------------------------


def cluster_name(name: str, folder: Path) -> str:
    """Return the prefix of a cluster's containers, unique for its folder."""
    return f"{name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}"


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


def ssh_config(nodes: Sequence[Node], folder: Path, control: Path, prefix: str) -> str:
    """Render the ssh configuration of a cluster.

    The multiplexing socket is set here rather than by Ansible, which would name it after host and user
    alone: node1 of another cluster has the same.
    """
    def quoted(path: Path) -> str:
        return f'"{path}"'

    lines: list[str] = []
    for node in nodes:
        lines += [
            f"Host {node.name}",
            "  HostName 127.0.0.1",
            f"  Port {node.port}",
            f"  HostKeyAlias {node.name}",
        ]
    lines += [
        "Host *",
        "  User ops",
        f"  IdentityFile {quoted(folder / 'id_ed25519')}",
        "  IdentitiesOnly yes",
        "  IdentityAgent none",
        "  PreferredAuthentications publickey",
        "  StrictHostKeyChecking yes",
        f"  UserKnownHostsFile {quoted(folder / 'known_hosts')}",
        "  GlobalKnownHostsFile /dev/null",
        "  UpdateHostKeys no",
        "  ControlMaster auto",
        "  ControlPersist 60s",
        f"  ControlPath {quoted(control / (prefix + '-%n-%p'))}",
        "  ServerAliveInterval 30",
        "  LogLevel ERROR",
    ]
    return "\n".join(lines) + "\n"


def known_hosts(keys: Iterable[tuple[str, str]]) -> str:
    """Render a known_hosts file from pairs of node name and public host key (``type key comment``)."""
    return "".join(f"{name} {' '.join(key.split()[:2])}\n" for name, key in keys)


def routed_networks(table: str) -> list[ipaddress.IPv4Network]:
    """Read the networks that the machine has routes to from the text of /proc/net/route (default route excluded)."""
    networks = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[index]), "little") for index in (1, 7))
        if mask:
            networks.append(ipaddress.IPv4Network((destination, mask.bit_count()), strict=False))
    return networks


def free_subnets(candidates: Iterable[str], taken: Sequence[ipaddress.IPv4Network]) -> list[str]:
    """Return those candidates that overlap nothing."""
    return [text for text in candidates if not any(ipaddress.IPv4Network(text).overlaps(used) for used in taken)]


def debian_sources(texts: Iterable[tuple[str, str]], suite: str) -> list[str]:
    """Read the machine's own Debian mirrors from its apt sources.

    Args:
        texts: file name and content of each sources file, one-line (``.list``) or deb822 (``.sources``).
        suite: the Debian release wanted. A mirror of another release serves this one as well.

    Returns:
        ``deb URI SUITE main`` lines: the release, and its security updates where a mirror of those is known.
    """
    found: list[tuple[str, str]] = []
    for name, text in texts:
        if name.endswith(".sources"):
            for stanza in text.split("\n\n"):
                fields = {key.strip().lower(): value.split() for key, _, value in
                          (line.partition(":") for line in stanza.splitlines() if not line.startswith(("#", " ")))}
                if "main" in fields.get("components", []) and fields.get("enabled") != ["no"]:
                    found += [(uri, one) for uri in fields.get("uris", []) for one in fields.get("suites", [])]
        else:
            for line in text.splitlines():
                words = line.partition("]")[2].split() if "[" in line else line.split()[1:]
                if line.startswith("deb ") and "main" in words[2:]:
                    found.append((words[0], words[1]))
    lines: dict[str, str] = {}
    for uri, one in found:
        path = uri.rstrip("/").rsplit("/", 1)[-1]
        if path == "debian" and "-" not in one:
            lines.setdefault("main", f"deb {uri} {suite} main")
        elif path == "debian-security" and one.endswith("-security"):
            lines.setdefault("security", f"deb {uri} {suite}-security main")
    return [lines[key] for key in ("main", "security") if key in lines]


def digest(parts: Iterable[bytes]) -> str:
    """Return a short key of some inputs, in their order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:16]


# ---- Podman ---------------------------------------------------------------------------------------------------


def _environment() -> dict[str, str]:
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


def _podman(*arguments: str, stdin: bytes | None = None, check: bool = True, timeout: float = 300) -> str:
    """Run podman and return what it printed; raise NodesError with its message when it fails."""
    command = ["podman", *arguments]
    try:
        done = subprocess.run(command, input=stdin if stdin is not None else b"", capture_output=True,
                              env=_environment(), timeout=timeout, check=False)
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


def _require_programs() -> None:
    missing = missing_packages()
    if missing:
        raise NodesError("This machine lacks what the nodes need. As root: "
                         f"apt-get install --no-install-recommends {' '.join(missing)}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others that build or start the same thing waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


# ---- The image ------------------------------------------------------------------------------------------------


def _mirrors() -> list[str]:
    mirror = os.environ.get("DEBIAN_MIRROR", "").rstrip("/")
    if mirror:
        return [f"deb {mirror} {SUITE} main"]
    base = Path("/etc/apt")
    files = [base / "sources.list", *sorted((base / "sources.list.d").glob("*"))]
    lines = debian_sources(((path.name, path.read_text()) for path in files
                            if path.is_file() and path.suffix in (".list", ".sources")), SUITE)
    if not any(f" {SUITE} " in line for line in lines):
        raise NodesError("No Debian mirror is known: /etc/apt/sources.list and sources.list.d name none. "
                         f"Set DEBIAN_MIRROR to the url of one that has {SUITE} (the folder above dists/).")
    return lines


def make_rootfs(tar: Path, packages: Sequence[str], repository: Sequence[str], options: Sequence[str], log: Log) -> None:
    """Make the root file system of a node with mmdebstrap, as a tar.

    Args:
        tar: where it goes; it appears whole or not at all.
        packages: what is installed.
        repository: what lies in the node's own package repository, with all it depends on.
        options: more of mmdebstrap's own.
        log: is given one line for each step.

    Raises:
        NodesError: with the end of mmdebstrap's output.
    """
    partial = tar.with_suffix(".partial.tar")
    logfile = STATE / "logs" / f"{tar.stem}.log"
    logfile.parent.mkdir(parents=True, exist_ok=True)
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "info", "locale", "doc")]
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", f"--keyring={KEYRING}",
               *excluded, "--dpkgopt=force-unsafe-io", f"--customize-hook={IMAGE_SOURCES / 'local-repository.sh'}",
               *options, SUITE, str(partial), *_mirrors()]
    log(f"making the root file system of the nodes, a minute or two (log: {logfile})")
    with logfile.open("wb") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False,
                              env={**os.environ, "NODE_REPOSITORY": " ".join(repository)}, timeout=1800)
    if done.returncode != 0:
        partial.unlink(missing_ok=True)
        tail = "\n".join(logfile.read_text(errors="replace").splitlines()[-15:])
        raise NodesError(f"mmdebstrap failed with status {done.returncode} (whole log: {logfile}):\n{tail}\n"
                         "When the mirror cannot be reached, set DEBIAN_MIRROR to another.")
    partial.rename(tar)


def tree(folder: Path) -> Iterator[bytes]:
    """Yield names, modes and contents of the files below a folder, in a fixed order."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield f"{path.relative_to(folder)} {path.stat().st_mode & 0o100}".encode()
        yield path.read_bytes()


def _keys() -> tuple[str, str]:
    """Return the keys of the root file system and of the image, made from all that goes into them."""
    rootfs = digest(part.encode() for part in (
        SUITE, platform.machine(), *IMAGE_PACKAGES, "--", *REPOSITORY_PACKAGES,
        (IMAGE_SOURCES / "local-repository.sh").read_text()))
    return rootfs, digest([rootfs.encode(), (IMAGE_SOURCES / "Containerfile").read_bytes(),
                           *tree(IMAGE_SOURCES / "root")])


def _has_image(image: str) -> bool:
    return bool(_podman("images", "--quiet", "--filter", f"reference={image}"))


def build_image(log: Log = print) -> str:
    """Build the node image unless it is there, and return its name.

    Raises:
        NodesError: with the tail of the failing program's output.
    """
    _require_programs()
    rootfs_key, image_key = _keys()
    image = f"{NODE_IMAGE}:{image_key}"
    with locked(STATE / "image" / "lock"):
        if _has_image(image):
            return image
        rootfs = f"{ROOTFS_IMAGE}:{rootfs_key}"
        if not _has_image(rootfs):
            tar = STATE / "image" / f"rootfs-{rootfs_key}.tar"
            if not tar.exists():
                for old in tar.parent.glob("rootfs-*"):
                    old.unlink()
                make_rootfs(tar, IMAGE_PACKAGES, REPOSITORY_PACKAGES, (), log)
            log("importing the root file system into podman")
            _podman("import", str(tar), rootfs)
        log("building the node image")
        _podman("build", "--quiet", "--network=none", "--build-arg", f"ROOTFS={rootfs}", "--tag", image,
                "--file", str(IMAGE_SOURCES / "Containerfile"), str(IMAGE_SOURCES))
    return image


# ---- Up -------------------------------------------------------------------------------------------------------


def _network(prefix: str, folder: Path) -> ipaddress.IPv4Network:
    """Make the cluster's network unless it is there, and return its subnet."""
    if _podman("network", "ls", "--quiet", "--filter", f"label={LABEL_FOLDER}={folder}"):
        found = json.loads(_podman("network", "inspect", prefix))[0]
        return ipaddress.IPv4Network(found["subnets"][0]["subnet"])
    taken = routed_networks(Path("/proc/net/route").read_text())
    for name in _podman("network", "ls", "--format", "{{.Name}}").splitlines():
        for other in json.loads(_podman("network", "inspect", name, check=False) or "[]"):
            taken += [ipaddress.IPv4Network(one["subnet"]) for one in other.get("subnets") or []
                      if ":" not in one["subnet"]]
    failure: NodesError | None = None
    for subnet in free_subnets(SUBNETS, taken)[:3]:
        try:
            _podman("network", "create", "--disable-dns", "--subnet", subnet, "--label", f"{LABEL_FOLDER}={folder}",
                    "--label", f"{LABEL_PROJECT}={PROJECT}", prefix)
            return ipaddress.IPv4Network(subnet)
        except NodesError as error:  # somebody else took it in between
            failure = error
    raise failure or NodesError(f"No private network is free for the nodes: all of {SUBNETS[0]} … {SUBNETS[-1]} overlap "
                                "a route or podman network of this machine (`ip route`, `podman network ls`).")


def _state(container: str) -> str:
    return _podman("container", "inspect", "--format", "{{.State.Status}}", container, check=False)


def _journal(container: str) -> str:
    text = _podman("exec", container, "journalctl", "--no-pager", "-n", "25", check=False, timeout=30)
    return text or _podman("logs", "--tail", "25", container, check=False, timeout=30)


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
        old = _podman("container", "inspect", "--format", "{{.ImageName}}", container)
        log(f"{node} runs already" + ("" if old == image else ", from an older image: for the new one, take it down first"))
        return
    if state:
        log(f"starting {node} again")
        _podman("start", container)
        return
    # The same at every start: with another one nobody reaches the address until the old one is forgotten, half a minute later.
    mac = "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.ip_address(address).packed)
    try:
        _podman("run", "--detach", "--name", container, "--hostname", node, "--systemd=always",
                "--network", network, "--ip", address, "--mac-address", mac, "--publish", "127.0.0.1::22", "--dns=none",
                # For the net.* sysctls of the roles; the image's init makes all others read-only.
                "--cap-add=NET_ADMIN,SYS_ADMIN", "--security-opt", "unmask=/proc/sys", "--shm-size=1g",
                "--label", f"{LABEL_FOLDER}={folder}", "--label", f"{LABEL_PROJECT}={PROJECT}", image)
    except NodesError:
        _podman("rm", "--force", container, check=False)
        raise
    log(f"started {node} ({address})")


def furnish(index: int, npus: int, public_key: str, execute: Callable[[Sequence[str], bytes], object]) -> None:
    """Give a running node its user's key, its hardware stand-ins and what those need to know.

    Args:
        index: 0 for the first node.
        npus: how many NPUs its stand-ins show.
        public_key: whom ``ops`` lets in.
        execute: runs a command as root on the node, with an input.
    """
    script = ("set -e; install -o ops -g ops -m 0600 /dev/stdin /home/ops/.ssh/authorized_keys; "
              "mkdir -p /etc/rehearsal; "
              f"printf 'NODE_INDEX=%s\\nNPU_COUNT=%s\\n' {index} {npus} > /etc/rehearsal/node.env")
    execute(["sh", "-c", script], public_key.encode())
    if HARDWARE_ROOT.is_dir():
        packed = subprocess.run(["tar", "--owner=0", "--group=0", "--numeric-owner", "--mode=u+rwX,go=rX",
                                 "--exclude=__pycache__", "-C", str(HARDWARE_ROOT), "-c", "."],
                                capture_output=True, check=True).stdout
        execute(["tar", "-x", "--no-overwrite-dir", "-C", "/"], packed)
        # A stand-in may need more than files (devices, a group): its tree may bring this program.
        execute(["sh", "-c", "if [ -x /usr/libexec/rehearsal/hardware ]; then /usr/libexec/rehearsal/hardware; fi"], b"")


def ssh_ready(folder: Path, node: str) -> bool:
    """Say whether a node lets `ops` in by ssh, and become root there."""
    done = subprocess.run(["ssh", "-F", str(folder / "config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
                           "-o", "ControlPath=none", node, "sudo -n true"],
                          stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    return done.returncode == 0


def write_private(path: Path, text: str) -> None:
    """Write a file for its owner alone."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    path.chmod(0o600)


def make_key(path: Path, comment: str) -> str:
    """Make an ed25519 key pair, in place of an old one; returns the public key."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
                   check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return path.with_suffix(".pub").read_text()


def write_access(folder: Path, prefix: str, nodes: Sequence[Node], host_keys: Iterable[tuple[str, str]]) -> None:
    """Write what others reach a cluster by: ssh configuration, known hosts, and nodes.json."""
    control = Path.home() / ".ansible" / "cp"
    control.mkdir(parents=True, exist_ok=True)
    write_private(folder / "known_hosts", known_hosts(host_keys))
    write_private(folder / "config", ssh_config(nodes, folder, control, prefix))
    write_private(folder / "nodes.json", json.dumps({node.name: asdict(node) for node in nodes}, indent=2) + "\n")


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
        subnet = _network(prefix, folder)
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
                  lambda one=container: _podman(  # type: ignore[misc]  # bound now, not later
                      "exec", one, "systemctl", "is-system-running", check=False) in ("running", "degraded"), 90)
            furnish(index, npus, public_key, lambda command, stdin, one=container: _podman(  # type: ignore[misc]
                "exec", "--interactive", one, *command, stdin=stdin))
            port = int(_podman("port", container, "22/tcp").splitlines()[0].rpartition(":")[2])
            nodes.append(Node(name=node, address=address, port=port, instance=container))
            # Read out of band, so that the first connection is verified as well.
            host_keys.append((node, _podman("exec", container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")))

        write_access(folder, prefix, nodes, host_keys)
        for one in nodes:
            _wait("it did not let `ops` in by ssh", one.instance,
                  lambda host=one.name: ssh_ready(folder, host), 30)  # type: ignore[misc]
    log(f"{count} nodes are up; look in with: ssh -F {folder / 'config'} node1")
    return nodes


# ---- Down -----------------------------------------------------------------------------------------------------


def _remove(label: str, log: Log) -> None:
    """Remove the containers and networks with a label."""
    containers = _podman("ps", "--all", "--quiet", "--filter", f"label={label}").split()
    if containers:
        _podman("rm", "--force", "--volumes", "--time", "3", *containers)
        log(f"removed {len(containers)} nodes")
    networks = _podman("network", "ls", "--quiet", "--filter", f"label={label}").split()
    if networks:
        _podman("network", "rm", *networks)


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
            for one in _podman("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter",
                               f"reference={image}").splitlines():
                # Another checkout may be using the same image: then it stays.
                _podman("rmi", one, check=False)
    if STATE.exists():
        shutil.rmtree(STATE)
        log(f"removed {STATE}")


def print_line(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def run_command(command: str, actions: Mapping[str, Callable[[], object]], missing: Callable[[], list[str]]) -> int:
    """Run one command of a command line; ``check`` prints the packages that are missing. Returns the exit status."""
    try:
        if command == "check":
            packages = missing()
            print(" ".join(packages))
            return 1 if packages else 0
        actions[command]()
    except NodesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.nodes", description="The nodes of a rehearsal.")
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="bring the nodes up (those that run are kept)")
    up_parser.add_argument("--count", type=int, default=2, help="how many nodes (default: %(default)s)")
    up_parser.add_argument("--npus", type=int, default=2, help="NPUs that each node shows (default: %(default)s)")
    up_parser.add_argument("--name", default=NAME, help="what container names begin with (default: %(default)s)")
    down_parser = commands.add_parser("down", help="remove nodes and network")
    for one in (up_parser, down_parser):
        one.add_argument("--folder", type=Path, default=FOLDER, help="keys and ssh configuration (default: %(default)s)")
    commands.add_parser("clean", help="remove nodes, networks, images and the folder .rehearsal")
    commands.add_parser("check", help="print the Debian packages that this machine lacks for it")
    given = parser.parse_args(arguments)

    return run_command(given.command, {
        "up": lambda: up(given.count, given.npus, given.folder, given.name, print_line),
        "down": lambda: down(given.folder, print_line),
        "clean": lambda: clean(print_line),
    }, missing_packages)


if __name__ == "__main__":
    raise SystemExit(main())
