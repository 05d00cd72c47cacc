"""Words for a program that failed. Runs on the controller."""
from __future__ import annotations

from typing import Any, Mapping

#: what module command says of every program that ended badly
_SILENT = "non-zero return code"


def why(result: Mapping[str, Any], lines: int) -> str:
    """The last `lines` lines of what the program, or whoever could not start it, said; joined by `` / ``."""
    said = next((str(result[key]) for key in ("stderr", "stdout", "msg") if str(result.get(key) or "").strip()), "nothing was said")
    if said == _SILENT:
        said = "nothing was said"
    return " / ".join([line.strip() for line in said.splitlines() if line.strip()][-lines:])


def message(text: str, result: Mapping[str, Any], lines: int) -> str:
    """The message of the one who asked, with ``{why}`` and ``{status}`` filled in."""
    return text.replace("{status}", str(result.get("rc", "unknown"))).replace("{why}", why(result, lines)).strip()
