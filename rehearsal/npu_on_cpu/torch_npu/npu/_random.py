"""The devices' generator of random numbers, which is the CPU's."""

from __future__ import annotations

from typing import Iterable

import torch

from ._devices import Device, current_device, device_count


def manual_seed(seed: int) -> None:
    """Seed the devices' generator, which is the CPU's."""
    torch.default_generator.manual_seed(int(seed))


manual_seed_all = manual_seed


def seed() -> None:
    """Seed the generator from the system's randomness."""
    torch.default_generator.seed()


def initial_seed() -> int:
    """Seed of the generator."""
    return int(torch.initial_seed())


def get_rng_state(device: Device = "npu") -> torch.Tensor:
    """State of the generator, a uint8 tensor as torch.get_rng_state gives it."""
    return torch.get_rng_state()


def set_rng_state(new_state: torch.Tensor, device: Device = "npu") -> None:
    """Set the generator to a state from get_rng_state."""
    torch.set_rng_state(new_state)


def get_rng_state_all() -> list[torch.Tensor]:
    """One state a device (all are the same)."""
    return [torch.get_rng_state() for _ in range(device_count())]


def set_rng_state_all(new_states: Iterable[torch.Tensor]) -> None:
    """Set the generator to the current device's state."""
    torch.set_rng_state(list(new_states)[current_device()])


class _Generators:
    """Every device index has the CPU's one generator."""

    def __len__(self) -> int:
        return device_count()

    def __getitem__(self, index: int) -> torch.Generator:
        if not 0 <= index < device_count():
            raise IndexError(f"no generator of device {index}: there are {device_count()} devices")
        return torch.default_generator


default_generators = _Generators()
