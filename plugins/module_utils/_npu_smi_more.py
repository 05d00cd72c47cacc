"""Reads what npu-smi says beside its table: ``info -m``, ``info -t health`` and ``info -t ecc``.

Labels differ by generation: `Health Status` and `Health` (950), a column `Chip Phy-ID` (A3, 950) or none, `DDR` lines or none.
"""
from __future__ import annotations

import re
from typing import Any, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import StrangeError, Unread, gather, understand

_REFUSALS = (
    ("absent", r"Invalid (card|chip|NPU) id"),
    ("unsupported", r"This device does not support"),
    # -8005: not in the group of the driver, no devices in this container, or upgraded and not rebooted; -8020: another container holds the chip.
    ("no_answer", r"(DrvMng|dcmi) ?\w+.* failed"),
)
_COLUMNS = re.compile(r"NPU ID|Slot ID|Chip ID|Chip Logic ID|Chip Phy-ID|Chip Name")
_HEALTH = ("OK", "Warning", "Alarm", "Critical", "UNKNOWN")
_ECC_NEEDED = ("double_bit_error_count", "double_bit_isolated_pages_count")

Lines = Sequence[str]


def read(lines: Sequence[str]) -> dict[tuple[int, int], dict[str, Any]]:
    """Read the answers about many chips.

    Args:
        lines: ``NPU CHIP|QUERY|RC|TEXT`` (or ``NPU|QUERY|RC|TEXT``, which is chip 0), a line for each that npu-smi printed, at least one a
            query. A card of several chips has to be asked for each of them: ``npu-smi info -t health -i NPU -c CHIP``. A 950 takes no -c.

    Returns:
        By NPU and chip, and query, the value, or an Unread. A query that was asked and is not there got no line at all.
    """
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for (who, query), (code, text) in gather(lines).items():
        words = who.split()
        if len(words) in (1, 2) and all(word.isdecimal() for word in words):
            found.setdefault((int(words[0]), int(words[-1]) if len(words) > 1 else 0), {})[query] = answer(query, code, text)
    return found


def answer(query: str, code: int, text: Lines) -> Any:
    """Read one answer.

    An Unread, or for

    * map (``info -m``): a list of ``npu``, ``chip``, ``device`` (the number that hccn_tool takes), ``name`` and ``options`` (by which npu-smi
      is asked about this chip), without the controllers of the boards,
    * health: ``health`` (OK, Warning, Alarm, Critical or UNKNOWN), ``codes`` (of the vendor's list of faults) and ``information``,
    * ecc: number of each counter, ``hbm_double_bit_error_count`` and so on; those without a value are left out.
    """
    return understand(code, text, _REFUSALS, {"map": _map, "health": _health, "ecc": _ecc}.get(query, _unknown))


def torch_devices(lines: Lines) -> list[str]:
    """Name the card, and its chip where it has several, of torch's devices 0, 1, …; [] where the lines of ``info -m`` do not tell."""
    chips = answer("map", 0, lines)
    if isinstance(chips, Unread) or sorted(one["device"] for one in chips) != list(range(len(chips))):
        return []
    several = {one["npu"] for one in chips if one["chip"]}
    return [f"NPU {one['npu']}" + (f" chip {one['chip']}" if one["npu"] in several else "") for one in sorted(chips, key=lambda one: int(one["device"]))]


def _unknown(lines: Lines) -> Any:
    raise StrangeError(lines[0])


def _map(lines: Lines) -> list[dict[str, Any]]:
    columns = _COLUMNS.findall(lines[0])
    number = next((name for name in ("Chip Phy-ID", "Chip Logic ID") if name in columns), "")
    if not number or columns[0] != "NPU ID" or columns[-1] != "Chip Name" or len(lines) == 1 or _COLUMNS.sub("", lines[0]).strip():
        raise StrangeError(lines[0])
    found = []
    for line in lines[1:]:
        values = dict(zip(columns, line.split(None, len(columns) - 1)))
        if len(values) < len(columns):
            raise StrangeError(line)
        if values["Chip Name"].lower() == "mcu":
            continue
        if not all(values[name].isdecimal() for name in ("NPU ID", "Chip ID", number)):
            raise StrangeError(line)
        found.append({"npu": int(values["NPU ID"]), "chip": int(values["Chip ID"]), "device": int(values[number]), "name": values["Chip Name"],
                      # 950, which alone has slots, knows no -c.
                      "options": ["-i", values["NPU ID"], *([] if "Slot ID" in columns else ["-c", values["Chip ID"]])]})
    return found


def _health(lines: Lines) -> dict[str, Any]:
    found: dict[str, Any] = {"information": []}
    last = ""
    for line in lines:
        label, colon, value = (part.strip() for part in line.partition(":"))
        if last == "Error Information" and label not in ("NPU ID", "Chip ID", "Chip Count"):  # it goes on, behind a colon or without one
            if label in ("Health", "Health Status", "Error Code", "Error Information"):
                raise StrangeError(line)
            found["information"].append(value if colon and not label else line)
            continue
        last = label
        if label in ("Health", "Health Status") and value in _HEALTH and "health" not in found:
            found["health"] = value
        elif label == "Error Code" and re.fullmatch(r"NA|(?:0x)?[0-9A-Fa-f]{8}( +(?:0x)?[0-9A-Fa-f]{8})*", value) and "codes" not in found:
            found["codes"] = [] if value == "NA" else [code[-8:].upper() for code in value.split()]
        elif label == "Error Information":
            found["information"] += [value] if value != "NA" else []
            found["told"] = True
        elif label not in ("NPU ID", "Chip ID", "Chip Count"):
            raise StrangeError(line)
    if not (found.pop("told", False) and "health" in found and "codes" in found):
        raise StrangeError("cut off")
    return found


def _ecc(lines: Lines) -> dict[str, int]:
    found: dict[str, int | None] = {}
    for line in lines:
        label, _, value = (part.strip() for part in line.partition(":"))
        name = re.sub(r"\W+", "_", label.lower())
        if not re.fullmatch(r"\d+|NA|-", value) or name in found:
            raise StrangeError(line)
        found[name] = int(value) if value.isdecimal() else None
    kinds = {name.partition("_")[0] for name in found} & {"ddr", "hbm"}
    needed = {f"{kind}_{name}" for kind in kinds for name in _ECC_NEEDED}
    # The last line may be cut off within its number, so what counts has to stand before it.
    if not kinds or not needed <= set(list(found)[:-1]):
        raise StrangeError("cut off")
    return {name: value for name, value in found.items() if value is not None and name.partition("_")[0] in kinds}
