"""Follow a run to its end by asking one node; see the module of the same name for documentation."""
from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ascend.cluster.plugins.module_utils import _follow

display = Display()

#: where the callback training_live, in the main process, looks for figures; it sets this where there is a terminal
LIVE = "ASCEND_CLUSTER_LIVE"
#: seconds until a node is asked a second time, e.g. on a new connection after the controller slept
AGAIN = 1.0


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back.

    What is displayed goes to the main process through a pipe with a lock. ansible-core ends its workers at Ctrl-C, and then waits
    for that lock: for ever, where the worker ended while it held it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ActionModule(ActionBase):
    """Asks one node, until the run is over or the node does not answer."""

    _supports_check_mode = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for news; two questions in a row without an answer end this node's turn."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, wanted = self.validate_argument_spec({
            "python": {"type": "path", "required": True},
            "program": {"type": "path", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "run_id": {"type": "str"},
            "node": {"type": "str", "required": True},
            "log_node": {"type": "str", "required": True},
            "poll_seconds": {"type": "float", "default": 10},
            "unreachable_timeout": {"type": "float", "default": 300},
            "previous": {"type": "dict", "default": {}},
        })
        before = wanted["previous"] or {}
        follower = _follow.Follower(wanted["log_node"], before.get("follower"))
        status: dict[str, Any] = dict(before.get("status") or {})
        run_id = before.get("run_id") or wanted["run_id"]
        answered = float(before.get("answered") or time.monotonic())
        silent: dict[str, str] = dict(before.get("silent") or {})
        absent: list[str] = list(before.get("absent") or [])
        failures, over, parent = 0, False, multiprocessing.parent_process()
        while not over and failures < 2:
            # A worker outlives a playbook that is killed: nobody reads what it would say. Who forked it is known, however often this item is the next one.
            if parent is not None and os.getppid() != parent.pid:
                raise AnsibleError("the playbook that followed is gone")
            if failures:
                time.sleep(AGAIN)
            answer = self._ask(wanted, run_id, follower, task_vars or {})
            if answer["error"]:
                failures += 1
                silent[wanted["node"]] = answer["error"]
                if answer.get("absent"):
                    # Its turn again, and all others know no such run either: no reason to wait.
                    failures, over = 2, wanted["node"] in absent and set(silent) <= set(absent)
                    absent.append(wanted["node"])
                continue
            failures, answered, silent, absent = 0, time.monotonic(), {}, []
            run_id, status = answer["run_id"], answer["status"]
            for kind, text in follower.take(status):
                with uninterrupted():
                    display.warning(text) if kind == "warning" else display.display(text)
            self._live(follower.figures(status, wanted["node"], time.time()))
            over = status.get("state") == "done" and not follower.behind
        if not over:
            with uninterrupted():
                display.warning(f"{wanted['node']} does not answer: {silent[wanted['node']]}")
            time.sleep(min(wanted["poll_seconds"], 1.0))
            over = time.monotonic() - answered > wanted["unreachable_timeout"]
        status.pop("lines", None)
        result.update({"changed": False, "over": over, "run_id": run_id or "", "status": status, "answered": answered, "silent": silent,
                       "absent": absent, "follower": follower.kept()})
        return result

    def _ask(self, wanted: dict[str, Any], run_id: str | None, follower: _follow.Follower, task_vars: dict[str, Any]) -> dict[str, Any]:
        """``run_id``, ``status``, and ``error`` where the node, or the run on it, does not answer."""
        options = {name: wanted[name] for name in ("python", "program", "run_dir", "user")}
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name="ascend.cluster.training_status", task_vars=task_vars,
                module_args={**options, "run_id": run_id, "after": follower.after, "known": follower.known,
                             "wait_seconds": 0 if follower.behind else wanted["poll_seconds"]})
        except AnsibleError as error:
            return {"error": f"it is not reached: {error}"}
        if answer.get("unreachable") or answer.get("failed") or "status" not in answer:
            # A broken connection can also show as a module that printed nothing.
            last = str(answer.get("module_stderr") or "").strip().splitlines()[-1:]
            return {"error": ": ".join([str(answer.get("msg") or "the node gave no answer"), *last])}
        return answer

    @staticmethod
    def _live(figures: dict[str, Any]) -> None:
        """Leave the figures for the display. Following does not depend on it."""
        folder = os.environ.get(LIVE)
        if folder:
            with contextlib.suppress(OSError):
                draft = Path(folder) / "figures.new"
                draft.write_text(json.dumps(figures), encoding="utf-8")
                draft.replace(Path(folder) / "figures.json")
