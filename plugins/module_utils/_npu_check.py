"""What the small operation on every NPU found (role conda_env, files/npu_check.py), in words.

Runs on the controller.
"""
from __future__ import annotations

import json
import re
from typing import Sequence

from . import _import_causes

_LINES = 12
# Python's frames say nothing to a site: the error stands behind them.
_FRAMES = re.compile(r"(?m)^Traceback \(most recent call last\):\n(?:[ \t]+.*\n|\n)*")


def npu_findings(output: str, rc: int, errors: str = "") -> list[str]:
    """Say of each NPU that failed how, in which words, and why that may be; those of one kind together.

    Args:
        output: what the program printed.
        rc: its status; 124 and 137 are those of timeout(1).
        errors: what it printed to stderr.
    """
    try:
        failed = json.loads(output.strip().splitlines()[-1])["failed"]
    except (ValueError, LookupError, TypeError):
        why = "it hangs, and was ended" if rc in (124, 137) else f"it ended with status {rc}"
        cause = _import_causes.import_cause(f"rc {rc} {errors}")
        return [f"No NPU answered: the program printed no result ({why}). {_indented(errors or output)}\n  Likely cause: {cause}."]
    kinds: dict[tuple[str, str], list[dict[str, str]]] = {}
    for one in failed:
        kinds.setdefault((one["what"], _import_causes.import_cause(f"{one['what']} {one['text']}")), []).append(one)
    return [f"NPU {_listed([one['device'] for one in ones])}: {what}. {_indented(ones[0]['text'])}\n  Likely cause: {cause}."
            for (what, cause), ones in kinds.items()]


def _listed(devices: Sequence[str]) -> str:
    return ", ".join(str(device) for device in devices)


def _indented(text: str) -> str:
    lines = [line for line in _FRAMES.sub("", text).splitlines() if line.strip()][-_LINES:]
    return "Its last words:" + "".join(f"\n    {line}" for line in lines) if lines else "It said nothing."
