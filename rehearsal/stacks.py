"""The stacks, as their files in stacks/ have them. Each can be rehearsed with the real code; with a stand-in those of upstream.stacks()."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rehearsal import nodes


def names(folder: Path) -> list[str]:
    """The stacks that a folder has."""
    return sorted(path.stem for path in folder.glob("*.yml") if not path.stem.endswith(("_rules", "_options")))


NAMES = names(nodes.PROJECT / "stacks")


def read(name: str) -> dict[str, Any]:
    """What the file of a stack holds."""
    content: dict[str, Any] = yaml.safe_load((nodes.PROJECT / f"stacks/{name}.yml").read_text(encoding="utf-8"))
    return content
