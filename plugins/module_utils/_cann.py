"""CANN's packages, by version: what their archives are called, and which of those installed counts.

Up to 8.4 every version is a folder below ascend-toolkit, whose link `latest`, or links in a folder `latest`, name the one
in use; there is one set_env.sh for all. From 8.5 on a version is a folder cann-<version> with a set_env.sh of its own,
`cann` is a link to the last one installed, and so is then ascend-toolkit/latest (vendor's installation guides, "File
Paths"). The version that counts is the one that the environment file sources, not the newest.
"""
from __future__ import annotations

import glob
import os
import re
from typing import Any

# Where the kernels are recorded, seen from the folder of a version: from 8.5 on, and before.
_KERNEL_RECORDS = ("*-linux/ascend_ops_install.info", "opp_kernel/version.info", "*-linux/ascend_kernels*_install.info")


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version (8.5.0-beta.1: 8 and 5)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def kernels_archive(version: str, arch: str, chip: str = "910b") -> str:
    """Name of the archive with the kernels (compiled operators).

    It got the architecture with 8.0.RC3, and became the operators' package with 8.5.

    Args:
        version: of the kernels, such as 8.0.RC1.
        arch: as `uname -m` prints it.
        chip: as the vendor writes it in the name.
    """
    if numbers(version) >= (8, 5):
        return f"Ascend-cann-{chip}-ops_{version}_linux-{arch}.run"
    no_architecture = numbers(version) < (8, 0) or re.match(r"8\.0\.RC[12]\b", version)
    return f"Ascend-cann-kernels-{chip}_{version}_linux{'' if no_architecture else '-' + arch}.run"


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
