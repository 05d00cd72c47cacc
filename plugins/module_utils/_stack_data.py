"""A stack of the training's software as data: stacks/<name>.yml with its <name>_rules.yml and <name>_options.yml."""
from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

# What lies beside a stack's file, and under which key of it.
_BESIDE = ("rules", "options")
# Every process of Ansible, so every task of every node, reads it anew: in C that takes a tenth.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StackError(Exception):
    """There is no such stack, or a file of it is wrong; the message says what."""


def names(folder: Path) -> list[str]:
    """The stacks that a folder has."""
    beside = tuple(f"_{part}" for part in _BESIDE)
    return sorted(path.stem for path in folder.glob("*.yml") if not path.stem.endswith(beside))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), _LOADER)  # noqa: S506  # both are safe
    except (OSError, yaml.YAMLError) as error:
        raise StackError(f"{path} cannot be read: {error}. A stack is three files (docs/stacks.md).") from error
    if not isinstance(found, dict):
        raise StackError(f"{path} holds no mapping. What belongs into it is in docs/stacks.md.")
    return found


@functools.lru_cache(maxsize=None)
def load(name: str, project: str) -> dict[str, Any]:
    """A stack's data.

    Args:
        name: of a file in the project's folder stacks/, without its end; or the absolute path of a site's own file, *.yml.
        project: the checkout.

    Returns:
        What the file holds; with ``name`` the file's, ``rules`` and ``options`` those of the two files beside it.

    Raises:
        StackError: when a file is missing or unreadable.
    """
    folder = Path(project) / "stacks"
    path = Path(name) if name.endswith(".yml") else folder / f"{name}.yml"
    if not name.endswith(".yml") and name not in names(folder):
        raise StackError(f"cluster_stack is {name!r}: expected one of {', '.join(names(folder))}, or the absolute path of a site's own file, "
                         "*.yml (docs/stacks.md). Set it where the cluster's variables are (group_vars/all/cluster.yml in the sample).")
    if not path.is_absolute():
        raise StackError(f"cluster_stack is {name!r}: expected an absolute path, or one of {', '.join(names(folder))}.")
    return {**_read(path), "name": path.stem, **{part: _read(path.with_name(f"{path.stem}_{part}.yml")) for part in _BESIDE}}
