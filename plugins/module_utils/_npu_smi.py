"""Reads the table of ``npu-smi info`` by its headings.

Two lines a chip. What stands where differs by generation and version: a second number beside the chip (``Device`` on
310P, ``Phy-ID`` on A3), the NPU's id in a column of its own and no chip (950), no HBM (310P), a fifth column of the
processes (26.0), memory without the space before the slash; ids are not always 0..7.
"""
from __future__ import annotations

import re
from typing import Any, Sequence

# Health values under which a chip can train; Alarm, Critical and UNKNOWN are the others.
USABLE = ("OK", "Warning")

_BUS_ID = re.compile(r"(?:\w{4,8}:)?\w{2}:\w{2}\.\w")
# Headings with a blank in them; all others are single words.
_LABEL = re.compile(r"NPU ID|NPU Util\(%\)|Process id in container|Process (?:id|name)|Process memory(?:\(\w+\))?|\S+", re.IGNORECASE)
_VALUE = re.compile(r"\d+\s*/\s*\d+|\S+")
_PAIR = re.compile(r"(\d+)\s*/\s*(\d+)")
_USAGE = re.compile(r"(?:memory|hbm)-usage\b")
_VERSION = re.compile(r"npu-smi\s+v?(\S+)")

Labels = Sequence[Sequence[str]]


class UnknownForm(ValueError):
    """The output has a table that cannot be read for sure; the message quotes its lines."""

    def __init__(self, what: str, lines: Sequence[str]) -> None:
        """Take the first lines of the table, or the one line that is not understood."""
        super().__init__(f"{what}: " + " ".join(" ".join(line.split()) for line in lines[:4]))


def parse(output: str) -> dict[str, Any]:
    """Read the output of ``npu-smi info``.

    Returns:
        ``version`` of the program ("" when it does not say), ``chips``: a list of ``npu`` and ``chip`` (ids), ``name``,
        ``health``, ``bus_id``, ``memory_used_mib``, ``memory_total_mib`` (the device memory the chip trains in: HBM
        where there is any; both 0 where npu-smi does not know), and ``processes``: a list of ``npu``, ``chip``, ``pid``,
        ``name``, ``memory_mib``. Text outside of tables is left out, so text without a table gives empty lists; so is
        a chip of which one line is missing.

    Raises:
        UnknownForm: where headings or a row under them are not understood, or a line is cut off.
    """
    found: dict[str, Any] = {"version": "", "chips": [], "processes": []}
    rows = [line.strip() for line in output.splitlines() if line.strip().startswith("|")]
    kind = ""
    first: Labels = []
    second: Labels = []
    pending: dict[str, str] | None = None
    for row in rows:
        if len(row) < 2 or not row.endswith("|"):
            raise UnknownForm("a line is cut off", [row])
        cells = [cell.strip() for cell in row[1:-1].split("|")]
        version = _VERSION.match(cells[0])
        if version:
            found["version"] = version.group(1)
            continue
        if not any(cells) or cells[0].startswith("No running processes"):
            continue
        labels = [_LABEL.findall(cell.lower()) for cell in cells]
        words = {label for some in labels for label in some}
        if labels[0][:1] in (["npu"], ["npu id"]):
            kind = "chips" if {"name", "health"} <= words else "processes" if "process id" in words else ""
            first, second, pending = labels, [], None
            if not kind:
                raise UnknownForm("headings that are not understood", [row])
        elif kind == "chips" and not second:
            if "bus-id" not in words or not any(map(_USAGE.match, words)) or len(labels) != len(first):
                raise UnknownForm("headings that are not understood", rows)
            second = labels
        elif not kind or len(cells) != len(first):
            raise UnknownForm("a row that does not fit its headings" if kind else "rows without headings that are understood",
                              [row] if kind else rows)
        elif kind == "processes":
            found["processes"].append(_process(_named(first, cells), row))
        elif pending is None and (_BUS_ID.fullmatch(cells[_column(second, "bus-id")]) or not cells[0]):
            continue  # a second line whose first is missing
        elif pending is not None and re.fullmatch(_BUS_ID.pattern + "|NA|-", cells[_column(second, "bus-id")]):
            found["chips"].append(_chip(pending, _named(second, cells), row))
            pending = None
        else:  # where the one before is still waiting, its second line is missing
            pending = _named(first, cells)
            if not pending.get("npu", "").isdigit() or not pending.get("health"):
                raise UnknownForm("a row that does not fit its headings", [row])
    return found


def _column(labels: Labels, name: str) -> int:
    return next(number for number, some in enumerate(labels) if name in some)


def _named(labels: Labels, cells: Sequence[str]) -> dict[str, str]:
    """Name the values of a row by the labels of their cells; the id of the NPU is always ``npu``."""
    named: dict[str, str] = {}
    for some, cell in zip(labels, cells):
        values = _VALUE.findall(cell) if len(some) > 1 else [cell]
        usages = [label for label in some if _USAGE.match(label)]
        if some[-1:] == ["name"]:  # a name may have blanks
            values = [*values[:len(some) - 1], " ".join(values[len(some) - 1:])]
        elif usages and len(values) != len(some):  # a value is blank: those of memory are still told by their slash
            some, values = usages, [value for value in values if "/" in value]
        if len(values) == len(some) or not usages:
            named.update(zip(some, values))
    if "npu id" in named:
        named["npu"] = named.pop("npu id")
    return named


def _chip(first: dict[str, str], second: dict[str, str], row: str) -> dict[str, Any]:
    usages = {label[:3]: value for label, value in second.items() if _USAGE.match(label)}
    if not usages:
        raise UnknownForm("a row that does not fit its headings", [row])
    used = total = "0"
    for name in ("hbm", "mem"):
        pair = _PAIR.fullmatch(usages.get(name, ""))
        if pair and total == "0":
            used, total = pair.groups()
    chip = second.get("chip", "")
    return {"npu": int(first["npu"]), "chip": int(chip) if chip.isdigit() else 0, "name": first.get("name", ""),
            "health": first["health"], "bus_id": second["bus-id"],
            "memory_used_mib": int(used), "memory_total_mib": int(total)}


def _process(values: dict[str, str], row: str) -> dict[str, Any]:
    npu, chip, pid = values.get("npu", ""), values.get("chip", ""), values["process id"]
    if not npu.isdigit() or not pid.isdigit():
        raise UnknownForm("a row that does not fit its headings", [row])
    memory = re.search(r"\d+", next((value for label, value in values.items() if label.startswith("process memory")), ""))
    return {"npu": int(npu), "chip": int(chip) if chip.isdigit() else 0, "pid": int(pid),
            "name": values.get("process name", ""), "memory_mib": int(memory.group()) if memory else 0}


def usable(chip: dict[str, Any]) -> bool:
    """Tell whether the health of a chip lets it train."""
    return str(chip["health"]) in USABLE
