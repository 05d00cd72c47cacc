"""Which nodes are measured together, and which of them is to blame when a group fails.

As DLRover's node check does it (dlrover/python/master/elastic_training/rdzv_manager.py, NetworkCheckRendezvousManager): a round of pairs,
then each node of a pair that failed with a node of one that did not. Nodes are their ranks.
"""
from __future__ import annotations

from typing import List, Sequence, Tuple

Group = List[int]
# A group, and whether it worked.
Result = Tuple[Group, bool]


def blame(results: Sequence[Result]) -> tuple[set[int], list[Group]]:
    """Tell who is to blame for the groups that failed: who failed with somebody that works with others.

    Returns:
        Those nodes, and the groups of whose failure nobody can be said to be the cause: two that work with others but not with each
        other, or that met nobody who works.
    """
    cleared = {node for group, works in results if works for node in group}
    bad: set[int] = set()
    unsure = []
    for group, works in results:
        suspects = [node for node in group if node not in cleared]
        if not works and len(suspects) == 1:
            bad.add(suspects[0])
    for group, works in results:
        if not works and not bad & set(group):
            unsure.append(group)
    return bad, unsure


def suspected(results: Sequence[Result]) -> list[int]:
    """Those of failed groups that are neither cleared nor to blame yet."""
    cleared = {node for group, works in results if works for node in group}
    bad, unsure = blame(results)
    return [node for node in dict.fromkeys(node for group in unsure for node in group) if node not in cleared | bad]


def next_round(nodes: Sequence[int], results: Sequence[Result]) -> list[Group]:
    """Pair anew, nobody with the same one again: first those that are suspected or were not asked yet, with somebody who works where there is one."""
    met = {frozenset(group) for group, _ in results}
    bad, _ = blame(results)
    suspects = suspected(results)
    asked = {node for group, _ in results for node in group}
    fresh = [node for node in nodes if node not in asked]
    well = [node for node in nodes if node in asked and node not in bad and node not in suspects]
    # Neighbours have met in the first round: every other one first.
    order = [*suspects, *fresh, *well[::2], *well[1::2]]
    partners = [*well, *fresh, *suspects]
    taken: set[int] = set()
    pairs = []
    for node in order:
        among = [other for other in partners if other != node and other not in taken and frozenset((node, other)) not in met]
        if node not in taken and among:
            pairs.append([node, among[0]])
            taken |= {node, among[0]}
    return pairs


def tournament(nodes: Sequence[int]) -> list[list[Group]]:
    """Let each node meet every other once: N - 1 rounds, with an odd number N rounds in each of which one rests (circle method)."""
    ring = [*nodes, *([-1] if len(nodes) % 2 else [])]
    rounds = []
    for _ in range(len(ring) - 1):
        opposite = zip(ring[:len(ring) // 2], reversed(ring[len(ring) // 2:]))
        rounds.append([[one, other] for one, other in opposite if -1 not in (one, other)])
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return rounds
