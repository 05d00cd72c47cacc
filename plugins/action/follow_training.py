"""Follow the training on a node to its end; see the module of the same name for documentation."""
from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Sequence

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ascend.cluster.plugins.module_utils import _training_log

display = Display()


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
    """One node's follower."""

    _supports_check_mode = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for news until the unit ends, a peer fails, or the node is lost."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, wanted = self.validate_argument_spec({
            "unit": {"type": "str", "required": True},
            "run_dir": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "run_id": {"type": "str", "required": True},
            "meeting": {"type": "path", "required": True},
            "show_progress": {"type": "bool", "default": False},
            "poll_seconds": {"type": "int", "default": 10},
            "unreachable_timeout": {"type": "int", "default": 300},
            "stop_timeout": {"type": "int", "default": 120},
            "node_rank": {"type": "int", "required": True},
            "nproc_per_node": {"type": "int", "required": True},
        })
        self._wanted = wanted
        self._clock = Clock()
        self._vars = task_vars or {}
        host = str(self._vars["inventory_hostname"])
        first_failure = Path(wanted["meeting"]) / "first_failure"
        seen: list[dict[str, Any]] = []
        offset = 0
        reached = time.monotonic()
        while True:
            if first_failure.exists():
                outcome = self._stop(first_failure.read_text(encoding="utf-8"))
                break
            try:
                # Only the last node logs iterations; the others' logs are read when they fail.
                state = self._state(log_offset=offset if wanted["show_progress"] else -1, wait_seconds=wanted["poll_seconds"])
                reached = time.monotonic()
            except AnsibleError as error:
                if time.monotonic() - reached > wanted["unreachable_timeout"]:
                    outcome = {"outcome": "unreachable",
                               "reason": f"no answer for {wanted['unreachable_timeout']} s "
                                         f"(pretrain_unreachable_timeout): {error}"}
                    break
                display.warning(f"{host} does not answer, asking again: {error}")
                time.sleep(wanted["poll_seconds"])
                continue
            if state["current_run"] != wanted["run_id"]:
                # Somebody launched another run here: that one is not this follower's to stop.
                outcome = {"outcome": "failed", "reason": f"replaced by run {state['current_run']}", "log": state["log"]}
                break
            ended = None if state["active"] else self._ended(state)
            if ended and ended["outcome"] == "failed":
                self._announce(first_failure, host, ended["reason"])
            offset = state["log_offset"]
            for item in _training_log.iterations(state["log_text"].splitlines()):
                seen.append(asdict(item))
                if wanted["show_progress"]:
                    self._show(host, item)
            if ended and not state["log_text"]:
                outcome = ended
                break
        if outcome["outcome"] in ("failed", "unreachable"):
            self._announce(first_failure, host, outcome["reason"])
        evidence = {} if outcome["outcome"] == "succeeded" else self._evidence()
        result.update({"changed": True, "iterations": seen, "ended_at": 0.0, "clock": self._clock.bounds(), "evidence": evidence, **outcome})
        return result

    @staticmethod
    def _announce(first_failure: Path, host: str, reason: str) -> None:
        """Leave the note that makes the others stop; whoever comes first is the one they name. It appears whole."""
        draft = first_failure.with_name(f"{host}.note")
        draft.write_text(f"{host}: {reason}", encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(draft, first_failure)

    def _state(self, **options: Any) -> dict[str, Any]:
        wanted = self._wanted
        asked = time.time()
        state: dict[str, Any] = self._execute_module(
            module_name="ascend.cluster.training_state", task_vars=self._vars,
            module_args={**{name: wanted[name] for name in ("unit", "run_dir", "user", "run_id")}, **options})
        if state.get("unreachable"):
            raise AnsibleConnectionFailure(str(state.get("msg", "unreachable")))
        if state.get("failed") or "active" not in state:
            # A broken connection can also show as a module that printed nothing.
            raise AnsibleConnectionFailure(str(state.get("msg", "the node gave no answer")))
        self._clock.answered(asked, state["clock"], time.time())
        return state

    def _ended(self, state: dict[str, Any]) -> dict[str, Any]:
        """The unit has ended: by its own word and its exit status."""
        status = state["result"].get("status", "")
        reason = state["result"].get("reason", "")
        code = state["exec_main_status"]
        if status == "succeeded" and code == 0:
            outcome = "succeeded"
        else:
            outcome = "failed"
            if status == "succeeded" or not status:
                reason = f"the unit ended with status {code} without telling a result (killed?)"
            elif status == "stopped":
                reason = f"{reason} from outside this run of Ansible"
        return {"outcome": outcome, "reason": reason, "log": state["log"], "ended_at": state["ended_at"]}

    def _stop(self, note: str) -> dict[str, Any]:
        """Stop this node because another failed."""
        wanted = self._wanted
        try:
            before = self._state()
            if before["current_run"] != wanted["run_id"]:
                return {"outcome": "failed", "reason": f"replaced by run {before['current_run']}", "log": before["log"]}
            if not before["active"]:
                return self._ended(before)
            self._execute_module(module_name="ansible.builtin.command", task_vars=self._vars,
                                 module_args={"argv": ["timeout", str(wanted["stop_timeout"] + 60),
                                                       "systemctl", "stop", wanted["unit"]]})
            state = self._state()
        except AnsibleError as error:
            return {"outcome": "unreachable", "reason": f"could not be stopped after the failure of {note}: {error}"}
        if state["active"]:
            return {"outcome": "failed", "reason": f"{wanted['unit']} is still {state['active_state']} after a stop",
                    "log": state["log"]}
        return {"outcome": "stopped", "reason": f"stopped after the failure of {note}", "log": state["log"],
                "ended_at": state["ended_at"]}

    def _evidence(self) -> dict[str, Any]:
        """What the node's logs tell of the end; {} where they cannot be had."""
        wanted = self._wanted
        try:
            found: dict[str, Any] = self._execute_module(
                module_name="ascend.cluster.training_evidence", task_vars=self._vars,
                module_args={name: wanted[name] for name in ("unit", "run_dir", "user", "run_id", "node_rank", "nproc_per_node")})
        except AnsibleError as error:
            display.warning(f"{self._vars['inventory_hostname']}: its logs could not be read: {error}")
            return {}
        if found.get("unreachable") or "evidence" not in found:
            display.warning(f"{self._vars['inventory_hostname']}: its logs could not be read: {found.get('msg', 'no answer')}")
            return {}
        evidence: dict[str, Any] = found["evidence"]
        return evidence

    @staticmethod
    def _show(host: str, item: _training_log.Iteration) -> None:
        loss = "MISSING" if item.lm_loss is None else f"{item.lm_loss:.6f}"
        norm = "" if item.grad_norm is None else f" | grad norm {item.grad_norm:.3f}"
        seconds = "" if item.elapsed_ms is None else f" | {item.elapsed_ms / 1000:.2f} s"
        display.display(f"{host}: iteration {item.iteration:>5}/{item.train_iters} | lm loss {loss}{norm}{seconds}")
