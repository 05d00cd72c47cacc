"""Reading Megatron-LM's training log.

Source of the format: megatron/training/training.py, training_log() at 9de386d0.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterator

_ITERATION = re.compile(r"iteration\s+(\d+)/\s*(\d+) \|(.*)")
_FIELD = re.compile(r"\s*([^|:]+):\s*([^|]+?)\s*\|")

# What a rank prints when another one went away: a symptom, whose cause is on another node.
_PEER_LOST = re.compile(
    r"Connection (?:reset|closed|refused) by peer|Connection refused|recvValue failed|sendBytes failed|Broken pipe"
    r"|EI0006|EI0004|Socket ?Timeout|socket times out|RendezvousConnectionError|Gloo connectFullMesh failed"
    r"|failed to connect to remote|The client socket has (?:timed out|failed)", re.IGNORECASE)
_ERROR = re.compile(r"^(?:\[rank\d+\]:\s*)?(?:\w+\.)*(\w*(?:Error|Exception))\b(?::|$)|\bE[A-Z]\d{4}\b|out of memory", re.IGNORECASE)


@dataclass(frozen=True)
class Iteration:
    """One logged iteration."""

    iteration: int
    train_iters: int
    #: lm loss (nats per token); None when Megatron printed none (a skipped iteration)
    lm_loss: float | None
    grad_norm: float | None
    #: time of this iteration in ms
    elapsed_ms: float | None


def iterations(text: str) -> Iterator[Iteration]:
    """Every iteration logged in `text`, in order; all other lines are passed over."""
    for line in text.splitlines():
        match = _ITERATION.search(line)
        if not match:
            continue
        fields = {name.strip(): value for name, value in _FIELD.findall(match.group(3))}

        def number(name: str, fields: dict[str, str] = fields) -> float | None:
            try:
                return float(fields[name])
            except (KeyError, ValueError):
                return None

        yield Iteration(int(match.group(1)), int(match.group(2)), number("lm loss"), number("grad norm"),
                        number("elapsed time per iteration (ms)"))


def lost_a_peer(text: str) -> bool:
    """Whether the log's errors only tell that another node's rank went away."""
    return bool(_PEER_LOST.search(text))


def error_lines(text: str, most: int = 3) -> list[str]:
    """The last `most` different lines that name an error, in order."""
    found: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        if _ERROR.search(line) and line not in found:
            found.append(line)
    return found[-most:]
