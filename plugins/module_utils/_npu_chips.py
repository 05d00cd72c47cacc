"""What generation a chip is of, what it computes in, and which kernels' package is made for it.

Names as npu-smi prints them. Which belong together: `NpuVariables.h` of torch_npu and the lists of SoCs in the CANN
operators' `cmake/` (ascend910_list, ascend910b_list, ascend310p_list, ascend950_list). No bf16 on Atlas training and
inference products: "数据类型不支持BFLOAT16" throughout the CANN operators' documents, and torch_npu's IsBF16Supported(),
which begins with 910B1. Packages: https://www.hiascend.com/developer/download/community/result?module=cann
"""
from __future__ import annotations

import re
from typing import Any, Mapping, NamedTuple, Sequence


class Generation(NamedTuple):
    """One generation of chips."""

    name: str
    # How the archives of the kernels call it, and how CANN's own folders do.
    kernels: str
    soc: str
    # Whether it computes in bf16; None where that is not known.
    bf16: bool | None
    # The archives up to CANN 8.3, and from 8.5 on.
    archives: str


_FIRST = Generation("Atlas training series (Ascend 910)", "910", "ascend910", False,
                    "Ascend-cann-kernels-910_… (from CANN 8.5 on Ascend-cann-910-ops_…)")
_A2 = Generation("Atlas A2 (910B1 to 910B4)", "910b", "ascend910b", True,
                 "Ascend-cann-kernels-910b_… (from CANN 8.5 on Ascend-cann-910b-ops_…)")
_A3 = Generation("Atlas A3", "a3", "ascend910_93", True,
                 "Atlas-A3-cann-kernels_… (from CANN 8.5 on Ascend-cann-A3-ops_…)")
_950 = Generation("Ascend 950", "950", "ascend950", True, "Ascend-cann-950-ops_…")
_310P = Generation("Atlas inference series (310P)", "310p", "ascend310p", False,
                   "Ascend-cann-kernels-310p_… (from CANN 8.5 on Ascend-cann-310p-ops_…)")
_310B = Generation("Atlas 200I/500 A2 (310B)", "310b", "ascend310b", None,
                   "Ascend-cann-kernels-310b_… (from CANN 8.5 on Ascend-cann-310b-ops_…)")
_BY_NAME = (
    (r"910B\d.*", _A2), (r"910(A|ProA|ProB|PremiumA)", _FIRST), (r"910C|910_93.*", _A3), (r"950.*", _950), (r"310P.*", _310P),
    (r"310B.*", _310B))


def generation(chip: Mapping[str, Any], chips: Sequence[Mapping[str, Any]]) -> Generation | None:
    """Name the generation of a chip among the chips of its node; None where npu-smi does not tell.

    A bare 910B is the first generation's name too (soc version 104): only its 32 GiB of HBM tell it from a 910B2 or
    910B3 that somebody shortened. Both chips of an A3 are called Ascend910, which alone could be any 910.
    """
    name = re.sub(r"^Ascend\s*", "", str(chip["name"]), flags=re.IGNORECASE)
    for pattern, found in _BY_NAME:
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return found
    memory = int(chip["memory_total_mib"])
    if name.upper() == "910B" and 0 < memory <= 32768:
        return _FIRST
    if name == "910" and memory >= 65536 and sum(other["npu"] == chip["npu"] for other in chips) == 2:
        return _A3
    return None


def kernels_of(archive: str) -> str:
    """Tell for which chips an archive of kernels is, by its name: 910, 910b, a3, 950, 310p, 310b; "" for an unknown name.

    Up to 8.3 it is Ascend-cann-kernels-<chips>_<version>… or Atlas-A3-cann-kernels_…, from 8.5 on Ascend-cann-<chips>-ops_….
    """
    name = archive.split("?")[0].rstrip("/").split("/")[-1]
    found = re.search(r"cann-kernels-([0-9a-z]+)_|cann-([0-9a-z]+)-ops|atlas-(a3)-cann-kernels", name, re.IGNORECASE)
    return next(word for word in found.groups() if word).lower() if found else ""
