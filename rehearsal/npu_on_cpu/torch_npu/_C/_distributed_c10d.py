"""torch_npu._C._distributed_c10d: the options of a group, which MindSpeed gives to every group that it makes.

Source: torch_npu/csrc/distributed/Init.cpp and ProcessGroupHCCL.cpp (createHcclCommConfigWithOptions) of Ascend/pytorch, v2.7.1.
"""

from __future__ import annotations

from typing import Any

from .._guard import not_in_rehearsal

KINDS: dict[str, type] = {"group_name": str, "hccl_buffer_size": int, "hccl_op_expansion_mode": int, "qos_service_level": int, "qos_traffic_class": int}
"""Keys of hccl_config that the PyTorch guide describes, and the type of each."""


class _Options:
    """Options of a group, of which only ``hccl_config`` is there; gloo needs none of it."""

    def __init__(self) -> None:
        self._config: dict[str, Any] = {}

    @property
    def hccl_config(self) -> dict[str, Any]:
        """A copy, as from C++: a change counts when the whole is assigned."""
        return dict(self._config)

    @hccl_config.setter
    def hccl_config(self, config: dict[str, Any]) -> None:
        for key, value in config.items():
            if key not in KINDS:
                raise not_in_rehearsal(f"hccl_config[{key!r}]")
            if not isinstance(value, KINDS[key]):
                raise TypeError(f"hccl_config[{key!r}] is {value!r}, not {KINDS[key].__name__}")
        self._config = dict(config)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_config", "hccl_config"):
            raise not_in_rehearsal(f"ProcessGroupHCCL.Options.{name}")
        super().__setattr__(name, value)


class ProcessGroupHCCL:
    """Only its options: the groups are gloo's."""

    Options = _Options

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise not_in_rehearsal("ProcessGroupHCCL(…)", "its groups are gloo's")


def __getattr__(name: str) -> Any:
    raise not_in_rehearsal(f"torch_npu._C._distributed_c10d.{name}")
