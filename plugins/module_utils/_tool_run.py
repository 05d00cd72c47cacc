"""Runs the vendor's tools on a node, several at once, none of them forever."""
from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterable, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import Unread

AT_ONCE = 8
#: seconds to wait before an answer "busy" is asked for again
PAUSES = (0.2, 0.5, 1.0)


def run(argv: Sequence[str], timeout: float) -> tuple[int, list[str]]:
    """Run a tool.

    Returns:
        Exit status, 124 when it was killed after `timeout` seconds, and the lines of both its streams.
    """
    process = subprocess.Popen([*argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env={**os.environ, "LC_ALL": "C"}, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as late:
        # One that is stuck in the driver cannot even be killed: it is left behind, since a wait for its end would never end.
        os.killpg(process.pid, signal.SIGKILL)
        return 124, (late.output or b"").decode("utf-8", "replace").splitlines()
    return process.returncode % 256, output.decode("utf-8", "replace").splitlines()


def ask(argv: Sequence[str], timeout: float, read: Callable[[int, Sequence[str]], Any]) -> Any:
    """Run a tool and read its answer, again where it says that it is busy."""
    for pause in (*PAUSES, None):
        value = read(*run(argv, timeout))
        if pause is None or not (isinstance(value, Unread) and value.kind == "busy"):
            break
        time.sleep(pause)
    return value


def side_by_side(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Do the work for each of the items, for AT_ONCE of them at a time; results in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))
