"""What is answered to those who ask: one object, described in docs/run.md."""
from __future__ import annotations

import time
from typing import Any

from supervise.coordinator import DONE, Coordinator

VERSION = 1
SENT_LINES = 500


def brief(coordinator: Coordinator) -> dict[str, Any]:
    """Of about the same size for any number of nodes."""
    c, now, lost = coordinator, coordinator.now(), coordinator.times.lost
    worst = [c.nodes.told(name, now, lost) for name in c.nodes.worst(now, lost, c.generation)]
    return {
        "version": VERSION, "from": c.config.node, "hub": True, "age": 0.0, "run": c.config.run, "epoch": c.epoch, "time": round(time.time(), 3),
        "state": c.phase, "since": round(now - c.since, 1), "generation": c.generation, "restarts": c.restarts, "strikes": c.strikes,
        "max_restarts": c.config.max_restarts, "stop_asked": c.stop_asked, "code": c.code, "verdict": c.verdict if c.phase == DONE else None,
        "cause": c.cause, "culprit": c.culprit, "order": list(c.order), "training": {**c.pace.told(now), "first": c.first},
        "checkpoint": {"newest": max(c.nodes.whole(), default=0), "lacking": c.nodes.lacking()}, "skew": c.pace.skew(),
        "nodes": {"count": len(c.config.nodes), "phases": c.nodes.phases(), "worst": worst}, "warnings": c.warnings[-10:]}


def full(coordinator: Coordinator) -> dict[str, Any]:
    """With every node."""
    c, now = coordinator, coordinator.now()
    told = brief(c)
    nodes = {name: value for name, value in told["nodes"].items() if name != "worst"}
    return {**told, "nodes": {**nodes, "all": [c.nodes.told(name, now, c.times.lost) for name in c.config.nodes]}}


def lines_after(coordinator: Coordinator, number: int) -> list[dict[str, Any]]:
    """What the log has told since."""
    return [line for line in coordinator.lines if line["n"] > number][:SENT_LINES]
