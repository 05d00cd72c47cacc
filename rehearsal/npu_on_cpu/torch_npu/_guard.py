"""Keeps the stand-in away from machines that have the real thing.

Training that silently runs on the CPU of a node full of NPUs would be the worst this package could do. So it
refuses to load where

* a device file of Huawei's driver is there (``/dev/davinci_manager``, ``/dev/davinci0``…, ``/dev/devmm_svm``,
  ``/dev/hisi_hdc``; names from the driver's installation guide). Only character devices count: an ordinary file of
  that name is what a simulated node has;
* another distribution or package called like the stand-in is on the path.
"""

from __future__ import annotations

import stat
from importlib import metadata
from pathlib import Path
from typing import Iterable, Sequence

MARK = "STAND_IN"
"""File in a stand-in's package by which it knows itself; it holds the Summary line of its metadata."""

SUMMARY = "CPU rehearsal stand-in, "
"""How that line begins."""

DEVICE_PATTERNS = ("davinci_manager", "davinci[0-9]*", "devmm_svm", "hisi_hdc")


class RealThingError(ImportError):
    """The stand-in was imported where an NPU or the real package is present."""


class NotInRehearsalError(NotImplementedError, AttributeError):
    """Something of the real package that the stand-in does not do.

    It is an AttributeError too, so that ``hasattr`` and ``getattr`` with a default answer as for any absent name.
    """


def not_in_rehearsal(name: str, why: str = "") -> NotInRehearsalError:
    """Make the refusal of ``name``, for ``raise``."""
    reason = f": {why}" if why else ""
    return NotInRehearsalError(f"{name} is not part of the rehearsal's CPU stand-in{reason}")


def npu_devices(dev: Path = Path("/dev")) -> list[str]:
    """List the character devices of Huawei's driver in ``dev``."""
    found: list[str] = []
    for pattern in DEVICE_PATTERNS:
        for path in sorted(dev.glob(pattern)):
            try:
                if stat.S_ISCHR(path.stat().st_mode):
                    found.append(str(path))
            except OSError:
                continue
    return found


def is_stand_in(distribution: metadata.Distribution) -> bool:
    """Tell whether an installed distribution is one of the rehearsal's."""
    about = distribution.metadata
    return "Summary" in about and about["Summary"].startswith(SUMMARY)


def foreign_distributions(name: str, path: Sequence[str] | None = None) -> list[str]:
    """List the installed distributions called ``name`` that are not the stand-in, as "version in folder"."""
    installed: Iterable[metadata.Distribution]
    installed = metadata.distributions(name=name) if path is None else metadata.distributions(name=name, path=list(path))
    return [f"{found.version} in {found.locate_file('')}" for found in installed if not is_stand_in(found)]


def foreign_packages(name: str, path: Sequence[str]) -> list[str]:
    """List the folders called ``name`` on ``path`` that hold a package without the stand-in's mark."""
    found: list[str] = []
    for entry in path:
        package = Path(entry or ".") / name
        if (package / "__init__.py").is_file() and not (package / MARK).is_file():
            found.append(str(package))
    return found


def refuse_beside_the_real_thing(name: str, path: Sequence[str], dev: Path = Path("/dev")) -> None:
    """Raise RealThingError when an NPU, or another package called ``name``, is here.

    ``path`` is ``sys.path``: it is searched for packages and for distributions.
    """
    devices = npu_devices(dev)
    if devices:
        raise RealThingError(
            f"the rehearsal's {name} runs on the CPU and refuses to load on a machine with an NPU: found "
            f"{', '.join(devices)}. Install Huawei's {name} here (variable conda_env_wheels)"
        )
    others = foreign_distributions(name, path) + foreign_packages(name, path)
    if others:
        raise RealThingError(
            f"the rehearsal's {name} refuses to load beside another {name}: found {'; '.join(others)}. "
            f"Keep one of them: pip uninstall {name}, then install the one that is meant"
        )
