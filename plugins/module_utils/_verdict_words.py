"""The verdict on a failed training in words for a person. Runs on the controller."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from . import _fault_codes, _verdict
from ._fault_patterns import CAUSES
from ._verdict import Suspect

#: as many names as a message lists before it only counts
_LISTED = 8
_MIB = 1024 * 1024


def names(listed: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more


def ranges(numbers: Sequence[int]) -> str:
    """Numbers with neighbours folded: ``0-7, 9``."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def _where(one: Suspect, nproc: int) -> str:
    place = f"{one.node} (node rank {one.node_rank})"
    return place if one.rank is None else f"{place}, global rank {one.rank} (local rank {one.rank - one.node_rank * nproc})"


def code_words(code: str, remedy: bool = True) -> list[str]:
    """What the vendor's code means, in English and Chinese; a code that is not in the table is named as unknown."""
    known = _fault_codes.find(code)
    if known is None:
        component = _fault_codes.family(code)
        return [f"{code}: not in this project's table{' (' + component + ')' if component else ''}; see the vendor's error code reference."]
    if not remedy:
        return [f"{code}: {known.en}", f"{code}: {known.zh}"]
    return [f"{code}: {known.en} {known.remedy_en}", f"{code}: {known.zh} {known.remedy_zh}"]


def _findings(outcome: Mapping[str, Any]) -> list[tuple[int | None, Mapping[str, Any]]]:
    """(global rank or None, finding) of everything that a node's logs show."""
    evidence = outcome.get("evidence") or {}
    found = [(int(rank), item) for rank, known in (evidence.get("ranks") or {}).items() for item in known["findings"]]
    return [*found, *((None, item) for item in evidence.get("node") or [])]


def _of_the_others(outcomes: Mapping[str, Mapping[str, Any]], blamed: Sequence[str]) -> list[str]:
    """Lines about the nodes that only lost their peers."""
    lines, codes = [], []
    for name, outcome in outcomes.items():
        lost = [(rank, item) for rank, item in _findings(outcome) if item["role"] in ("cascade", "pointer")]
        if name in blamed or not lost:
            continue
        shown = next((item for _, item in lost if item["code"]), lost[0][1])
        ranks = ranges([rank for rank, _ in lost if rank is not None])
        lines.append(f"  {name}{f', ranks {ranks}' if ranks else ''}: {shown['line'][:200]}")
        codes.append(shown["code"])
    if not lines:
        return []
    more = [f"  and {len(lines) - 4} nodes more"] if len(lines) > 4 else []
    explained = [f"  {text}" for code in [one for one in dict.fromkeys(codes) if one][:2] for text in code_words(code, remedy=False)]
    return ["Lost their peers, which is a consequence:", *lines[:4], *more, *explained]


def _left_out(outcomes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = {name: (outcome.get("evidence") or {}).get("left_out") or 0 for name, outcome in outcomes.items()}
    return [f"Of the logs of {name} {size // _MIB} MiB were not searched: they are too large for the time that is allowed."
            for name, size in found.items() if size]


def _tail(name: str, outcome: Mapping[str, Any]) -> list[str]:
    tail = (outcome.get("evidence") or {}).get("tail") or []
    return [f"The last lines on {name}:", *[f"  {line}" for line in tail]] if tail else []


def failure(outcomes: Mapping[str, Mapping[str, Any]], nproc_per_node: int, addresses: Mapping[str, str], order: Sequence[str] = ()) -> dict[str, Any]:
    """Judge a failed training.

    Args:
        outcomes: of every node in the order of ranks, as _run.training_verdict takes them.
        nproc_per_node: ranks on each node.
        addresses: name of each node to its address, to read whom others name as lost.
        order: nodes as the supervisors heard of their failures, by one clock.

    Returns:
        ``culprit`` (node, or "" where it cannot be told), ``nodes`` (all that may have begun it), ``ranks`` (global ranks that began it, []
        when not known), ``cause`` (a key of CAUSES) and ``message``.
    """
    suspects = [one for rank, (name, outcome) in enumerate(outcomes.items()) for one in _verdict.of_node(name, rank, outcome)]
    first = _verdict.first_ones(suspects)
    if first and first[0].strength >= 1:
        return _blamed(first, suspects, outcomes, nproc_per_node, order)
    return _nobody(outcomes, nproc_per_node, addresses)


def _words(one: Suspect) -> str:
    return CAUSES[one.cause].words if one.cause != "unknown" else one.line


def _quoted(one: Suspect) -> list[str]:
    return [f"  {line}" for line in [*list(one.context)[-10:], one.line, *one.also] if line]


def _alike(first: Sequence[Suspect], outcomes: Mapping[str, Mapping[str, Any]], nproc: int) -> bool:
    """Whether all ranks have the same to say, as far as these are told: then nobody in particular began it."""
    ranks = {one.rank for one in first if one.rank is not None}
    return (first[0].cause != "unknown" and {one.node for one in first} == set(outcomes) and len(outcomes) > 1 and len({one.cause for one in first}) == 1
            and (not ranks or len(ranks) >= 0.75 * nproc * len(outcomes)))


def _blamed(first: Sequence[Suspect], suspects: Sequence[Suspect], outcomes: Mapping[str, Mapping[str, Any]], nproc: int,
            order: Sequence[str]) -> dict[str, Any]:
    """Somebody began it, or may have."""
    alike = _alike(first, outcomes, nproc)
    by_order = not alike and len({one.node for one in first}) > 1
    first = _verdict.heard_first(first, order) if by_order else first
    head = first[0]
    nodes = list(dict.fromkeys(one.node for one in first))
    same = [one for one in first if one.cause == head.cause]
    ranks = sorted({one.rank for one in (first if len(nodes) > 1 else same) if one.rank is not None})
    if alike:
        lines = [f"The training failed on all {len(nodes)} nodes alike{', global ranks ' + ranges(ranks) if ranks else ''}: {_words(head)}.", *_quoted(head)]
        lines += [f"  {line}" for line in dict.fromkeys(one.line for one in first) if line != head.line][:3]
    elif len(nodes) > 1:
        lines = [f"The training failed on {names(nodes)}; which of them was the first cannot be told from their clocks and logs."]
        for node in nodes[:4]:
            one = next(one for one in first if one.node == node)
            lines += [f"{_where(one, nproc)}: {_words(one)}.", *_quoted(one)]
    elif len(ranks) > 1:
        local = ranges([rank - head.node_rank * nproc for rank in ranks])
        lines = [f"The training failed on {head.node} (node rank {head.node_rank}), global ranks {ranges(ranks)} (local ranks {local}): {_words(head)}.",
                 *_quoted(head)]
    else:
        lines = [f"The training failed on {_where(head, nproc)}: {_words(head)}.", *_quoted(head)]
    if by_order and len(nodes) == 1:
        lines.append("Words and clocks do not tell who was the first; the supervisors heard of this node first.")
    if head.cause == "exit_early":
        lines += [f"  {node}: {outcomes[node]['reason']}" for node in nodes[:4] if outcomes[node].get("reason") not in (None, head.line)]
    if head.code:
        lines += code_words(head.code)
    elif head.cause != "unknown":
        lines.append(f"What to do: {CAUSES[head.cause].remedy}")
    later = [one for one in suspects if one not in first and one.strength >= 2 and one.node not in nodes and not one.lived]
    if later:
        lines.append("Failed later, or with less to show: " + "; ".join(f"{_where(one, nproc)}: {_words(one)}" for one in later[:3]) + ".")
    lines += _of_the_others(outcomes, nodes)
    if head.strength < 2 or head.cause in ("unknown", "unit_killed", "launcher_killed"):
        lines += _tail(head.node, outcomes[head.node])
    if head.file:
        lines.append(f"The log: {head.file} on {head.node}.")
    return {"culprit": head.node if len(nodes) == 1 else "", "nodes": nodes, "ranks": ranks, "cause": head.cause,
            "message": "\n".join(lines + _left_out(outcomes))}


def _nobody(outcomes: Mapping[str, Mapping[str, Any]], nproc: int, addresses: Mapping[str, str]) -> dict[str, Any]:
    """Every node shows symptoms alone, or nothing."""
    weak = {name: [item for _, item in _findings(outcome) if item["role"] == "cascade" and item["cause"]] for name, outcome in outcomes.items()}
    named = [item["cause"] for items in weak.values() for item in items]
    anything = any(_findings(outcome) for outcome in outcomes.values())
    key = max(sorted(set(named)), key=named.count) if named else "collective_timeout" if anything else "unknown"
    shown = next((item for items in weak.values() for item in items if item["cause"] == key), None)
    alone = [name for name, items in weak.items() if any(item["cause"] == key for item in items)]
    pointed = _verdict.pointed_at(outcomes, addresses, nproc)
    culprit, rank = "", None
    lines = ["The training failed, and no log tells on which node it began."]
    if key == "address_unreachable" and len(alone) == 1 and len(outcomes) > 1:
        culprit = alone[0]
        lines = [f"The training failed on {culprit} (node rank {list(outcomes).index(culprit)}), as far as the logs tell."]
    elif pointed and not named:
        culprit, rank = pointed[0]
        which = f", global rank {rank}" if rank is not None else ""
        lines = [f"The training failed: the others lost {culprit} (node rank {list(outcomes).index(culprit)}){which}, whose own log says nothing of it."]
    lines.append(f"  {CAUSES[key].words}.")
    if shown:
        lines += [f"  {shown['line']}", *(code_words(shown["code"]) if shown["code"] else [])]
    lines += [f"What to do: {CAUSES[key].remedy}", *_of_the_others(outcomes, [])]
    lines += [f"  {name}: {outcome.get('reason') or outcome.get('outcome')}" for name, outcome in list(outcomes.items())[:_LISTED]]
    if key == "unknown":
        lines += [line for name, outcome in list(outcomes.items())[:3] for line in _tail(name, outcome)]
    return {"culprit": culprit, "nodes": [culprit] if culprit else [], "ranks": [] if rank is None else [rank], "cause": key,
            "message": "\n".join(lines + _left_out(outcomes))}
