"""What the cluster adds to Megatron-LM's training script, next to AscendSpeed.

``pretrain_gpt.py`` calls :func:`install` in its ``__main__`` block, just before ``pretrain(...)``. A hook is a module
of this package with a function ``install(arguments)`` that takes the words of the command line, does its work, and
returns one line for the log. Works on Python 3.8.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def install(*names: str) -> None:
    """Install the hooks ``names`` in this order; global rank 0 logs a line for each."""
    for name in names:
        hook = importlib.import_module(f"{__name__}.{name}")
        line = hook.install(sys.argv[1:])
        if os.environ.get("RANK", "0") == "0":
            print(f"> hook {name}: {line}", flush=True)


def module_if_there(name: str) -> Any:
    """A module of Megatron-LM, or None where this commit has none of that name.

    Raises:
        ImportError: the module is there but cannot be imported.

    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        return None
