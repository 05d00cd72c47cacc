"""Faults to rehearse, switched on by environment variables (see README.md). Ranks are global ones."""
from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import time
from typing import Any, Callable

# Recorded words of torch_npu and CANN: https://github.com/hiyouga/LlamaFactory/issues/5491,
# https://github.com/vllm-project/vllm-ascend/issues/486, /issues/198 and /issues/1706.
NPU_OUT_OF_MEMORY = (
    "NPU out of memory. Tried to allocate 386.00 MiB (NPU {local}; 60.97 GiB total capacity; 59.57 GiB already allocated; "
    "59.57 GiB current active; 16.54 MiB free; 60.06 GiB reserved in total by PyTorch) If reserved memory is >> allocated "
    "memory try setting max_split_size_mb to avoid fragmentation.")
SOCKET_TIMES_OUT = (
    "EI0006: [PID: {pid}] Getting socket times out. Reason: Remote Rank did not send the data in time. Please check the "
    "reason for the rank being stuck")
HCCL_ERROR = "InnerRunOpApi:torch_npu/csrc/framework/OpParamMaker.cpp:281 OPS function error: HcclAllreduce, error code is 6"
NOISE = """[ERROR] TBE Subprocess[task_distribute] raise error[], main process disappeared!
Process ForkServerProcess-2:
Traceback (most recent call last):
  File "/opt/env/lib/python3.8/multiprocessing/managers.py", line 802, in _callmethod
    conn = self._tls.connection
AttributeError: 'ForkAwareLocal' object has no attribute 'connection'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/opt/env/lib/python3.8/multiprocessing/process.py", line 315, in _bootstrap
    self.run()
BrokenPipeError: [Errno 32] Broken pipe
"""
_NOISE_BYTES = 2 * 2**20


def _words(name: str) -> list[str]:
    return os.environ.get(name, "").split()


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _among(ranks: str) -> bool:
    """Whether this rank is in "3", "0-3", "1,5" or "all"."""
    for part in ranks.split(","):
        first, _, last = part.partition("-")
        if ranks == "all" or int(first) <= _rank() <= int(last or first):
            return True
    return False


def _struck() -> list[tuple[str, int]]:
    """The faults that are for this rank: kind and iteration. The n-th words of the three variables belong together."""
    kinds, ranks, moments = (_words(f"STANDIN_{name}") for name in ("FAULT", "RANK", "AT"))
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"STANDIN_FAULT: unknown fault {', '.join(unknown)}; known: {', '.join(KINDS)}")
    if kinds and not len(kinds) == len(ranks) == len(moments):
        raise ValueError(f"STANDIN_FAULT has {len(kinds)} words, STANDIN_RANK {len(ranks)}, STANDIN_AT {len(moments)}: "
                         "each fault needs its rank (3, 0-3, 1,5 or all) and its iteration")
    return [(kind, int(at)) for kind, rank, at in zip(kinds, ranks, moments) if _among(rank)]


def at_import() -> None:
    """Fault ``import``: a module that is not there, before anything else; its iteration does not matter."""
    if any(kind == "import" for kind, _ in _struck()):
        import rehearsed_module_that_is_missing  # noqa: F401


def after_iteration(iteration: int) -> None:
    """Whatever is to go wrong after this iteration."""
    for kind, at in _struck():
        if at == iteration:
            KINDS[kind](iteration)


def before_save(iteration: int, name: str) -> None:
    """Fault ``disk_full``: no space for the file of the checkpoint of this iteration."""
    if ("disk_full", iteration) in _struck():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)


def spoiled(kind: str, iteration: int) -> bool:
    """Whether fault ``nan_loss``, ``nan_grad`` or ``skipped`` is on: from its iteration to the end."""
    return any(found == kind and iteration >= at for found, at in _struck())


def shortest_iteration() -> float:
    """Seconds that an iteration takes at least."""
    return float(os.environ.get("STANDIN_ITERATION_SECONDS") or 0)


def save_seconds() -> float:
    """How long a rank's writing of its file takes at least (STANDIN_SAVE_SECONDS)."""
    return float(os.environ.get("STANDIN_SAVE_SECONDS") or 0)


def _exception(iteration: int) -> None:
    raise RuntimeError(f"rehearsed fault after iteration {iteration} (STANDIN_FAULT)")


def _npu_oom(_iteration: int) -> None:
    raise RuntimeError(NPU_OUT_OF_MEMORY.format(local=os.environ.get("LOCAL_RANK", "0")))


def _hccl(_iteration: int) -> None:
    time.sleep(3)  # a time-out comes after what it waits for
    print(SOCKET_TIMES_OUT.format(pid=os.getpid()), file=sys.stderr, flush=True)
    raise RuntimeError(HCCL_ERROR)


def _noise(iteration: int) -> None:
    """An exception, and after its traceback what the processes of an operator's compiler print."""
    atexit.register(lambda: sys.stderr.write(NOISE * (_NOISE_BYTES // len(NOISE))))
    _npu_oom(iteration)


class _DyingData:
    """Data whose reader is killed, as by the kernel for want of memory."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


def _worker(_iteration: int) -> None:
    import torch

    next(iter(torch.utils.data.DataLoader(_DyingData(), num_workers=1)))


def _signal(number: signal.Signals) -> Callable[[int], None]:
    return lambda _iteration: os.kill(os.getpid(), number)


def _exit_zero(_iteration: int) -> None:
    sys.exit()


def _hang(_iteration: int) -> None:
    while True:
        time.sleep(60)


def _elsewhere(_iteration: int) -> None:
    """What strikes in another place than after an iteration."""


#: every fault, and what it does after its iteration
KINDS: dict[str, Callable[[int], Any]] = {
    "exception": _exception, "npu_oom": _npu_oom, "hccl": _hccl, "noise": _noise, "worker": _worker,
    "kill": _signal(signal.SIGKILL), "segv": _signal(signal.SIGSEGV), "exit_zero": _exit_zero, "hang": _hang,
    "import": _elsewhere, "disk_full": _elsewhere, "nan_loss": _elsewhere, "nan_grad": _elsewhere, "skipped": _elsewhere,
}
