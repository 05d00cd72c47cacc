"""What one NPU does by itself: a matrix product whose value is known, copies in its memory and from the host's."""
from __future__ import annotations

import time
from typing import Any, Callable

PERIOD = 64
# As many tries at least, and for so many seconds.
REPEATS, SECONDS = 5, 0.3
INNER = 10


def best(run: Callable[[], Any], synchronize: Callable[[], Any], inner: int = INNER) -> float:
    """Seconds that a run takes: the shortest of several tries, since what disturbs only makes one longer."""
    run()
    synchronize()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < REPEATS or time.perf_counter() - started < SECONDS:
        begin = time.perf_counter()
        for _ in range(inner):
            run()
        synchronize()
        times.append((time.perf_counter() - begin) / inner)
    return min(times)


class Compute:
    """The operands on one device, made once and used again and again."""

    def __init__(self, device: int, precision: str, side: int, mib: int) -> None:
        """Args: number of the NPU, bf16, fp16 or fp32, side of the matrices (64 times a power of 2), size of what is copied in MiB."""
        import torch

        self.torch, self.side, self.place = torch, side, f"npu:{device}"
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        # Small whole numbers that repeat: each sum is a power of 2 times a whole number of at most 128, exact in bf16, which has 8 bits.
        row, column = torch.arange(PERIOD).reshape(PERIOD, 1), torch.arange(PERIOD).reshape(1, PERIOD)
        left, right = ((row * 7 + column * 3) % 5 - 2).float(), ((row * 3 + column * 11) % 3 - 1).float()
        times = side // PERIOD
        self.expected = ((left @ right) * times).repeat(times, times).to(dtype).to(self.place)
        self.left, self.right = (one.repeat(times, times).to(dtype).to(self.place) for one in (left, right))
        self.bytes = mib << 20
        self.host = torch.arange(self.bytes // 4, dtype=torch.int32)
        self.pinned = True
        try:
            self.host = self.host.pin_memory()
        except (RuntimeError, NotImplementedError):
            self.pinned = False
        self.there = torch.empty(self.bytes // 4, dtype=torch.int32, device=self.place)
        self.copy = torch.empty(self.bytes // 4, dtype=torch.int32, device=self.place)

    def measure(self) -> dict[str, Any]:
        """Seconds of a product, TFLOPS, GB/s in the NPU's memory and from the host's, and what was wrong."""
        synchronize = self.torch.npu.synchronize
        wrong: list[str] = []
        product = self.left @ self.right
        differ = product != self.expected
        count = int(differ.sum())
        if count:
            at = tuple(int(index) for index in differ.nonzero()[0])
            wrong.append(f"{count} of {differ.numel()} values of a product are wrong, the first at {at}: found {float(product[at]):g}, "
                         f"expected {float(self.expected[at]):g}")
        seconds = best(lambda: self.left @ self.right, synchronize)
        host = best(lambda: self.there.copy_(self.host), synchronize, 1)
        # Read once and written once.
        memory = best(lambda: self.copy.copy_(self.there), synchronize)
        changed = int((self.copy.cpu() != self.host).sum())
        if changed:
            wrong.append(f"{changed} of {self.host.numel()} values changed on the way from the host and through the NPU's memory")
        return {"matmul_seconds": seconds, "tflops": 2 * self.side**3 / seconds / 1e12, "memory_gb_per_second": 2 * self.bytes / memory / 1e9,
                "host_gb_per_second": self.bytes / host / 1e9, "pinned": self.pinned, "wrong": wrong}
