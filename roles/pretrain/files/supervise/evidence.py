"""What the logs of this node's ranks tell of the end of a start, kept for whoever asks later.

A program of its own, as searching keeps a processor busy; run when nothing of the start lives any more. Module training_evidence
reads it, and adds what root alone can read.
"""
from __future__ import annotations

import os

from supervise import kept
from supervise.config import Config

#: then the ends of what is left are searched; then it is ended: the hub waits for this node
SEARCHED, ENDED = 10.0, 15.0
#: of the newest generations
KEPT = 50


def path(config: Config, generation: int) -> str:
    """Where it is kept."""
    return os.path.join(config.folder, f"evidence-{generation}.json")


def gather(config: Config, generation: int) -> None:
    """Search the logs, and keep what they tell.

    Raises:
        OSError: it cannot be written.
    """
    # Its tables are of no use to those who supervise, or ask.
    from supervise._evidence import Collector

    collector = Collector(config.run_dir, config.nodes.index(config.node), config.nproc_per_node, SEARCHED)
    kept.write(path(config, generation), {"version": 1, "generation": generation, "evidence": collector.collect()})
    if generation >= KEPT and os.path.exists(path(config, generation - KEPT)):
        os.remove(path(config, generation - KEPT))
