"""What failed imports and first operations on an NPU are explained by. Texts are those of public reports, shortened."""
from __future__ import annotations

import re

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _import_causes

SITE = "/usr/local/python3.10.14/lib/python3.10/site-packages"
# Text, words of the explanation, words that it must not hold.
CASES = [
    # https://github.com/Ascend/pytorch/issues/35: torch 2.2.0 with another torch_npu.
    (f"ImportError: {SITE}/torch_npu/lib/libtorch_npu.so: undefined symbol: _ZN5torch10ValueErrorC1EPKcz",
     "built for another torch", "CANN"),
    # https://github.com/rusty1s/pytorch_cluster/issues/100, the library renamed: symbols of c10 carry a K where const.
    (f"ImportError: {SITE}/torch_npu/lib/libtorch_npu.so: undefined symbol: _ZNK3c104Type14isSubtypeOfExtESt10shared_ptrIS0_EPSo",
     "first three numbers of both versions", "CANN"),
    (f"ImportError: {SITE}/amp_C.cpython-38-aarch64-linux-gnu.so: undefined symbol: _ZN2at4_ops5zeros4callEN3c108ArrayRefE",
     "apex was built for another torch", "CANN"),
    # https://github.com/DeepLink-org/dlinfer/issues/183: torch_npu's own symbol, with acl in its name.
    ("OSError: /home/dlinfer/vendor/ascend/ascend_extension.so: undefined symbol: "
     "_ZN7c10_npu3acl20AclrtPeekAtLastErrorE17aclrtLastErrLevel", "another torch_npu", "CANN"),
    # https://github.com/vllm-project/vllm-ascend/issues/117 and https://github.com/Ascend/pytorch/issues/99
    (f"ImportError: {SITE}/torch_npu/lib/libtorch_npu.so: undefined symbol: "
     "_ZN3atb15CreateOperationINS_5infer14GroupTopkParamEEEiRKT_PPNS_9OperationE", "Ascend-cann-nnal", "c10"),
    ("OSError: /home/mtp/Ascend/nnal/atb/latest/atb/cxx_abi_1/lib/libtbe_adapter.so: undefined symbol: "
     "_ZN3Mki2DlC1ERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEb", "Ascend-cann-nnal", "two versions"),
    # https://github.com/vllm-project/vllm-ascend/issues/152
    ("ImportError: libatb.so: cannot open shared object file: No such file or directory", "Ascend-cann-nnal", "playbooks"),
    # https://github.com/Ascend/samples/issues/21: CANN 7.0.RC1 with libraries of another one.
    ("error = /usr/local/Ascend/ascend-toolkit/7.0.RC1/opp/built-in/op_impl/host_cpu/libops_host_cpu.so: undefined symbol: "
     "_ZN2ge14GetShapeErrMsgEjRKSsS1_", "two versions of CANN are mixed", "torch_npu"),
    ("/usr/local/Ascend/cann-8.5.0/aarch64-linux/lib64/libgraph_base.so: undefined symbol: _ZN2ge16GetSanitizedNameERKSs",
     "two versions of CANN are mixed", "torch_npu"),
    ("ImportError: undefined symbol: aclrtGetDeviceInfo", "CANN is too old for this torch_npu", "mixed"),
    (f"ImportError: {SITE}/torch_npu/lib/libtorch_npu.so: undefined symbol: HcclReduceScatter", "CANN is too old for this torch_npu", "mixed"),
    (f"ImportError: {SITE}/torch_npu/lib/libtorch_npu.so: undefined symbol: acl_get_file", "does not say which", "too old"),
    ("libruntime.so: undefined symbol: halDeviceOpen", "driver is too old", "torch_npu"),
    ("ImportError: libtorch_python.so: undefined symbol: _PyErr_SetLocaleString", "another Python", "CANN"),
    ("ImportError: libx.so: undefined symbol: frobnicate", "does not say which", "too old"),
    # https://github.com/Ascend/pytorch/issues/7
    ("ImportError: /root/mamba/envs/cann/bin/../lib/libgomp.so.1: cannot allocate memory in static TLS block",
     "cann_toolkit_environment: {LD_PRELOAD", "driver"),
    # https://github.com/vllm-project/vllm-ascend/issues/1440
    ("libascend_hal.so: cannot open shared object file: No such file or directory\n"
     "RuntimeError: Failed to load the backend extension: torch_npu.", "NPU driver is not installed", "kernels"),
    ("npu-smi: error while loading shared libraries: libc_sec.so: cannot open shared object file: No such file or directory",
     "cann_toolkit_driver_libraries", "kernels"),
    # https://github.com/LinZhekai/X-Oscar/issues/4
    ("ImportError: libhccl.so: cannot open shared object file: No such file or directory. Please check that the cann package is "
     "installed. Please run 'source set_env.sh' in the CANN installation path.\n[ERROR] 2024-06-20-10:41:32 (PID:59450, Device:-1, "
     "RankID:-1) ERR00008 PTA resource not found", "run playbooks/cann_toolkit.yml", "driver"),
    ("ImportError: libopenblas.so.0: cannot open shared object file: No such file or directory", "node_base_packages_extra", "CANN"),
    # https://github.com/flagos-ai/FlagTree/issues/376
    ("ImportError: /usr/lib64/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by libtriton.so)", "libstdcxx-ng", "glibc"),
    # https://github.com/ai4d-iasc/trixie/issues/97
    ("/lib64/libc.so.6: version `GLIBC_2.29' not found", "newer C library (glibc)", "libstdcxx"),
    # https://github.com/sophgo/torch-tpu/issues/2
    ("A module that was compiled using NumPy 1.x cannot be run in\nNumPy 2.0.0 as it may crash.", "a NumPy 2 is installed", "kernels"),
    ("AttributeError: `np.float_` was removed in the NumPy 2.0 release. Use `np.float64` instead.", "a NumPy 2 is installed", "kernels"),
    # https://github.com/Ascend/pytorch/issues/29
    ("[CANNKB][Tid:2440326]\"ModuleNotFoundError: No module named 'tbe.common'\n\"", "CANN's own Python packages", "conda_env_packages_extra"),
    ("ModuleNotFoundError: No module named 'decorator'", "conda_env_packages_extra", "PYTHONPATH"),
    ("ModuleNotFoundError: No module named 'termcolor'", "conda_env_packages_extra", "PYTHONPATH"),
    # https://github.com/hiyouga/LlamaFactory/issues/4165: 910A.
    ("RuntimeError: call aclnnCast failed, detail:EZ1001: 2024-06-10-00:01:59.325.061 self not implemented for DT_BFLOAT16, should be in "
     "dtype support list [DT_FLOAT16,DT_FLOAT,DT_DOUBLE,].", "plan_precision: fp16", "kernels"),
    ("ValueError: wrong product: 4096 of 4096 values differ from the CPU's", "computes wrongly", "kernels"),
    # https://github.com/vllm-project/vllm-ascend/issues/1706
    ("RuntimeError: NPU out of memory. Tried to allocate 20.00 MiB (NPU 0; 60.97 GiB total capacity)", "held by somebody else", "kernels"),
    # https://github.com/gpustack/gpustack/issues/3352
    ("aclrtSetDeviceImpl: open device 0 failed, runtime result = 107001.", "no NPU of that number", "kernels"),
    # https://github.com/vllm-project/vllm-ascend/issues/237
    ("RuntimeError: call aclnnSwiGlu failed, detail:EZ1001: [PID: 72153] 2025-03-04-15:41:40.695.851 Get path and read "
     "binary_info_config.json failed, please check if the opp_kernel package is installed", "cann_toolkit_kernels_src", "too old"),
    # https://github.com/vllm-project/vllm-ascend/issues/4859
    ("RuntimeError: zero_:build/CMakeFiles/torch_npu.dir/compiler_depend.ts:40 NPU function error: call aclnnInplaceZero failed, error code is "
     "561103", "made for another chip", "too old"),
    # https://github.com/vllm-project/vllm-ascend/issues/4284: the cause stands behind the general code 507033.
    ("NPU function error: c10_npu::SetDevice(device_id_), error code is 507033\n[Error]: Failed to start the device.\n"
     "E30006: 2025-11-19-11:14:58.516.606 Failed to verify the OPP\n  Possible Cause: 1.The OPP is incorrect.", "cann_toolkit_kernels_src", "held"),
    # https://github.com/vllm-project/vllm/pull/8054
    ("RuntimeError: aclnnPromptFlashAttentionV3 or aclnnPromptFlashAttentionV3GetWorkspaceSize not in libopapi.so, or libopapi.sonot found.",
     "CANN is too old for this torch_npu", "driver"),
    # https://github.com/Ascend/pytorch/issues/67
    ("RuntimeError: Initialize:build/CMakeFiles/torch_npu.dir/compiler_depend.ts:146 NPU function error: c10_npu::SetDevice(device_id_), error "
     "code is 507033\n[Error]: Failed to start the device.", "device cannot be opened", "kernels"),
    # https://github.com/vllm-project/vllm-ascend/issues/692
    ("RuntimeError: SetPrecisionMode:build/CMakeFiles/torch_npu.dir/compiler_depend.ts:155 NPU function error: at_npu::native::AclSetCompileopt("
     "aclCompileOpt::ACL_PRECISION_MODE, precision_mode), error code is 500001\nGELib::InnerInitialize failed.", "compiler of operators", "driver"),
    ("rc 124", "it hangs", "kernels"),
    ("RuntimeError: call aclnnMatmul failed", "kernels package may be missing", "driver"),
    ("something else in 20250107001Z", "no known cause", "NPU"),
]


@pytest.mark.parametrize(("text", "words", "others"), CASES, ids=[f"{place}-{case[1]}" for place, case in enumerate(CASES)])
def test_causes(text: str, words: str, others: str) -> None:
    found = _import_causes.import_cause(text)
    assert words in found
    assert others not in found


def test_no_row_is_dead_and_each_has_a_source() -> None:
    used = {_import_causes.import_cause(text) for text, *_ in CASES} - {_import_causes.UNKNOWN}
    assert used == {cause.words for cause in _import_causes.CAUSES}
    for cause in _import_causes.CAUSES:
        assert re.match("https://|composed|general|message as in|words of", cause.source), cause
