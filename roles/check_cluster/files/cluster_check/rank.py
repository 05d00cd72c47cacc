"""The process of one NPU: measures what it is told, and prints one line of JSON. Lines that begin with @ say what is begun."""
from __future__ import annotations

import ctypes
import datetime
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

# Results of a stress are told at most so often.
SAMPLES = 60


def say(what: str) -> None:
    """Tell the parent what is begun: the last one is what a rank that hangs hangs in."""
    print(f"@ {what}", flush=True)


def meet(order: dict[str, Any]) -> Any:
    """Join the group by the store that the master keeps."""
    import torch.distributed as dist

    say("meet the others")
    limit = datetime.timedelta(seconds=order["seconds"])
    store = dist.TCPStore(order["master"], order["port"], is_master=False, timeout=limit, wait_for_workers=False)
    # hccl on NPUs; each group has names of its own in the one store.
    dist.init_process_group("hccl", store=dist.PrefixStore(order["prefix"], store), rank=order["rank"], world_size=order["world"], timeout=limit)
    return dist


def repeat(order: dict[str, Any], compute: Any, collectives: Any) -> dict[str, Any]:
    """Measure again and again for a time: a list of samples, each with the seconds since the begin."""
    samples: list[dict[str, Any]] = []
    begin = time.monotonic()
    total = order["minutes"] * 60
    going = True
    while going:
        say("stress")
        sample: dict[str, Any] = {**compute.measure(), **{"at": time.monotonic() - begin}}
        if collectives:
            both = collectives.measure()
            sample.update(all_reduce=both["all_reduce"], all_to_all=both["all_to_all"])
            sample["wrong"] += both["wrong"]
        if not samples or sample["wrong"] or sample["at"] - samples[-1]["at"] >= total / SAMPLES:
            samples.append(sample)
        going = time.monotonic() - begin < total and not sample["wrong"]
        if collectives:
            going = collectives.goes_on(going)
    return {"samples": samples}


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Do what an order says on this process' NPU."""
    # What is set for all ranks of a node wins: a pretend node has as many NPUs as ranks.
    say("import torch_npu")
    import torch
    import torch_npu  # makes npu devices known

    found: dict[str, Any] = {"versions": f"torch {torch.__version__}, torch_npu {torch_npu.__version__}"}
    compute = collectives = None
    say(f"set NPU {order['device']}")
    torch.npu.set_device(order["device"])
    if order["what"] != "collectives":
        from .compute import Compute

        say("compute")
        compute = Compute(order["device"], order["precision"], order["side"], order["mib"])
        found["compute"] = compute.measure()
    if order["world"] > 1:
        dist = meet(order)
        from .collectives import Collectives

        say("collectives")
        collectives = Collectives(order["device"], order["mib"], say)
        found["collectives"] = collectives.measure()
    if order["what"] == "stress":
        found["stress"] = repeat(order, compute, collectives)
    if collectives:
        say("leave the others")
        dist.destroy_process_group()
    return found


def main(text: str) -> None:
    """Print the result, or what went wrong; the status is 0 when there is a result."""
    order = json.loads(text)
    # With the parent this one goes, too: also with one that was killed before this line.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        os._exit(1)
    status = 1
    try:
        print(json.dumps(measure(order)), flush=True)
        status = 0
    except BaseException:  # extension modules end in more ways than Exception
        traceback.print_exc()
        sys.stderr.flush()
    # The real libraries have crashed in their clean-up at exit.
    os._exit(status)
