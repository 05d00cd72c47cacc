"""Importing this sends what a program asks of CUDA to the NPU: here, to the CPU.

Source: torch_npu/contrib/transfer_to_npu.py of Ascend/pytorch and the chapter "automatic migration" of Huawei's
PyTorch migration guide. As there: ``torch.cuda`` answers as ``torch_npu.npu``, "cuda" devices are accepted, the backend
"nccl" means "hccl", and torch.jit.script does nothing.
"""

from __future__ import annotations

from .. import _device

_device.redirect_cuda()
