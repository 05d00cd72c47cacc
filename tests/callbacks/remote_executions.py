"""Counts what a play sends to each host, by role: every finished task, every item of a loop by itself.

Enabled by ANSIBLE_CALLBACK_PLUGINS=tests/callbacks ANSIBLE_CALLBACKS_ENABLED=remote_executions; writes JSON {host: {role: count}} to REMOTE_EXECUTIONS_FILE.
"""
from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: remote_executions
type: notification
short_description: counts remote executions by host and role
description: [Counts finished tasks that reach a host.]
"""

#: Actions that the controller answers by itself.
LOCAL = {"set_fact", "assert", "debug", "fail", "meta", "include_vars", "include_tasks", "import_tasks", "include_role", "import_role",
         "add_host", "group_by", "pause", "validate_argument_spec"}


class CallbackModule(CallbackBase):
    """The counter."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "remote_executions"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, Counter[str]] = {}

    def _count(self, result: Any) -> None:
        task = result.task
        if task.action.rpartition(".")[2] in LOCAL:
            return
        host = result.task_fields.get("delegate_to") or result.host.get_name()
        where = task._role.get_name().rpartition(".")[2] if task._role else "facts" if task.action.endswith(("setup", "gather_facts")) else "plays"
        self._counts.setdefault(host, Counter())[where] += 1

    def _count_whole(self, result: Any) -> None:
        if not result.task.loop:
            self._count(result)

    v2_runner_item_on_ok = v2_runner_item_on_failed = _count

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task without a loop; one with a loop is counted by its items."""
        self._count_whole(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """What failed was sent all the same."""
        self._count_whole(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the counts."""
        Path(os.environ["REMOTE_EXECUTIONS_FILE"]).write_text(json.dumps(self._counts), encoding="utf-8")
