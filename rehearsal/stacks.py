"""The stacks that can be rehearsed, as their files in stacks/ have them."""
from __future__ import annotations

from typing import Any

import yaml

from rehearsal import nodes, upstream

NAMES = upstream.stacks()


def read(name: str) -> dict[str, Any]:
    """What the file of a stack holds."""
    content: dict[str, Any] = yaml.safe_load((nodes.PROJECT / f"stacks/{name}.yml").read_text(encoding="utf-8"))
    return content
