"""Sends the backends hccl and nccl to gloo.

Source: chapter "HCCL" of Huawei's PyTorch migration guide (backend "hccl"), transfer_to_npu ("nccl" means "hccl").
Collectives are gloo's own on CPU tensors; what gloo of torch 2.13 lacks is refused by gloo or here by name.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch.distributed as dist

from ._C._distributed_c10d import ProcessGroupHCCL
from ._guard import not_in_rehearsal

Function = Callable[..., Any]

_accepted = {"hccl"}
_named: dict[Any, str] = {}


def _gloo(backend: Any) -> Any:
    """Give "gloo" for an accepted backend, also inside a list such as "cpu:gloo,npu:hccl"; others unchanged."""
    if not isinstance(backend, str):
        return backend
    parts = [part.split(":")[-1].lower() for part in backend.split(",")]
    if not any(part in _accepted for part in parts):
        return backend
    unknown = [part for part in parts if part not in _accepted and part != "gloo"]
    if unknown:
        raise not_in_rehearsal(f"the torch.distributed backend {backend!r}")
    return "gloo"


def _with_gloo(function: Function, position: int) -> Function:
    """Wrap init_process_group or new_group, whose argument at ``position`` or keyword ``backend`` names a backend."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        values = list(args)
        asked = values[position] if len(values) > position else kwargs.get("backend")
        if len(values) > position:
            values[position] = _gloo(asked)
        elif asked is not None:
            kwargs["backend"] = _gloo(asked)
        kwargs.pop("device_id", None)  # binds a group to an accelerator; gloo has none
        options = kwargs.pop("pg_options", None)  # hccl's are names and sizes of buffers, nothing to gloo
        if options is not None and not isinstance(options, ProcessGroupHCCL.Options):
            raise not_in_rehearsal(f"torch.distributed.{function.__name__}(pg_options=…)")
        group = function(*values, **kwargs)
        name = _named.get(None) if asked is None else "hccl" if _gloo(asked) != asked else None
        if name:
            _named[group] = name
        return group

    return call


def _backend_name(function: Function) -> Function:
    """Wrap get_backend: a group that was asked of hccl says "hccl", as on an NPU, also when it was asked of nccl.

    Megatron asks it in places; telling it "gloo" would send it ways that no real run takes.
    """

    @functools.wraps(function)
    def call(group: Any = None) -> Any:
        real = function(group)
        return _named.get(None if group is None or group is dist.group.WORLD else group, real)

    return call


def _forget(function: Function) -> Function:
    """Wrap destroy_process_group: names of groups that are gone are forgotten."""

    @functools.wraps(function)
    def call(group: Any = None) -> Any:
        result = function(group)
        if group is None:
            _named.clear()
        else:
            _named.pop(group, None)
        return result

    return call


def _without_devices(function: Function) -> Function:
    """Wrap barrier: gloo refuses device_ids, which hccl accepts."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("device_ids", None)
        return function(*args, **kwargs)

    return call


def _available() -> bool:
    return True


def install() -> None:
    """Replace the functions of torch.distributed that name a backend or a device."""
    dist.init_process_group = _with_gloo(dist.init_process_group, 0)
    dist.new_group = _with_gloo(dist.new_group, 2)
    dist.get_backend = _backend_name(dist.get_backend)
    dist.destroy_process_group = _forget(dist.destroy_process_group)
    dist.barrier = _without_devices(dist.barrier)
    dist.is_hccl_available = _available


def accept_nccl() -> None:
    """Let the backend "nccl" mean "hccl" too."""
    _accepted.add("nccl")
    dist.is_nccl_available = _available
