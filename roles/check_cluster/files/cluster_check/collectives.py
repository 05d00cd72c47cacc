"""What NPUs do together: all_reduce and all_to_all, each value checked, and how fast."""
from __future__ import annotations

import time
from typing import Any, Callable

REPEATS = 4


def fastest(prepare: Callable[[], Any], run: Callable[[], Any], synchronize: Callable[[], Any], barrier: Callable[[], Any]) -> float:
    """Seconds of the fastest of several tries, all ranks beginning together. The first makes connections and counts as little as a slow one."""
    times = []
    for _ in range(REPEATS):
        prepare()
        barrier()
        synchronize()
        begin = time.perf_counter()
        run()
        synchronize()
        times.append(time.perf_counter() - begin)
    return min(times)


class Collectives:
    """The tensors of one rank in a group, which torch.distributed is set up for."""

    def __init__(self, device: int, mib: int, say: Callable[[str], None]) -> None:
        """Args: number of the NPU, size of the message in MiB, and who is told what is begun."""
        import torch
        import torch.distributed as dist

        self.torch, self.dist, self.say = torch, dist, say
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.size = (mib << 18) // self.world * self.world  # of 4 bytes each
        self.index = (torch.arange(self.size, dtype=torch.int32, device=f"npu:{device}") % 13).float()
        self.given, self.got = self.index + self.rank, torch.empty_like(self.index)

    def measure(self) -> dict[str, Any]:
        """For each collective seconds and GB/s as links see them (bus bandwidth of the vendors' tests), and what was wrong."""
        found: dict[str, Any] = {"wrong": []}
        share = (self.world - 1) / self.world
        for name, run, factor in (("all_reduce", self._all_reduce, 2 * share), ("all_to_all", self._all_to_all, share)):
            self.say(name)
            seconds, wrong = run()
            found[name] = {"seconds": seconds, "gb_per_second": self.size * 4 * factor / seconds / 1e9}
            found["wrong"] += wrong
        return found

    def _compare(self, name: str, found: Any, expected: Any) -> list[str]:
        differ = found != expected
        count = int(differ.sum())
        if not count:
            return []
        at = int(differ.nonzero()[0])
        return [f"{count} of {self.size} values of {name} over {self.world} NPUs are wrong, the first at {at}: found {float(found[at]):g}, "
                f"expected {float(expected[at]):g}"]

    def _all_reduce(self) -> tuple[float, list[str]]:
        # Whole numbers far below 2^24: every order of additions gives the same.
        expected = self.index * self.world + self.world * (self.world - 1) / 2
        seconds = fastest(lambda: self.got.copy_(self.given), lambda: self.dist.all_reduce(self.got), self.torch.npu.synchronize, self.dist.barrier)
        return seconds, self._compare("all_reduce", self.got, expected)

    def _all_to_all(self) -> tuple[float, list[str]]:
        # Everybody gets the same part of everybody's.
        part = self.size // self.world
        mine = self.index[part * self.rank:part * (self.rank + 1)]
        expected = self.torch.cat([mine + other for other in range(self.world)])
        seconds = fastest(lambda: None, lambda: self.dist.all_to_all_single(self.got, self.given), self.torch.npu.synchronize, self.dist.barrier)
        return seconds, self._compare("all_to_all", self.got, expected)

    def goes_on(self, wanted: bool) -> bool:
        """Agree whether all go on: as long as every rank wants to."""
        vote = self.index[:1] * 0 + int(wanted)
        self.dist.all_reduce(vote)
        return bool(vote.item() == self.world)
