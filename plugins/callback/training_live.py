"""Draw a run that is followed, on a terminal."""
from __future__ import annotations

DOCUMENTATION = r"""
name: training_live
type: notification
short_description: Draw a run that is followed, on a terminal
description:
  - While M(ascend.cluster.follow_training) follows a run, its figures stand below the plain lines and are drawn anew every half second.
  - Without a terminal, or where C(rich) is not installed, nothing is drawn, and the plain lines are all there is.
  - A worker process of Ansible has no terminal. So this runs in the main process, and the action leaves its figures in a private folder.
requirements:
  - enabled in C(callbacks_enabled)
  - rich (Python library)
"""

import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.utils.display import Display
from ansible_collections.ascend.cluster.plugins.module_utils import _live

display = Display()

#: read by the action follow_training, which is forked from this process
FOLDER = "ASCEND_CLUSTER_LIVE"
ACTION = "ascend.cluster.follow_training"
SECONDS = 0.5


class Drawing:
    """Figures in a folder, drawn until it is stopped."""

    def __init__(self, folder: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._path = Path(folder) / "figures.json"
        # What others print while this is drawn goes above it: Live puts itself in the place of sys.stdout, to which Display writes.
        self._live = Live(console=Console(), auto_refresh=False, transient=True, get_renderable=self._draw)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        with display._lock:
            self._live.start()
            # A process that is killed leaves a terminal as it is.
            self._live.console.show_cursor(True)
        self._thread.start()

    def stop(self) -> None:
        """Take the drawing away."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with display._lock:
            self._live.stop()

    def _run(self) -> None:
        while not self._done.wait(SECONDS):
            # Ansible forks its workers under this lock: none is born while rich holds its own.
            with display._lock:
                self._live.refresh()

    def _draw(self) -> Any:
        try:
            figures = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        return _live.renderable(figures, time.time())


class CallbackModule(CallbackBase):
    """Draws while the task that follows is at work."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "ascend.cluster.training_live"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._drawing: Drawing | None = None
        self._folder = ""
        self._task = ""

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Begin with the task that follows."""
        self._end()
        if task.resolved_action != ACTION or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            return
        with contextlib.suppress(ImportError, OSError):
            # tempfile makes it for its owner alone.
            self._folder = tempfile.mkdtemp(prefix="ascend-cluster-")
            self._drawing, self._task = Drawing(self._folder), task._uuid
            os.environ[FOLDER] = self._folder
            # Ctrl-C ends no task; it ends the process.
            atexit.register(self._end)
            self._drawing.start()

    def _over(self, result: Any) -> None:
        if self._drawing and result.task._uuid == self._task:
            self._end()

    def v2_runner_on_ok(self, result: Any) -> None:
        """The task is over."""
        self._over(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The task is over."""
        self._over(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The task is over."""
        self._over(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Everything is over."""
        self._end()

    def _end(self) -> None:
        drawing, self._drawing = self._drawing, None
        if drawing:
            drawing.stop()
        os.environ.pop(FOLDER, None)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""
            atexit.unregister(self._end)
