"""Reads ``hccn_tool -i N -optical -g``: power, signal and state of the optical module.

Lines are ``label : value unit``; a value that the module does not have is `NA` or `not supported`. Modules of two lanes print all
four, the others `NA`; without readings there is one line `Tx Power` without a number.
"""
from __future__ import annotations

import re
from typing import Any, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import StrangeError

_NONE = ("NA", "not supported", "get failed")
_LANES = {"Tx Power": ("tx_power_mw", "mW"), "Rx Power": ("rx_power_mw", "mW"), "Tx Bias": ("tx_bias_ma", "mA"),
          "Host SNR Lane": ("host_snr_db", "dB"), "Media SNR Lane": ("media_snr_db", "dB")}
_FLAGS = {f"{way} {kind} Flag": f"{way}_{kind}".lower() for kind in ("Los", "LoL") for way in ("Tx", "Rx")}
_THRESHOLDS = {f"{label} {end} Thres": (f"{name}_{end.lower()}_{unit.lower()}", unit) for end in ("High", "Low")
               for label, name, unit in (("Vcc", "voltage", "mV"), ("Temp", "temperature", "C"), ("TxPower", "tx_power", "mW"),
                                         ("RxPower", "rx_power", "mW"))}
_NAMES = {"vendor name": "vendor", "vendor part number": "part_number", "vendor serial number": "serial_number", "xsfp identifier": "identifier"}


def read(lines: Sequence[str]) -> dict[str, Any]:
    """Read the lines.

    Returns:
        ``present`` (true or false, as the tool says, whatever else it prints), ``temperature_c``, ``voltage_mv``; by lane
        ``tx_power_mw``, ``rx_power_mw``, ``tx_bias_ma``, ``host_snr_db``, ``media_snr_db`` (None in the place of a lane without a value,
        [] where the module tells none); ``tx_los``, ``rx_los``, ``tx_lol``, ``rx_lol`` (a bit a lane, not 0 is a fault; None where not
        told); ``thresholds``, the module's own: ``rx_power_low_mw``, ``temperature_high_c`` and so on; names of the module.

    Raises:
        StrangeError: a line is not understood, or lines are missing.
    """
    found: dict[str, Any] = {"present": None, "temperature_c": None, "voltage_mv": None, "thresholds": {},
                             **{name: [] for name, _ in _LANES.values()}, **{name: None for name in (*_FLAGS.values(), *_NAMES.values())}}
    if lines[0] != "optical info:":
        raise StrangeError(lines[0])
    seen = set()
    for line in lines[1:]:
        label, colon, value = (part.strip() for part in line.partition(":"))
        lane = re.fullmatch(r"(.*?)(\d?)", label)
        kind = lane.group(1) if lane else ""
        if not colon:
            raise StrangeError(line)
        seen.add(label)
        if label == "present":
            found["present"] = {"present": True, "not present": False}.get(value)
        elif label == "temperature":
            found["temperature_c"] = _number(value, "C")
        elif label == "Vcc":
            found["voltage_mv"] = _number(value, "mV")
        elif kind in _LANES and lane:
            name, unit = _LANES[kind]
            _put(found[name], lane.group(2), _number(value, unit))
        elif label in _FLAGS:
            found[_FLAGS[label]] = _flag(value)
        elif label in _THRESHOLDS:
            name, unit = _THRESHOLDS[label]
            found["thresholds"][name] = _number(value, unit)
        elif label in _NAMES:
            found[_NAMES[label]] = value
    lanes = len(found["tx_power_mw"])
    # The last threshold stands behind the powers, the flags behind all readings but the signal's.
    whole = found["present"] is not None and "RxPower Low Thres" in seen and (not lanes or "Rx Los Flag" in seen)
    signal = len(found["host_snr_db"]), len(found["media_snr_db"])
    if not whole or len(found["rx_power_mw"]) != lanes or signal not in ((0, 0), (lanes, lanes)):
        raise StrangeError("cut off")
    return found


def _number(text: str, unit: str) -> float | None:
    if text in _NONE:
        return None
    found = re.fullmatch(rf"(-?\d+(?:\.\d+)?) *{unit}", text)
    if not found:
        raise StrangeError(text)
    return float(found.group(1))


def _flag(text: str) -> int | None:
    if text in _NONE:
        return None
    if not re.fullmatch("0x[0-9a-fA-F]+", text):
        raise StrangeError(text)
    return int(text, 16)


def _put(lanes: list[float | None], number: str, value: float | None) -> None:
    """Take the value of a lane; the one line without a number says that there is none."""
    if not number and value is None:
        return
    if number != str(len(lanes)):
        raise StrangeError("lanes that are not in order")
    lanes.append(value)
