"""What the program says, and how it ends: by an error that the user can mend, or by a signal."""
from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


class PreprocessError(Exception):
    """A cause that the user can mend; its text says what was found, what was expected and how to go on."""


NO_MEMORY = "no memory left. Use fewer --workers (dataset_workers) or a smaller --chunk-mib."
# Besides standard output; see --log-file.
LOGS: list[Any] = []
# Signals that ask to end, with the time of each; how long nobody may look whether one has come, and after how long
# one more ends the program at once (`timeout` sends two together), in seconds.
STOPPED: list[tuple[int, float]] = []
LOOK, HURRY = 0.2, 2.0


def say(message: str, stream: Any = None) -> None:
    """Print one line at once, so that progress is seen as it happens."""
    for each in [stream or sys.stdout, *LOGS]:
        print(f"preprocess_data: {message}", file=each, flush=True)


def stop(number: int, _frame: Any) -> None:
    """Handle a signal that asks to end: `heed` does. What an exception would meet here, the libraries' import of a module say, may swallow it."""
    STOPPED.append((number, time.monotonic()))
    if STOPPED[-1][1] - STOPPED[0][1] > HURRY:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def heed() -> None:
    """End as the signal that has come demands, if one has."""
    if STOPPED:
        number = STOPPED[0][0]
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
