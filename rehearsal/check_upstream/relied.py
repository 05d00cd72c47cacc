"""Files, names and words of the training code that the product relies on, and whether a checkout has them."""
from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rehearsal import upstream

# Of each file that is not as expected, so many lines of what is there instead.
_SHOWN = 3
TABLE = "relied_on.yml"


@dataclass(frozen=True)
class Fact:
    """Something that is relied on, see ``upstream/common/relied_on.yml``."""

    project: str
    file: str
    what: str
    used: tuple[str, ...]
    has: str = ""
    near: str = ""


def facts(stack: str) -> list[Fact]:
    """What a stack relies on: what all do, and its own."""
    found = []
    for folder in (upstream.COMMON, upstream.FOLDER / stack):
        for project, rows in yaml.safe_load((folder / TABLE).read_text(encoding="utf-8")).items():
            found += [Fact(project, **{**row, "used": tuple(row["used"])}) for row in rows]
    return found


def look(fact: Fact, checkout: Path) -> str | None:
    """What is there instead of a fact; None where it holds."""
    path = checkout / fact.file
    if not path.is_file():
        elsewhere = sorted(str(other.relative_to(checkout)) for other in checkout.rglob(path.name))[:_SHOWN]
        return f"the file is gone{'; of that name there is ' + ', '.join(elsewhere) if elsewhere else ''}"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not fact.has or any(re.search(fact.has, line) for line in lines):
        return None
    near = [f"line {number}: {line.strip()}" for number, line in enumerate(lines, 1) if fact.near and fact.near in line][:_SHOWN]
    others = [other.relative_to(checkout) for other in sorted(checkout.rglob(f"*{path.suffix}")) if other.is_file() and other != path
              and re.search(fact.has, other.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)][:_SHOWN]
    return (f"nothing in it matches {fact.has}" + (f"; there is {'; '.join(near)}" if near else "")
            + (f"; it is in {', '.join(map(str, others))}" if others else ""))


def patches(stack: dict[str, Any], checkouts: dict[str, Path]) -> list[str]:
    """What keeps AscendSpeed's patches from Megatron-LM, where a stack applies them."""
    if stack["sources"]["adaptor"] != "patches":
        return []
    package = stack["sources"]["ascendspeed"]["package"]
    files = sorted((checkouts["AscendSpeed"] / package).rglob("*.patch"))
    if not files:
        return [f"AscendSpeed has no *.patch below {package}/: how does its adaptor get into pretrain_gpt.py?"]
    wrong = []
    for file in files:
        done = subprocess.run(["git", "apply", "--check", str(file)], cwd=checkouts["Megatron-LM"], capture_output=True, text=True, check=False)
        if done.returncode:
            wrong.append(f"{file.relative_to(checkouts['AscendSpeed'])} does not apply: {done.stderr.strip().splitlines()[0]}")
    return wrong
