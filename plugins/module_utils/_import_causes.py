"""Likely cause of a failed import of torch, torch_npu or apex, or of a first operation on an NPU, from the text it left.

Runs on the controller. A table: the first row whose pattern is found counts, so what is precise stands before what is
general. The source of a row is a public report with that text, or says what else it rests on.
"""
from __future__ import annotations

import re
from typing import NamedTuple

UNKNOWN = "no known cause: run the command by hand as the training user"
_PAIR = "see conda_env_cann_pairs; change torch_npu in conda_env_wheels or CANN (cann_toolkit_version)"
_DRIVER = ("compare `cat /usr/local/Ascend/driver/version.info` with the vendor's table of drivers and CANN, and that "
           "cann_toolkit_driver_libraries names the folders that this driver has")


class Cause(NamedTuple):
    """A row: pattern (regular expression), cause with remedy in words, and source."""

    pattern: str
    words: str
    source: str


CAUSES = (
    # A symbol tells by its name who should have brought it. Mangled C++ names hold lengths: _ZN3c10… is c10::…
    Cause(r"(apex|amp)_C\S*\.so: undefined symbol: _ZNK?[RO]?(3c10|2at|5torch)",
          "apex was built for another torch: build it against the torch of conda_env_wheels, and put that wheel there",
          "composed after https://github.com/rusty1s/pytorch_cluster/issues/100"),
    Cause(r"undefined symbol: _ZNK?[RO]?(3c10|2at|5torch)",
          "torch_npu was built for another torch than the one installed: the first three numbers of both versions must be "
          "equal (conda_env_wheels)",
          "https://github.com/Ascend/pytorch/issues/35"),
    Cause(r"undefined symbol: _ZNK?[RO]?(7c10_npu|9torch_npu|6at_npu)",
          "the library named was built against another torch_npu than the one installed: build it anew, or install the "
          "torch_npu it was made for (conda_env_wheels)",
          "https://github.com/DeepLink-org/dlinfer/issues/183"),
    Cause(r"undefined symbol: _ZNK?[RO]?(3atb|3Mki)|libatb\S*: cannot open",
          "ATB, which this torch_npu needs, is missing or of another version. It comes with the vendor's package "
          "Ascend-cann-nnal of the same version as CANN: install that and set ATB's variables in cann_toolkit_environment; or "
          "take a torch_npu of conda_env_cann_pairs that does without it",
          "https://github.com/vllm-project/vllm-ascend/issues/117, /152; https://github.com/Ascend/pytorch/issues/99"),
    Cause(r"/(ascend-toolkit|cann)[^:\s]*\.so[^:\s]*: undefined symbol",
          "libraries of two versions of CANN are mixed: look in `ascend-env printenv LD_LIBRARY_PATH` for another version than "
          "cann_toolkit_version, and take it out of the login files and cann_toolkit_environment",
          "https://github.com/Ascend/samples/issues/21"),
    Cause(r"undefined symbol: (acl[a-zA-Z]|[Hh]ccl|(ge|GE|rt)[A-Z]|Msprof|_ZNK?2ge)",
          f"CANN is too old for this torch_npu, or not complete: torch_npu asks it for something that it has not; {_PAIR}",
          "message as in torch_npu's history, `undefined symbol: aclrtGetDeviceInfo`, `… HcclReduceScatter`"),
    Cause(r"undefined symbol: (hal|drv|dsmi|dcmi|tsd|Tsd)[A-Z_]",
          f"the NPU driver is too old for this CANN: {_DRIVER}",
          "composed: names of the driver's interface"),
    Cause(r"undefined symbol: _?Py[A-Z_]",
          "the library named was built for another Python: its wheel must carry the tag of conda_env_python_version",
          "composed: names of CPython's interface"),
    Cause(r"undefined symbol",
          f"two parts are not made for each other, and the symbol's name does not say which: torch and torch_npu, or {_PAIR}",
          "general"),

    # A library that is not found.
    Cause(r"static TLS block",
          "the library named was loaded too late for its thread-local storage (libgomp on aarch64): set "
          "cann_toolkit_environment: {LD_PRELOAD: <its full path>} and run playbooks/cann_toolkit.yml",
          "https://github.com/Ascend/pytorch/issues/7"),
    Cause(r"lib(ascend_hal|drvdsmi|mmpa|dcmi|c_sec|slog|drv)\w*\.so\S*: cannot open",
          "the driver's libraries are not found: the NPU driver is not installed, or the environment file lacks the folders of "
          "its libraries (cann_toolkit_driver_libraries: /usr/local/Ascend/driver/lib64 with common and driver below it)",
          "https://github.com/vllm-project/vllm-ascend/issues/1440; libc_sec.so lies in driver/lib64/common"),
    Cause(r"lib(hccl|ascendcl|ge_|op_|opapi|acl|graph|register|runtime|profapi|msprofiler|nnopbase|platform|error_manager)\w*\.so\S*: cannot open"
          r"|ASCEND_(HOME|OPP)",
          "CANN's libraries are not found: run playbooks/cann_toolkit.yml, which also makes the environment file",
          "https://github.com/vllm-project/vllm-ascend/issues/262"),
    Cause(r"GLIBCXX_[\d.]+|CXXABI_[\d.]+",
          "the wheel needs a newer C++ library (libstdc++) than the one found: conda's own goes into the environment with "
          "`conda install -p <environment> libstdcxx-ng`, and in front by cann_toolkit_environment: {LD_PRELOAD: "
          "<environment>/lib/libstdc++.so.6}; or take a wheel made for this system",
          "https://github.com/flagos-ai/FlagTree/issues/376, https://github.com/pytorch/pytorch/issues/87279"),
    Cause(r"GLIBC_[\d.]+",
          "the wheel needs a newer C library (glibc) than this system has: take a wheel with an older manylinux tag",
          "https://github.com/ai4d-iasc/trixie/issues/97"),
    Cause(r"\.so\S*: cannot open shared object file",
          "the library named lies in no folder that is searched: find its package (`dnf provides '*/<name>'`, `apt-file search "
          "<name>`) and add that to node_base_packages_extra, or its folder to LD_LIBRARY_PATH in cann_toolkit_environment",
          "general"),

    # Python packages.
    Cause(r"_ARRAY_API|numpy\.core\.multiarray|NumPy 1\.x cannot|removed in the NumPy 2",
          "a NumPy 2 is installed where the packages need NumPy 1: the constraints file holds numpy below 2",
          "https://github.com/vllm-project/vllm-ascend/issues/2210, https://github.com/sophgo/torch-tpu/issues/2"),
    Cause(r"No module named '?(tbe|te|hccl|opc_tool|auto_tune)\b",
          "CANN's own Python packages are not found: PYTHONPATH lacks those of its set_env.sh; run playbooks/cann_toolkit.yml, and "
          "look who else sets PYTHONPATH",
          "https://github.com/Ascend/pytorch/issues/29"),
    Cause(r"No module named", "a package that the wheels do not declare is missing: add it to conda_env_packages_extra",
          "https://github.com/Ascend/pytorch/issues/7"),

    # The first operation on a device.
    Cause(r"DT_BFLOAT16|[Bb][Ff]loat16.{0,40}not (implemented|supported)",
          "this chip has no bf16 (910A, 910Pro, 310P have not): set plan_precision: fp16, which needs "
          "plan_expert_model_parallel_size 1, or use other chips",
          "https://github.com/hiyouga/LlamaFactory/issues/4165"),
    Cause(r"wrong product",
          "this NPU computes wrongly: take it out of use, and have it tested by the vendor's ascend-dmi or replaced",
          "words of roles/conda_env/files/npu_check.py"),
    Cause(r"NPU out of memory",
          "the chip's memory is held by somebody else: look with `npu-smi info`, and end what is left over",
          "https://github.com/vllm-project/vllm-ascend/issues/1706"),
    Cause(r"\b107001\b|[Ii]nvalid [Dd]evice|device id error|does not exist: there are",
          "there is no NPU of that number for this user: compare `npu-smi info` and `ls /dev/davinci*` with plan_nproc_per_node, and "
          "look whether ASCEND_RT_VISIBLE_DEVICES is set",
          "https://github.com/gpustack/gpustack/issues/3352"),
    Cause(r"binary_info_config\.json|opp_kernel|\b561103\b|EZ3003|No supported Ops kernel|E30006|verify the OPP|dynamic kernel config",
          "the kernels (compiled operators) of CANN are missing, of another version, or made for another chip: run "
          "playbooks/cann_toolkit.yml, and look at cann_toolkit_kernels_src and cann_toolkit_kernels_version",
          "https://github.com/vllm-project/vllm-ascend/issues/237, /573, /4284, /4859; https://github.com/Ascend/samples/issues/11"),
    Cause(r"not in libopapi\.so",
          f"CANN is too old for this torch_npu: it has not this operator; {_PAIR}",
          "https://github.com/vllm-project/vllm/pull/8054"),
    Cause(r"\b(507033|507899)\b|Failed to start the device|drvRetCode|halDeviceOpen",
          f"the device cannot be opened: a process of another container or user may hold it (`npu-smi info`), it may be faulty, or "
          f"the driver does not go with CANN ({_DRIVER})",
          "https://github.com/Ascend/pytorch/issues/67, https://github.com/hw-native-sys/PTOAS/pull/948"),
    Cause(r"\b500001\b|GEInitialize failed|init env failed|InnerInitialize failed",
          "CANN's compiler of operators cannot start: mostly a Python package that it imports is missing or too new (numpy below 2, "
          "decorator, sympy, scipy, attrs, psutil, cffi: all in conda_env_packages), else the kernels package. Its own words are in "
          "~/ascend/log/debug/plog",
          "https://github.com/Ascend/pytorch/issues/7, https://github.com/vllm-project/vllm-ascend/issues/2210, /692"),
    Cause(r"rc 124\b|timed out|no answer within",
          "it hangs: look for processes that hold the NPUs (npu-smi info), and in `dmesg` for messages of the driver",
          "composed: status of timeout(1)"),
    Cause(r"\bopp\b|aclnn|opapi", "an operator of CANN failed: the kernels package may be missing or of another version (cann_toolkit_kernels_src)",
          "general"),
)


def import_cause(text: str) -> str:
    """The words of the first row that fits, or that no cause is known."""
    for cause in CAUSES:
        if re.search(cause.pattern, text):
            return cause.words
    return UNKNOWN
