"""A node's part in the whole: does what the master orders, and on the master orders it."""
from __future__ import annotations

import os
import time
from typing import Any, Sequence

from . import node, pairs, vendor
from .meeting import Meeting

SLACK = 30  # seconds beyond a bound until a node that does not answer is taken for lost
ROUNDS = 3


class Member:
    """A node that does what it is told."""

    def __init__(self, settings: dict[str, Any], meeting: Meeting) -> None:
        self.settings, self.meeting, self.me = settings, meeting, int(settings["rank"])
        self.environment = {**os.environ, **settings["environment"]}

    def follow(self) -> None:
        """Do what is ordered until the end is."""
        self.meeting.put(f"join/{self.me}", True)
        longest = self.settings["minutes"] * 60 + 2 * (self.settings["seconds"] + SLACK)
        number = 0
        while True:
            order = self.meeting.get(f"order/{number}", longest)
            if order is None:
                raise TimeoutError(f"no word from the master within {longest:g} s")
            if not order["groups"]:
                self.meeting.put(f"bye/{self.me}", True)
                return
            found = self.here(order)
            if found:
                self.meeting.put(f"done/{number}/{self.me}", found)
            number += 1

    def here(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """Do this node's part of an order; nothing when it has none."""
        group = next((one for one in order["groups"] if self.me in one), None)
        if group is None:
            return []
        if order["what"] == "vendor":
            return [vendor.all_reduce(self.settings["nproc"], self.settings["mib"], self.environment, order["seconds"])]
        key = f"failed/{order['name']}/{group[0]}"
        count = int(self.settings["nproc"])
        common = {**{name: self.settings[name] for name in ("master", "port", "precision", "side", "mib", "minutes")}, "what": order["what"],
                  "world": len(group) * count, "prefix": f"{order['name']}/{group[0]}", "seconds": order["seconds"]}
        orders = [{**common, "device": device, "rank": group.index(self.me) * count + device} for device in range(count)]
        asked = [time.monotonic()]

        def stopped() -> str:
            # Once a second: at the master's all nodes ask.
            if time.monotonic() < asked[0] + 1:
                return ""
            asked[0] = time.monotonic()
            other = self.settings["nodes"][self.meeting.get(key, 0)] if self.meeting.there(key) else ""
            return f"ended, since {other} failed" if other else ""

        found = node.run(orders, self.environment, order["seconds"], stopped)
        if not node.works(found):
            self.meeting.put(key, self.me)
        return found


class Master(Member):
    """The first node, which also orders."""

    def __init__(self, settings: dict[str, Any], meeting: Meeting) -> None:
        super().__init__(settings, meeting)
        self.phases: list[dict[str, Any]] = []

    def joined(self) -> list[int]:
        """Wait for all nodes, as long as one may take to come."""
        deadline = time.monotonic() + self.settings["seconds"]
        others = [rank for rank in range(len(self.settings["nodes"])) if rank != self.me]
        return sorted([self.me, *(rank for rank in others if self.meeting.get(f"join/{rank}", max(0.0, deadline - time.monotonic())))])

    def phase(self, name: str, groups: Sequence[Sequence[int]], what: str) -> dict[int, bool]:
        """Let groups of nodes measure at the same time; tells of each node whether it worked."""
        seconds = self.settings["seconds"] + (self.settings["minutes"] * 60 if what == "stress" else 0)
        order = {"name": name, "groups": [list(group) for group in groups], "what": what, "seconds": seconds}
        number, begin = len(self.phases), time.monotonic()
        self.meeting.put(f"order/{number}", order)
        found: dict[int, Any] = {self.me: self.here(order)}
        for rank in sorted({rank for group in groups for rank in group} - {self.me}):
            found[rank] = self.meeting.get(f"done/{number}/{rank}", max(0.0, begin + seconds + node.GRACE + SLACK - time.monotonic()))
        lost = [{"failed": "the node gave no answer", "at": name, "text": ""}]
        results = {rank: lost if one is None else one for rank, one in found.items() if one != []}
        self.phases.append({"name": name, "what": what, "groups": [[self.settings["nodes"][rank] for rank in group] for group in groups],
                            "seconds": time.monotonic() - begin, "results": {self.settings["nodes"][rank]: one for rank, one in sorted(results.items())}})
        return {rank: node.works(one) for rank, one in results.items()}

    def deep(self, members: list[int]) -> dict[str, Any]:
        """Each node alone, then in pairs, then all that work together."""
        works = self.phase("node", [[rank] for rank in members], "all")
        good = [rank for rank in members if works[rank]]
        if good:
            self.phase("vendor", [[rank] for rank in good], "vendor")
        results: list[pairs.Result] = []
        for number in range(ROUNDS if len(good) > 2 else 0):
            groups = pairs.next_round(good, results)
            # A third one only for what two could not tell.
            if not groups or (number > 1 and not pairs.suspected(results)):
                break
            works = self.phase(f"pairs {number + 1}", groups, "collectives")
            results += [(group, all(works[rank] for rank in group)) for group in groups]
        bad, unsure = pairs.blame(results)
        left_out = bad | {rank for group in unsure for rank in group}
        together = [rank for rank in good if rank not in left_out]
        if len(together) > 1:
            self.phase("all", [together], "collectives")
        return self.named(bad, unsure)

    def stress(self, members: list[int]) -> dict[str, Any]:
        """All together for a time, then every node with every other."""
        self.phase("stress", [members], "stress")
        results: list[pairs.Result] = []
        for number, groups in enumerate(pairs.tournament(members)):
            works = self.phase(f"pairs {number + 1}", groups, "collectives")
            results += [(group, all(works[rank] for rank in group)) for group in groups]
        return self.named(*pairs.blame(results))

    def named(self, bad: set[int], unsure: list[pairs.Group]) -> dict[str, Any]:
        """Who is to blame, by name."""
        names = self.settings["nodes"]
        return {"bad": sorted(names[rank] for rank in bad), "unsure": [[names[rank] for rank in group] for group in unsure]}

    def lead(self) -> dict[str, Any]:
        """Order all of a tier, and give what was found."""
        members = self.joined()
        said = self.stress(members) if self.settings["tier"] == "stress" else self.deep(members)
        self.meeting.put(f"order/{len(self.phases)}", {"groups": []})
        for rank in members:
            if rank != self.me:
                self.meeting.get(f"bye/{rank}", 5)
        return {"joined": [self.settings["nodes"][rank] for rank in members], "phases": self.phases, **said}
