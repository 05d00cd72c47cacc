"""Reads the table of ``npu-smi info``.

Two lines a chip; the vendor's versions differ in columns (a second number beside the chip on 310P and A3, memory
without the space before the slash) and ids are not always 0..7.
"""
from __future__ import annotations

import re
from typing import Any

# Health values under which a chip can train; Alarm, Critical and UNKNOWN are the others.
USABLE = ("OK", "Warning")

_BUS_ID = re.compile(r"^(?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]$|^NA$")
_PAIR = re.compile(r"(\d+)\s*/\s*(\d+)")
_VERSION = re.compile(r"npu-smi\s+v?(\S+)")


def parse(output: str) -> dict[str, Any]:
    """Read the output of ``npu-smi info``.

    Returns:
        ``version`` of the program ("" when it does not say), ``chips``: a list of ``npu`` and ``chip`` (ids), ``name``,
        ``health``, ``bus_id``, ``memory_used_mib``, ``memory_total_mib`` (the device memory the chip trains in: HBM
        where there is such a column), and ``processes``: a list of ``npu``, ``chip``, ``pid``, ``name``, ``memory_mib``.
        Lines that do not belong to a table are left out, so text without a table gives empty lists.
    """
    found: dict[str, Any] = {"version": "", "chips": [], "processes": []}
    table = ""
    first: list[str] | None = None
    for raw in output.splitlines():
        line = raw.strip()
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        heading = cells[0].split()
        version = _VERSION.match(cells[0])
        if version and len(cells) == 1:
            found["version"] = version.group(1)
        elif heading[:1] == ["NPU"]:
            table = "processes" if len(cells) > 1 and cells[1].startswith("Process") else "chips"
        elif heading[:1] == ["Chip"]:
            continue
        elif table == "chips" and len(cells) == 3:
            if first is None:
                first = cells
                continue
            if _BUS_ID.match(cells[1]):
                chip = _chip(first, cells)
                if chip:
                    found["chips"].append(chip)
                first = None
            else:  # a first line whose second is missing
                first = cells
        elif table == "processes" and len(cells) == 4 and cells[1].isdigit() and heading and heading[0].isdigit():
            memory = re.search(r"\d+", cells[3])
            found["processes"].append({
                "npu": int(heading[0]), "chip": int(heading[1]) if len(heading) > 1 and heading[1].isdigit() else 0,
                "pid": int(cells[1]), "name": cells[2], "memory_mib": int(memory.group()) if memory else 0})
    return found


def _chip(first: list[str], second: list[str]) -> dict[str, Any] | None:
    ids, chips = first[0].split(None, 1), second[0].split()
    if not ids or not ids[0].isdigit():
        return None
    memory = _PAIR.findall(second[2])
    used, total = memory[-1] if memory else ("0", "0")
    return {"npu": int(ids[0]), "chip": int(chips[0]) if chips and chips[0].isdigit() else 0,
            "name": ids[1].strip() if len(ids) > 1 else "", "health": first[1], "bus_id": second[1],
            "memory_used_mib": int(used), "memory_total_mib": int(total)}


def usable(chip: dict[str, Any]) -> bool:
    """Tell whether the health of a chip lets it train."""
    return str(chip["health"]) in USABLE
