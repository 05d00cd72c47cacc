"""How this rank ended, kept in the run's folder; and where it stands, on a signal.

torchrun tells of a failed rank no more than its exit code, and of one that left by ``sys.exit()`` (as Megatron-LM does where it cannot load)
nothing at all. So an exception that nobody caught, or a call of ``sys.exit``, is written to ``failures/rank<RANK>.json`` below
ASCEND_RUN_DIR, with the time; the launch script empties that folder at each start. On SIGUSR1 the stacks of all threads are written to
``stacks/rank<RANK>.txt``, whatever the rank is doing; ``stacks/rank<RANK>.pid`` says whom to ask.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from types import TracebackType
from typing import Any, NoReturn, Sequence

#: open as long as the process: faulthandler keeps its number
_stacks: Any = None


def place(frames: Sequence[traceback.FrameSummary]) -> str:
    """``file.py:12 in function`` of the innermost frame; "" without one."""
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""


def write(folder: str, record: dict[str, Any]) -> None:
    """Write the record of this rank in one piece. What goes wrong here must not hide what went wrong before."""
    path = os.path.join(folder, f"rank{record['rank']}.json")
    try:
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(path + ".new", path)
    except OSError as error:
        print(f"> hook failures: {path} cannot be written: {error}", file=sys.stderr, flush=True)


def install(arguments: Sequence[str]) -> str:
    """Record the end of this process, not that of its children, and answer SIGUSR1."""
    global _stacks
    run = os.environ.get("ASCEND_RUN_DIR", "")
    if not run:
        return "ASCEND_RUN_DIR is not set: the end of a rank is not recorded"
    rank, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))
    pid = os.getpid()
    failures, stacks = os.path.join(run, "failures"), os.path.join(run, "stacks")
    for folder in (failures, stacks):
        os.makedirs(folder, exist_ok=True)
    ended = {"rank": rank, "local_rank": local_rank}
    told, leave = sys.excepthook, sys.exit

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if os.getpid() == pid:
            write(failures, {**ended, "time": time.time(), "kind": "exception", "type": kind.__name__, "message": str(error)[:4000],
                             "where": place(traceback.extract_tb(trace)), "status": 1})
        told(kind, error, trace)

    def exit_recorded(status: Any = None) -> NoReturn:
        if os.getpid() == pid:
            code = status if isinstance(status, int) or status is None else 1
            write(failures, {**ended, "time": time.time(), "kind": "exit", "type": "SystemExit",
                             "message": "" if status is None else str(status)[:4000], "where": place(traceback.extract_stack()[:-1]), "status": code})
        leave(status)

    sys.excepthook, sys.exit = excepthook, exit_recorded
    faulthandler.enable()
    _stacks = open(os.path.join(stacks, f"rank{rank}.txt"), "w", encoding="utf-8")  # noqa: SIM115
    faulthandler.register(signal.SIGUSR1, file=_stacks, all_threads=True)
    with open(os.path.join(stacks, f"rank{rank}.pid"), "w", encoding="utf-8") as file:
        file.write(str(pid))
    return f"the end of each rank is kept in {failures}, its stacks on SIGUSR1 in {stacks}"
