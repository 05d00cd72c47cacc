"""Run a program whose failure is told in the words of the task. Documented in plugins/modules/attempt.py."""
from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.ascend.cluster.plugins.module_utils import _attempt, _secret_urls

_ARGUMENTS = {
    "argv": {"type": "list", "elements": "str", "required": True},
    "chdir": {"type": "path"},
    "creates": {"type": "path"},
    "stdin": {"type": "str"},
    "fail_msg": {"type": "str", "required": True},
    "lines": {"type": "int", "default": 8},
}


class ActionModule(ActionBase):
    """The action of this file."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See DOCUMENTATION of the module."""
        super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        given = {name: args[name] for name in ("argv", "chdir", "creates", "stdin") if args[name] is not None}
        try:
            result: dict[str, Any] = self._execute_module(module_name="ansible.legacy.command", module_args=given, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        result = _secret_urls.mask_all(result)
        if result.get("failed"):
            result.pop("exception", None)  # what the module said of it would be shown before our words
            result["msg"] = _attempt.message(str(args["fail_msg"]), result, int(args["lines"]))
        return result
