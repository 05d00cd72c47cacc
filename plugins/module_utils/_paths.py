"""Paths on the nodes that every script, unit and list of folders can take as they are."""
from __future__ import annotations

import re
from typing import Mapping

# Left out on purpose: blanks and quotes, what a shell or systemd expands ($ ` % \ * ~), and `:`, which separates folders and hosts.
_PLAIN = re.compile(r"/[A-Za-z0-9_./,@+=-]*")
_ALLOWED = "letters, digits and _ . , @ + = - /"


def path_errors(paths: Mapping[str, object]) -> list[str]:
    """Say which paths cannot be used, and with which character.

    Args:
        paths: value by name of variable. What lies below a path that is refused is not named again.

    Returns:
        One message a variable.
    """
    errors: list[str] = []
    refused: list[str] = []
    for name, value in sorted(paths.items(), key=lambda item: len(str(item[1]))):
        path = str(value)
        strange = sorted({character for character in path if not _PLAIN.fullmatch("/" + character)})
        if not strange and path.startswith("/") and ".." not in path.split("/"):
            continue
        if any(path.startswith(above + "/") for above in refused):
            continue
        refused.append(path)
        has = " and ".join(repr(character) for character in strange) if strange else "`..` in it" if path.startswith("/") else "no / at its beginning"
        errors.append(f"{name} is {path!r}, which has {has}: expected an absolute path of {_ALLOWED}, since scripts, systemd units and ssh take it as "
                      f"it is. Set {name} in group_vars/all/cluster.yml (or where the inventory sets it).")
    return errors
