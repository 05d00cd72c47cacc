"""What of AscendSpeed is there, by the environment's own Python: python look.py CHECKOUT PACKAGE COMMAND HOOKS.

CHECKOUT is the work tree, PACKAGE the package's name, COMMAND the program that an installation makes, HOOKS the folder of the hooks.
Prints one object of JSON; nothing is imported but the standard library, and pip's copy of packaging.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any


def unmet(file: str) -> list[str]:
    """Lines of a file of requirements that are not fulfilled, or that only pip understands."""
    from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
    found = []
    with open(file, encoding="utf-8") as lines:
        for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines):
            if not line:
                continue
            try:
                wanted = Requirement(line)
                if wanted.marker and not wanted.marker.evaluate():
                    continue
                if wanted.url or wanted.extras or not wanted.specifier.contains(version(wanted.name), prereleases=True):
                    found.append(line)
            except (InvalidRequirement, PackageNotFoundError):
                found.append(line)
    return found


def choices(file: str) -> list[str]:
    """Names that --moe-model-type takes, by the source of the package's arguments; none where it says nothing of them."""
    try:
        with open(file, encoding="utf-8") as stream:
            option = re.search(r"--moe-model-type(?:.*\n?){1,4}", stream.read())
    except OSError:
        return []
    listed = re.search(r"choices\s*=\s*\[([^\]]*)\]", option.group() if option else "")
    return re.findall(r"[\w-]+", listed.group(1)) if listed else []


def hashes(folder: str) -> dict[str, str]:
    """Name to SHA-256 of the Python files in a folder."""
    found = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".py"):
            with open(os.path.join(folder, name), "rb") as stream:
                found[name] = hashlib.sha256(stream.read()).hexdigest()
    return found


def look(checkout: str, package: str, command: str, hooks: str) -> dict[str, Any]:
    """Everything that the role asks."""
    requirements = os.path.join(checkout, "requirements.txt")
    spec = find_spec(package)
    return {
        "package": os.path.exists(os.path.join(checkout, package)),
        "installed": next(iter(spec.submodule_search_locations or []), "") if spec else "",
        "command": os.path.exists(command),
        "unmet": unmet(requirements) if os.path.exists(requirements) else [],
        "moe_models": choices(os.path.join(checkout, package, "arguments.py")),
        "hooks": hashes(hooks),
    }


if __name__ == "__main__":
    print(json.dumps(look(*sys.argv[1:])))
