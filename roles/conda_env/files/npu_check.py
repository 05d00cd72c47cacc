"""Do one small matrix product on each NPU and compare its value with the CPU's; print as JSON which NPUs failed, and how.

Arguments: number of NPUs (those from 0 on are used, as the training does), precision (bf16, fp16 or fp32), seconds.
An NPU has a process of its own, so that one which crashes or hangs hides nothing of the others. Run in the environment
of the training, by its Python. torch is imported after the fork: an NPU's context does not survive one.
"""
from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from typing import IO, Any

TEXT_BYTES = 20000  # of what an NPU's process printed, its end
SIDE = 64


def multiply(device: int, precision: str) -> None:
    """Multiply two matrices on a device. Raises what torch raises, or ValueError when the product is wrong."""
    import torch
    import torch_npu  # noqa: F401  # makes npu devices known

    torch.npu.set_device(device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    # Small whole numbers, and sums of at most 128: exact in bf16, which has 8 bits.
    row, column = torch.arange(SIDE).reshape(SIDE, 1), torch.arange(SIDE).reshape(1, SIDE)
    left, right = ((row * 7 + column * 3) % 5 - 2).float(), ((row * 3 + column * 11) % 3 - 1).float()
    place = f"npu:{device}"
    found = (left.to(dtype).to(place) @ right.to(dtype).to(place)).cpu().float()
    expected = left @ right
    wrong = found != expected
    if bool(wrong.any()):
        at = tuple(int(index) for index in wrong.nonzero()[0])
        raise ValueError(f"wrong product: {int(wrong.sum())} of {wrong.numel()} values differ from the CPU's, the first at {at}: "
                         f"found {float(found[at])}, expected {float(expected[at])}")


def start(device: int, precision: str, output: IO[bytes]) -> int:
    """Let a process multiply; give its id. What it prints, also from C, goes to output."""
    pid = os.fork()
    if pid:
        return pid
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = 1
    try:
        multiply(device, precision)
        status = 0
    except BaseException:  # extension modules end in more ways than Exception
        with os.fdopen(2, "w", closefd=False) as words:
            traceback.print_exc(file=words)
    finally:
        os._exit(status)  # the real libraries have crashed in their clean-up at exit


def state_of(pid: int) -> str:
    """State of a process as /proc names it, such as D: waits in the kernel and cannot be killed."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return "?"


def ended(status: int) -> str:
    """How a process ended that os.waitpid gave this status for; empty when well."""
    if os.WIFSIGNALED(status):
        return f"the process died of signal {os.WTERMSIG(status)} ({signal.Signals(os.WTERMSIG(status)).name})"
    return "" if os.WEXITSTATUS(status) == 0 else "it failed"


def check(count: int, precision: str, seconds: float) -> list[dict[str, Any]]:
    """Multiply on NPUs 0 to count - 1 at once; give device, what happened and the text of each that failed."""
    outputs = [tempfile.TemporaryFile() for _ in range(count)]  # noqa: SIM115  # open until the end of the program
    running = {start(device, precision, outputs[device]): device for device in range(count)}
    what = {}
    deadline = time.monotonic() + seconds
    while running and time.monotonic() < deadline:
        for pid in list(running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                what[running.pop(pid)] = ended(status)
        time.sleep(0.05)
    for pid, device in running.items():
        what[device] = f"no answer within {seconds:g} s (state {state_of(pid)})"
        os.kill(pid, signal.SIGKILL)  # not waited for: in state D it stays
    failed = []
    for device, output in enumerate(outputs):
        if what[device]:
            output.seek(max(0, output.seek(0, os.SEEK_END) - TEXT_BYTES))
            failed.append({"device": device, "what": what[device], "text": output.read().decode(errors="replace").strip()})
    return failed


if __name__ == "__main__":
    print(json.dumps({"failed": check(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))}))
