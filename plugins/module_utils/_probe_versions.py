"""Judges which versions go together: driver, firmware, CANN, torch_npu and Python, as planned and as the records on the node say."""
from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding

Values = Mapping[str, Sequence[str]]
# What a table says of a version: texts by version, or lists of them.
Row = Sequence[Any]


class Verdict(NamedTuple):
    """Pairs that do not go together, as what there is and what would go with it; and pairs of which no table tells."""

    wrong: list[tuple[str, str]]
    unknown: list[str]


def _begins(version: str, listed: Row) -> bool:
    """Tell whether a version is one of a list, in which 25.2 stands for all of 25.2."""
    words = version.lower().split(".")
    return any(words[:len(parts)] == parts for parts in (str(one).lower().split(".") for one in listed))


def _any(listed: Row) -> str:
    return " or ".join(map(str, listed))


def pairs(versions: Mapping[str, str], tables: Mapping[str, Any]) -> Verdict:
    """Look the versions up.

    Args:
        versions: ``driver``, ``cann``, ``torch_npu`` and ``python``; "" where one is not known, which is no finding.
        tables: ``driver`` (by CANN ``fits`` and ``fails``), ``cann`` and ``python`` (lists by torch_npu).
    """
    said = Verdict([], [])
    torch_npu, cann, driver = versions["torch_npu"], versions["cann"], versions["driver"]
    # One that was built at home (2.1.0.post3+git1f2e3d4) goes with the same.
    for name, shown in (("cann", "CANN"), ("python", "Python")):
        version, table = versions[name], tables[name]
        row = table.get(torch_npu, table.get(torch_npu.split("+")[0]))
        if not torch_npu or not version:
            continue
        if row is None:
            said.unknown.append(f"torch_npu {torch_npu} with {shown} {version}")
        elif not _begins(version, row):
            said.wrong.append((f"torch_npu {torch_npu} with {shown} {version}", f"{shown} {_any(row)} for that torch_npu"))
    if driver and cann:
        row = next((row for version, row in tables["driver"].items() if str(version).lower() == cann.lower()), {"fits": [], "fails": []})
        if _begins(driver, row["fails"]):
            said.wrong.append((f"driver {driver} with CANN {cann}", f"a driver {_any(row['fits'])} for that CANN"))
        elif not _begins(driver, row["fits"]):
            said.unknown.append(f"driver {driver} with CANN {cann}")
    return said


def version_of(values: Values, key: str) -> str:
    """Read the version of driver or firmware from its version.info."""
    return next((line.partition("=")[2].strip() for line in values.get(key, []) if line.startswith("Version=")), "")


def installed(values: Values) -> dict[str, str]:
    """Read what the records of the roles say; "" each where there is none."""
    found = {"cann": "", "torch_npu": "", "python": ""}
    for line in values.get("record", []):
        words = line.split()
        if words[:1] == ["toolkit"]:
            found["cann"] = "".join(words[1:2])
        elif words[:1] == ["python"]:
            found["python"] = "".join(words[1:2])
        elif line.startswith("torch_npu-"):  # the name of a wheel
            found["torch_npu"] = line.split("-")[1]
    return found


def judge(values: Values, settings: Mapping[str, Any]) -> Iterable[Finding]:
    """Find versions that do not go together."""
    driver, firmware = version_of(values, "driver_info"), version_of(values, "firmware_info")
    ranges = firmware_ranges(values)
    number = _numbers(firmware)
    if number and ranges and not any(low <= number and number[:len(high)] <= high for low, high in ranges):
        shown = " or ".join(f"{'.'.join(map(str, low))} to {'.'.join(map(str, high))}" for low, high in ranges)
        yield finding("firmware_pair", f"firmware {firmware} with driver {driver or 'of unknown version'}", ranges=shown)
    planned = settings["versions"]
    for what, fits in pairs({**planned, "driver": driver}, settings["version_tables"]).wrong:
        yield finding("pair_planned", what, fits=fits)
    there = installed(values)
    # What is installed and will be replaced is judged as planned; what is the same is said once.
    if any(there.values()) and there != {name: planned[name] for name in there}:
        before = {what for what, _ in pairs({**planned, "driver": driver}, settings["version_tables"]).wrong}
        for what, fits in pairs({**there, "driver": driver}, settings["version_tables"]).wrong:
            if what not in before:
                yield finding("pair_installed", what, fits=fits)


def unknown(values: Values, settings: Mapping[str, Any]) -> list[str]:
    """Name the pairs of which no table tells."""
    return pairs({**settings["versions"], "driver": version_of(values, "driver_info")}, settings["version_tables"]).unknown


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else ()


def firmware_ranges(values: Values) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Read which firmware the driver says that it works with: ``compatible_version_fw=[7.0.0,7.2.99],[…]`` of its version.info; [] where it does not."""
    text = next((line.partition("=")[2] for line in values.get("driver_info", []) if line.startswith("compatible_version_fw=")), "")
    return [(_numbers(low), _numbers(high)) for low, high in re.findall(r"\[([\d.]+),([\d.]+)\]", text) if _numbers(low) and _numbers(high)]
