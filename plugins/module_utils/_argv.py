"""Command line arguments from a mapping."""
from __future__ import annotations

from typing import Any, Mapping


def argv(options: Mapping[str, Any]) -> list[str]:
    """Turn ``{"num-layers": 32, "bf16": True, "load": False}`` into ``["--num-layers", "32", "--bf16"]``.

    True gives the bare option; False, None and "" leave it out; a list gives one word an item.

    Raises:
        ValueError: for a name with leading dashes or a value that is a mapping.
    """
    words: list[str] = []
    for name, value in options.items():
        if name.startswith("-"):
            raise ValueError(f"option {name!r}: write its name without the leading dashes")
        if value is None or value is False or value == "":
            continue
        words.append(f"--{name}")
        if value is True:
            continue
        if isinstance(value, Mapping):
            raise ValueError(f"option {name!r}: a mapping cannot be an argument: {value!r}")
        words.extend(str(item) for item in (value if isinstance(value, (list, tuple)) else [value]))
    return words
