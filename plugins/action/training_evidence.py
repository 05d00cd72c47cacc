"""Gather the evidence of a run that failed on one node; see the module of the same name for documentation."""
from __future__ import annotations

import time
from typing import Any, Sequence

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase


class Clock:
    """Bounds of a node's clock less the controller's, in seconds, from the times at which the node answered."""

    def __init__(self) -> None:
        self.low, self.high = float("-inf"), float("inf")

    def answered(self, asked: float, node: Sequence[float], got: float) -> None:
        """The node's module began after it was asked for and was done before its answer came."""
        low, high = node[1] - got, node[0] - asked
        if low > self.high or high < self.low:
            # One of the clocks was set in the meantime: what was known is of no use any more.
            self.low, self.high = low, high
        self.low, self.high = max(self.low, low), min(self.high, high)

    def bounds(self) -> dict[str, float]:
        """``low`` and ``high``; a node that never answered is taken as exact to a minute."""
        return {"low": max(self.low, -60.0), "high": min(self.high, 60.0)} if self.low == float("-inf") else {"low": self.low, "high": self.high}


class ActionModule(ActionBase):
    """Runs the module; a node that cannot be reached is an answer, and ends nothing."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's answer with `clock`; or `error`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        clock, asked = Clock(), time.time()
        try:
            found = self._execute_module(module_name="ascend.cluster.training_evidence", module_args=self._task.args, task_vars=task_vars)
        except AnsibleError as error:
            found = {"msg": str(error)}
        if "evidence" not in found:
            return {**result, "changed": False, "evidence": {}, "error": str(found.get("msg") or "the node gave no answer"), "clock": clock.bounds()}
        clock.answered(asked, found["began_done"], time.time())
        return {**result, **found, "error": "", "clock": clock.bounds()}
