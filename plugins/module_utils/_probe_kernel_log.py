"""Judges the kernel's log: which lines mean a fault, and of what.

Drivers of Ascend print errors at KERN_NOTICE, so the level tells nothing: lines are told by their words. Errors that a program of a
user causes (`devmm_svm_device_fault`, `Va is error`, `ipc_fault_msg_para_check`, `Get_user_pages_fast fail`) say nothing of the hardware.
"""
from __future__ import annotations

import re
from typing import Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding

# Check to the words, as grep -E and re both read them. The first that fits a line counts.
_WORDS = {
    "kernel_pcie": r"PCIe Bus Error:.*severity=Uncorrected|AER:.*[Uu]ncorrect",
    "kernel_memory": r"EDAC .* UE |[Hh]ardware [Ee]rror.*[Uu]ncorrect|error_type: 16|Memory failure: 0x",
    "kernel_oom": r"Out of memory: Kill|oom-kill:|Killed process [0-9]+",
    "kernel_disk": r"EXT4-fs error|XFS .*(Corruption|I/O [Ee]rror)|blk_update_request: .*I/O error|I/O error, dev |Remounting filesystem read-only",
    "kernel_stuck": r"hard LOCKUP|soft lockup|self-detected stall|detected stalls on|blocked for more than [0-9]+ seconds",
    "kernel_driver_fault": r"Heartbeat lost|Device is abnormal|devdrv_manager_send_msg unsuccessful|ipc channel idle timeout|"
                           r"DMA copy failed|Get mntn message",
}
PATTERN = "|".join(_WORDS.values())


def judge(values: Mapping[str, Sequence[str]]) -> Iterable[Finding]:
    """Find what the kernel's log tells; one finding a check, with the newest line and how many there are."""
    found: dict[str, list[str]] = {}
    for line in values.get("kernel_log", []):
        name = next((name for name, words in _WORDS.items() if re.search(words, line)), "")
        if name:
            found.setdefault(name, []).append(line)
    for name, lines in found.items():
        last = " ".join(re.sub(r"^\[[\d. ]+\]\s*", "", lines[-1]).split())[:200]
        yield finding(name, last + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""))
