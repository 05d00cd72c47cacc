"""Follow the training on a node to its end; see the module of the same name for documentation."""
from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.ascend.cluster.plugins.module_utils import _training_log

display = Display()

TAIL_LINES = 60


class ActionModule(ActionBase):
    """One node's follower."""

    _supports_check_mode = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for news until the unit ends, a peer fails, or the node is lost."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, wanted = self.validate_argument_spec({
            "unit": {"type": "str", "required": True},
            "run_dir": {"type": "path", "required": True},
            "run_id": {"type": "str", "required": True},
            "meeting": {"type": "path", "required": True},
            "show_progress": {"type": "bool", "default": False},
            "poll_seconds": {"type": "int", "default": 10},
            "unreachable_timeout": {"type": "int", "default": 300},
            "stop_timeout": {"type": "int", "default": 120},
        })
        self._wanted = wanted
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
            for item in _training_log.iterations(state["log_text"]):
                seen.append(asdict(item))
                if wanted["show_progress"]:
                    self._show(host, item)
            if ended and not state["log_text"]:
                outcome = ended
                break
        if outcome["outcome"] in ("failed", "unreachable"):
            self._announce(first_failure, host, outcome["reason"])
        if outcome["outcome"] != "succeeded":
            outcome.update(self._tail())
        result.update({"changed": True, "iterations": seen, "log_tail": "", "ended_at": 0.0, **outcome})
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
        state: dict[str, Any] = self._execute_module(
            module_name="ascend.cluster.training_state", task_vars=self._vars,
            module_args={"unit": wanted["unit"], "run_dir": wanted["run_dir"], "run_id": wanted["run_id"], **options})
        if state.get("unreachable"):
            raise AnsibleConnectionFailure(str(state.get("msg", "unreachable")))
        if state.get("failed") or "active" not in state:
            # A broken connection can also show as a module that printed nothing.
            raise AnsibleConnectionFailure(str(state.get("msg", "the node gave no answer")))
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

    def _tail(self) -> dict[str, Any]:
        try:
            state = self._state(tail_lines=TAIL_LINES)
        except AnsibleError:
            return {}
        return {"log": state["log"], "log_tail": state["log_tail"]}

    @staticmethod
    def _show(host: str, item: _training_log.Iteration) -> None:
        loss = "none" if item.lm_loss is None else f"{item.lm_loss:.6f}"
        norm = "" if item.grad_norm is None else f" | grad norm {item.grad_norm:.3f}"
        seconds = "" if item.elapsed_ms is None else f" | {item.elapsed_ms / 1000:.2f} s"
        display.display(f"{host}: iteration {item.iteration:>5}/{item.train_iters} | lm loss {loss}{norm}{seconds}")
