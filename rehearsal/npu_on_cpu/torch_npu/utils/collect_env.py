"""torch_npu.utils.collect_env: the version of CANN, which MindSpeed compares with old ones when it is imported."""

from __future__ import annotations

import os
import re
from typing import Any

from .._guard import not_in_rehearsal


def get_cann_version() -> str:
    """Version by an ``ascend_…_install.info`` anywhere below ASCEND_HOME_PATH, the last found; "not known" without one.

    Source: torch_npu/utils/collect_env.py of Ascend/pytorch, v2.7.1, which without the variable searches the working folder.
    """
    version = "not known"
    home = os.environ.get("ASCEND_HOME_PATH", "")
    for folder, _, names in sorted(os.walk(os.path.realpath(home))) if home else []:
        for name in names:
            if re.match(r"ascend_.*_install\.info", name):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    version = next((line.strip().split("=")[-1] for line in file if "version" in line), version)
    return version


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu.utils.collect_env.{name}")
