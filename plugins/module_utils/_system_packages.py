"""Packages of the distribution by its own commands, whatever Python runs the modules.

Ansible's dnf and apt modules need the package manager's Python bindings, which belong to the system's Python. On Kylin V10
and openEuler 20.03 that is 3.7, which ansible-core does not take any more, and a newer Python beside it has no bindings
(https://github.com/ansible/ansible/issues/82068, https://github.com/kubernetes-sigs/kubespray/issues/13487). The commands
bring their own Python. Packages that are there are not asked for: nodes may have no way to a package source.
"""
from __future__ import annotations

from typing import Callable, Iterable, Sequence, Tuple

Answer = Tuple[int, str, str]
Run = Callable[[Sequence[str]], Answer]
"""Runs a command; gives status, stdout and stderr."""

# A Python that Ansible was given for itself must not reach into the system's.
_CLEAN = ("env", "-u", "PYTHONPATH", "-u", "PYTHONHOME")


class PackagesError(Exception):
    """Packages could not be installed; the message says what was run and what it said."""


def missing(names: Iterable[str], manager: str, run: Run, root: str = "") -> list[str]:
    """Those of the names that are not installed.

    Args:
        names: of packages, or of what packages provide.
        manager: rpm or dpkg.
        run: see Run.
        root: folder to look below, in place of /; for rpm only.
    """
    names = list(dict.fromkeys(names))
    if manager == "dpkg":
        _, output, _ = run(["dpkg-query", "-W", "-f", "${db:Status-Status}|${Package}|${Version}|${Provides}\n"])
        there: set[str] = set()
        for line in output.splitlines():
            status, package, version, provides = line.split("|", 3)
            if status == "installed":
                there |= {package, f"{package}={version}", *(one.split()[0] for one in provides.split(",") if one.strip())}
        return [name for name in names if name not in there]
    rpm = ["rpm", *(["--root", root] if root else []), "-q"]
    return [name for name in names if run([*rpm, name])[0] != 0 and run([*rpm, "--whatprovides", name])[0] != 0]


def install(names: Sequence[str], manager: str, program: str, run: Run, root: str = "") -> None:
    """Install packages by the system's own command.

    Args:
        names: what is missing, at least one.
        manager: rpm or dpkg.
        program: path of dnf, yum or apt-get.
        run: see Run.
        root: folder to install below, in place of /; for rpm only.

    Raises:
        PackagesError: when the command fails, or ends well without having installed everything.
    """
    if manager == "dpkg":
        words = [*_CLEAN, "DEBIAN_FRONTEND=noninteractive", program, "-y", "-q", "-o", "DPkg::Lock::Timeout=120",
                 "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "install", *names]
    else:
        words = [*_CLEAN, program, "-y", *([f"--installroot={root}"] if root else []), "install", *names]
    rc, output, errors = run(words)
    said = "\n".join([line for line in (output + "\n" + errors).splitlines() if line.strip()][-15:])
    command = " ".join(words[len(_CLEAN):])
    if rc != 0:
        raise PackagesError(f"`{command}` ended with status {rc}:\n{said}")
    left = missing(names, manager, run, root)
    if left:
        raise PackagesError(f"`{command}` ended well, but {', '.join(left)} is not installed after it:\n{said}")
