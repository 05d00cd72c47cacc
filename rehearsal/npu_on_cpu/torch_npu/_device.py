"""Sends what is asked of "npu" and "cuda" devices to the CPU.

``install`` does what importing the real torch_npu does ("npu" devices exist), ``redirect_cuda`` what importing
torch_npu.contrib.transfer_to_npu does on top ("cuda" means "npu"). Functions of torch are replaced one by one: a
TorchFunctionMode would be off while autograd runs Python backward code, where Megatron allocates too.
Requests for other devices ("cpu", "meta") pass unchanged. ``torch.device("npu")`` is refused by torch itself: to name a
device type "npu" would take a registered accelerator, which torch's barrier then uses in place of the CPU.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable

import torch

from . import _distributed, _faults, npu
from ._guard import not_in_rehearsal
from .npu._devices import current_device, index_of

Function = Callable[..., Any]

FACTORIES = (
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "empty_strided",
    "eye",
    "full",
    "full_like",
    "linspace",
    "load",
    "logspace",
    "normal",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "scalar_tensor",
    "set_default_device",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
)
"""Functions of torch that take a device (transfer_to_npu's list, less what neither upstream nor we ever call)."""

TENSOR_METHODS = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros")
KEYWORDS = ("device", "map_location")
_installed: set[str] = set()


def on_cpu(value: Any, index_means_device: bool = False) -> Any:
    """Give "cpu" for a request of an npu or cuda device, and anything else back unchanged.

    ``value`` may be a torch.device, a string such as "npu:1", a dict of such (a map_location), and, where
    ``index_means_device``, an index: an int names the current accelerator's device.
    """
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type in ("cuda", "npu") else value
    if isinstance(value, str):
        return "cpu" if value.split(":")[0] in ("cuda", "npu") else value
    if index_means_device and type(value) is int:
        return "cpu"
    if isinstance(value, dict):
        return {on_cpu(key): on_cpu(item) for key, item in value.items()}
    return value


def _keywords_on_cpu(kwargs: dict[str, Any]) -> None:
    for name in KEYWORDS:
        if kwargs.get(name) is not None:
            kwargs[name] = on_cpu(kwargs[name], index_means_device=True)


def _factory(function: Function) -> Function:
    """Wrap a function of torch whose keyword ``device`` or ``map_location`` names a device."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _keywords_on_cpu(kwargs)
        return function(*args, **kwargs)

    return call


def _factory_positional(function: Function) -> Function:
    """As _factory, where a positional string or torch.device names a device too (torch.load, set_default_device)."""
    first = 1 if function.__name__ == "load" else 0  # the first argument of torch.load is a path

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _keywords_on_cpu(kwargs)
        return function(*args[:first], *map(on_cpu, args[first:]), **kwargs)

    return call


def _mover(method: Function) -> Function:
    """Wrap ``to`` and ``to_empty``, whose first argument may be a device or an index."""

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        target = args[0] if args else kwargs.get("device")
        _keywords_on_cpu(kwargs)
        if args and isinstance(args[0], (int, str, torch.device)) and not isinstance(args[0], bool):
            args = (on_cpu(args[0], index_means_device=True), *args[1:])
        moved = method(self, *args, **kwargs)
        if _faults.FAULTS and isinstance(self, torch.Tensor) and isinstance(target, str) and target.startswith("npu"):
            return _faults.on_move(moved, index_of(target))
        return moved

    return call


def _stay(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Be ``Tensor.npu()`` and ``Module.npu()``: what is asked to move is there already."""
    return self


def _typed(method: Function) -> Function:
    """Wrap ``Tensor.type``: answer "torch.npu.FloatTensor" as an NPU's tensor would, and accept such names.

    AscendSpeed turns the answer into "torch.cuda.FloatTensor", by which Megatron's optimizers sort parameters.
    """

    @functools.wraps(method)
    def call(self: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(dtype, str):
            dtype = dtype.replace("torch.cuda.", "torch.").replace("torch.npu.", "torch.")
        answer = method(self, dtype, *args, **kwargs)
        return "torch.npu." + answer.split(".")[-1] if isinstance(answer, str) else answer

    return call


def _is_npu(self: Any) -> bool:
    """Be ``Tensor.is_npu``, which the stand-in cannot know: every tensor lies on the CPU."""
    raise not_in_rehearsal("torch.Tensor.is_npu", "a tensor of the NPU cannot be told from one of the CPU")


def _is_cuda(self: Any) -> bool:
    """Be ``Tensor.is_cuda`` after transfer_to_npu, where it is is_npu: true, of whichever tensor.

    Megatron asks it before it brings the experts' counts to the host (core/transformer/moe/moe_utils.py:754), or before it complains.
    """
    return True


def _record_stream(self: Any, stream: Any) -> None:
    """Be ``Tensor.record_stream``: no stream can outlive the tensor."""


def _no_script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """Be ``torch.jit.script``, which transfer_to_npu switches off."""
    return obj


def _no_compile(model: Any = None, **kwargs: Any) -> Any:
    """Be ``torch.compile``: torch_npu 2.1.0 has no compiler for an NPU, so functions run as they are written."""
    return model if model is not None else (lambda function: function)


def install() -> None:
    """Make "npu" devices exist, once: torch.npu, Tensor.npu, Module.npu, the factories, the backend hccl."""
    if "npu" in _installed:
        return
    _installed.add("npu")
    torch.npu = npu
    sys.modules["torch.npu"] = npu
    for name in FACTORIES:
        positional = name in ("load", "set_default_device")
        setattr(torch, name, (_factory_positional if positional else _factory)(getattr(torch, name)))
    for name in TENSOR_METHODS:
        setattr(torch.Tensor, name, _factory(getattr(torch.Tensor, name)))
    torch.Tensor.to = _mover(torch.Tensor.to)
    torch.Tensor.type = _typed(torch.Tensor.type)
    torch.Tensor.npu = _stay
    torch.Tensor.is_npu = property(_is_npu)
    torch.Tensor.record_stream = _record_stream
    torch.nn.Module.to = _mover(torch.nn.Module.to)
    torch.nn.Module.to_empty = _mover(torch.nn.Module.to_empty)
    torch.nn.Module.npu = _stay
    torch.compile = _no_compile
    _distributed.install()
    if _faults.FAULTS:
        torch.Tensor.__matmul__ = _faults.matmul(torch.Tensor.__matmul__, current_device)
        torch.distributed.all_reduce = _faults.all_reduce(torch.distributed.all_reduce, current_device)


def redirect_cuda() -> None:
    """Make "cuda" mean "npu", once: torch.cuda, Tensor.cuda, Module.cuda, the backend nccl, no torch.jit.script."""
    if "cuda" in _installed:
        return
    _installed.add("cuda")
    install()
    for name in (*npu.__all__, "_lazy_call"):
        setattr(torch.cuda, name, getattr(npu, name))
    for name in set(torch.cuda.random.__all__) & set(npu.__all__):
        setattr(torch.cuda.random, name, getattr(npu, name))
    for name in ("cudart", "nvtx", "set_per_process_memory_fraction", "mem_get_info", "get_device_properties"):
        setattr(torch.cuda, name, _Refused(f"torch.cuda.{name}"))
    torch.Tensor.cuda = _stay
    torch.Tensor.is_cuda = property(_is_cuda)
    torch.nn.Module.cuda = _stay
    torch.jit.script = _no_script
    torch.jit.script_method = _no_script
    _distributed.accept_nccl()


class _Refused:
    """A name that is refused when it is called or read, not when it is imported."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise not_in_rehearsal(self._name)

    def __getattr__(self, name: str) -> Any:
        raise not_in_rehearsal(f"{self._name}.{name}")
