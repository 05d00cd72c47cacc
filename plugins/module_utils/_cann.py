"""CANN's packages, by version: what they are called (a stack's layouts say it), and which of those installed counts.

Up to 8.4 every version is a folder below ascend-toolkit, whose link `latest`, or links in a folder `latest`, name the one
in use; there is one set_env.sh for all. From 8.5 on a version is a folder cann-<version> with a set_env.sh of its own,
`cann` is a link to the last one installed, and so is then ascend-toolkit/latest (vendor's installation guides, "File
Paths"). The version that counts is the one that the environment file sources, not the newest.
"""
from __future__ import annotations

import glob
import os
import re
from typing import Any, Mapping, Sequence

# Where the kernels are recorded, seen from the folder of a version: from 8.5 on, and before.
_KERNEL_RECORDS = ("*-linux/ascend_ops_install.info", "opp_kernel/version.info", "*-linux/ascend_kernels*_install.info")


def order(version: str) -> tuple[float, ...]:
    """Where a version stands among others: 8.0.RC1 before 8.0.RC3 before 8.0.0; 8.5.0-beta.1 as 8.5.0; 8.5 before all of 8.5."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    candidate = re.search(r"\.RC(\d+)", version, re.IGNORECASE)
    return (*numbers[:2], int(candidate[1]) if candidate else float("inf") if len(numbers) > 2 else 0)


def layout(layouts: Sequence[Mapping[str, Any]], version: str, arch: str, path: str) -> dict[str, Any]:
    """The names of the newest layout that a version is not older than.

    Args:
        layouts: of a stack: ``from``, the version from which on it holds, names in which ``{version}``, ``{arch}`` and ``{path}`` stand,
            and what is true or false.
        version: such as 8.0.RC1.
        arch: as `uname -m` prints it.
        path: where CANN is installed.

    Raises:
        ValueError: when all layouts are for newer versions.
    """
    fitting = [one for one in layouts if order(str(one["from"])) <= order(version)]
    if not fitting:
        oldest = min((str(one["from"]) for one in layouts), key=order)
        raise ValueError(f"CANN {version} (cann_toolkit_version) is older than all that this stack knows, expected {oldest} or newer: set "
                         "cann_toolkit_version, or cluster_stack to a stack that goes with it.")
    newest = max(fitting, key=lambda one: order(str(one["from"])))
    return {name: text.format(version=version, arch=arch, path=path) if isinstance(text, str) else text for name, text in newest.items() if name != "from"}


def value(path: str, *keys: str) -> str:
    """Value of the first of these keys that a file of key=value lines has; empty when there is no such file or line."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            values = dict(line.strip().split("=", 1) for line in reversed(list(stream)) if "=" in line)
    except OSError:
        return ""
    return next((values[key] for key in keys if values.get(key)), "")


def version_in(record: str) -> str:
    """Version of the package that a record is of: version_dir, where there is one, since `Version` is an internal one."""
    return value(record, "version_dir", "version")


def kernels_version(kernels_info: str, folder: str) -> str:
    """Version of the kernels by their record, or by the other records that packages leave in the folder of a version."""
    others = [path for pattern in _KERNEL_RECORDS for path in sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))]
    return next(filter(None, map(version_in, [kernels_info, *others])), "")


def installed(install_path: str) -> list[dict[str, str]]:
    """Version and folder of every CANN below an install path; links to one (cann, latest) are no further ones."""
    root = glob.escape(install_path)
    found = []
    for pattern in ("ascend-toolkit/*", "cann*"):
        for folder in sorted(glob.glob(os.path.join(root, pattern, "*-linux"))):
            version = version_in(os.path.join(folder, "ascend_toolkit_install.info"))
            if version and not os.path.islink(folder) and not os.path.islink(os.path.dirname(folder)):
                found.append({"version": version, "folder": os.path.dirname(folder)})
    return found


def state(install_path: str, home: str, latest: str, info: str, kernels_info: str, record: str) -> dict[str, Any]:
    """What is installed where the environment file leads.

    Args:
        install_path: under which all versions lie.
        home: folder of this version's layout: ascend-toolkit, or cann-<version>.
        latest: folder of the version in use.
        info: record of the toolkit in it.
        kernels_info: record of the kernels in it.
        record: the vendor's note of where CANN was installed last.

    Returns:
        toolkit and kernels: versions, empty where there is none; leads_to: version to which `latest` leads out of `home`,
        into another layout: it counts as none here; installed: see there; elsewhere: the recorded path, where it is
        neither the install path nor below it.
    """
    toolkit, leads_to = version_in(info), ""
    if not os.path.realpath(info).startswith(os.path.realpath(home) + os.sep):
        toolkit, leads_to = "", toolkit
    path = value(record, "Toolkit_InstallPath")
    return {
        "toolkit": toolkit,
        "kernels": kernels_version(kernels_info, latest) if toolkit else "",
        "leads_to": leads_to,
        "installed": installed(install_path),
        "elsewhere": "" if f"{path}/".startswith(install_path.rstrip("/") + "/") else path,
    }
