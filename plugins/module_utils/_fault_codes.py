"""Vendor error codes of a training: what they say, who is at fault, what to do, in English and in Chinese.

The rows are data: ``_fault_codes_comm`` holds HCCL, HCCP and torch_npu, ``_fault_codes_cann`` the rest of CANN and the return codes
that torch_npu prints as ``error code is N``. Each row was checked against the vendor's document that it names; what could not be checked
is not there, and is named by its component only (``family``).
"""
from __future__ import annotations

import re
from typing import NamedTuple

from . import _fault_codes_cann, _fault_codes_comm

# A code as it is printed: "EI0006: [PID: 7] …", "Bind_Failed(EJ0003): …", "EZ9999[PID: 7] …", "… ERR02200 DIST …", "ErrorCode=EE1001".
CODE = re.compile(r"(?<![0-9A-Za-z_])(?:ERR\d{5}|E[1-9A-Z]\d{4})(?![0-9A-Za-z_])")
# A return code as torch_npu and CANN print it: "error code is 507014", "error code:107020", "runtime result = 107020".
RETURN_CODE = re.compile(r"(?:error code is|error code:|runtime result =) ?(\d{6})(?!\d)")


class FaultCode(NamedTuple):
    """A vendor's code.

    ``role`` is who is at fault: ``cause`` (this rank, its NPU or its node), ``cascade`` (another rank or what lies between: never who
    prints it), ``confirmation`` (accompanies another error and adds detail). ``cause`` is the verdict's key: "" where the code names
    none, "unknown" where the fault is this rank's and no key fits. A cascade has one where it says what is wrong between the ranks.
    """

    code: str
    role: str
    cause: str
    en: str
    zh: str
    remedy_en: str
    remedy_zh: str
    source: str
    version: str


CODES = {row[0]: FaultCode(*row) for row in _fault_codes_comm.ROWS + _fault_codes_cann.ROWS}

# The second character of a CANN code: the vendor's list of modules (CANN 8.5.0, "Description" of the error code reference).
_CANN_MODULES = {
    "1": ("GE (the graph engine)", "GE（图引擎）"),
    "2": ("FE (the fusion engine)", "FE（融合引擎）"),
    "3": ("AI CPU", "AI CPU"),
    "4": ("TE Fusion (the operator compiler)", "TE Fusion（算子编译）"),
    "7": ("the vector operator plugin", "Vector 算子插件"),
    "8": ("vector operators", "Vector 算子"),
    "B": ("the TBE pass compiler", "TBE Pass 编译工具"),
    "C": ("Auto Tune", "Auto Tune"),
    "D": ("RL Tune", "RL Tune"),
    "E": ("Runtime", "Runtime（运行时）"),
    "F": ("LxFusion and AutoDeploy", "LxFusion 与 AutoDeploy"),
    "G": ("AOE", "AOE"),
    "H": ("ACL (CANN's programming interface)", "ACL（CANN 编程接口）"),
    "I": ("HCCL (the collective communication)", "HCCL（集合通信）"),
    "J": ("HCCP (HCCL's process on the NPU)", "HCCP（集合通信进程）"),
    "K": ("Profiling", "Profiling"),
    "L": ("the driver", "Driver（驱动）"),
    "M": ("queue scheduling", "队列调度"),
    "N": ("DVPP", "DVPP"),
    "O": ("AMCT", "AMCT"),
    "P": ("Dump", "Dump"),
    "Z": ("operators and aclnn", "算子与 aclnn"),
}
_TORCH_NPU_MODULES = {"00": "PTA", "01": "OPS", "02": "DIST", "03": "GRAPH", "04": "PROF"}


def find(code: str) -> FaultCode | None:
    """Return the row of a code ("EI0006", "ERR02200", "507014"), None where it is not in the table."""
    return CODES.get(code)


def family(code: str) -> str:
    """Name the component that prints such a code, in English and Chinese; "" where the text is no code of a known form."""
    if re.fullmatch(r"ERR\d{5}", code):
        module = _TORCH_NPU_MODULES.get(code[3:5])
        return f"torch_npu, module {module} / torch_npu 的 {module} 模块" if module else "torch_npu / torch_npu"
    if re.fullmatch(r"\d{6}", code):
        return "a return code of CANN (acl or aclnn) / CANN 返回码（acl 或 aclnn）"
    if re.fullmatch(r"E[1-9A-Z]\d{4}", code):
        en, zh = _CANN_MODULES.get(code[1], ("", ""))
        return f"CANN, {en} / CANN 的 {zh}" if en else "CANN / CANN"
    return ""
