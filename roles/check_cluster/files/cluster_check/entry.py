"""Entry: ``SETTINGS`` (base64 of JSON) on each node, ``rank ORDER`` for the process of an NPU."""
from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import sys
from typing import Any, Iterator


@contextlib.contextmanager
def alone(run_dir: str) -> Iterator[bool]:
    """Hold the lock that a training holds, so that none begins meanwhile; whether it was free. Before the first launch there is none."""
    if not os.path.isdir(run_dir):
        yield True
        return
    with open(os.path.join(run_dir, "lock"), "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Take part; what was found is told on the master."""
    with alone(settings["run_dir"]) as free:
        if not free:
            return {"error": f"a training holds {settings['run_dir']}/lock"}
        from .meeting import Meeting
        from .member import Master, Member

        keeps = settings["rank"] == 0
        meeting = Meeting(settings["master"], settings["port"], keeps, settings["seconds"])
        if keeps:
            return Master(settings, meeting).lead()
        Member(settings, meeting).follow()
        return {}


def main() -> None:
    """See above."""
    if sys.argv[1] == "rank":
        from . import rank

        rank.main(sys.argv[2])
    print(json.dumps(measure(json.loads(base64.b64decode(sys.argv[1])))), flush=True)
    sys.stderr.flush()
    # torch's threads are not waited for.
    os._exit(0)
