"""A running firewalld or ufw lets the nodes in to an NFS server. Runs on the nodes: Python 3.8.

Rules that this made are listed in a record of its own: others in the firewall are never touched.
"""
from __future__ import annotations

import re
from typing import Callable, Iterable, NamedTuple, Sequence, Tuple

from ansible_collections.ascend.cluster.plugins.module_utils._addresses import canonical

RECORD = "/var/lib/ascend-cluster-nfs/firewall"

#: exit status, stdout and stderr of a command
Answer = Tuple[int, str, str]
Run = Callable[[Sequence[str]], Answer]


class Rule(NamedTuple):
    """A rule that this made: ``firewalld`` or ``ufw``, the zone (``-`` in ufw) and the address let in."""

    kind: str
    zone: str
    address: str


def parse(record: str) -> list[Rule]:
    """Read the record of the rules."""
    return [Rule(*line.split()) for line in record.splitlines() if len(line.split()) == 3]


def rich_rule(address: str) -> str:
    """The rule of firewalld."""
    return f'rule family="{"ipv6" if ":" in address else "ipv4"}" source address="{address}" port port="2049" protocol="tcp" accept'


def ufw_allows(added: str, address: str) -> bool:
    """Whether `ufw show added` has the rule."""
    return re.search(rf"^ufw allow from {re.escape(address)} to any port 2049 proto tcp\b", added, re.MULTILINE) is not None


class Firewall:
    """Lets addresses in, and no longer those that it let in before.

    Args:
        run: runs a command; a status of 127 says that there is none.
        check: whether to change nothing, and say what would be.
        record: the text of the record.
        write: replaces the record.
    """

    def __init__(self, run: Run, check: bool, record: str, write: Callable[[str], None]) -> None:
        self._run, self._check, self._write = run, check, write
        self._rules = parse(record)
        self.changes: list[str] = []
        self.errors: list[str] = []

    def _running(self) -> str:
        if self._run(["firewall-cmd", "--state"])[0] == 0:
            return "firewalld"
        return "ufw" if re.search("^Status: active", self._run(["ufw", "status"])[1], re.MULTILINE) else ""

    def _keep(self) -> None:
        if not self._check:
            self._write("".join(f"{' '.join(rule)}\n" for rule in self._rules))

    def _zone(self, address: str) -> str:
        """The zone of the interface that leads to an address."""
        interface = re.search(r" dev (\S+)", self._run(["ip", "-o", "route", "get", address])[1])
        zone = self._run(["firewall-cmd", f"--get-zone-of-interface={interface[1]}"])[1].strip() if interface else ""
        return zone or self._run(["firewall-cmd", "--get-default-zone"])[1].strip()

    def _firewalld(self, zone: str, address: str) -> bool:
        changed = False
        for permanent in (["--permanent"], []):
            words = ["firewall-cmd", *permanent, f"--zone={zone}"]
            if self._run([*words, f"--query-rich-rule={rich_rule(address)}"])[0] != 0:
                changed = True
                if not self._check and self._run([*words, f"--add-rich-rule={rich_rule(address)}"])[0] != 0:
                    self.errors.append(f"firewalld does not take {address} in zone {zone}")
        return changed

    def _ufw(self, address: str) -> bool:
        if ufw_allows(self._run(["ufw", "show", "added"])[1], address):
            return False
        words = ["ufw", "allow", "proto", "tcp", "from", address, "to", "any", "port", "2049", "comment", "ascend-cluster-nfs"]
        if not self._check and self._run(words)[0] != 0:
            self.errors.append(f"ufw does not take {address}")
        return True

    def settle(self, addresses: Iterable[str]) -> None:
        """Let exactly these addresses in, where a firewall runs; the rest of its rules stays."""
        wanted = list(addresses)
        kind = self._running() if wanted else ""
        for address in wanted if kind else []:
            zone = self._zone(address) if kind == "firewalld" else "-"
            failed = len(self.errors)
            if (self._firewalld(zone, address) if kind == "firewalld" else self._ufw(address)) and len(self.errors) == failed:
                self.changes.append(f"{kind} lets {address} in")
                rule = Rule(kind, zone, address)
                if rule not in self._rules:
                    self._rules.append(rule)
                    self._keep()
        for rule in list(self._rules):
            if (canonical(rule.address) or rule.address) not in wanted:
                self._remove(rule)

    def _remove(self, rule: Rule) -> None:
        self.changes.append(f"{rule.kind} lets {rule.address} in no more")
        if self._check:
            return
        words = [f"--zone={rule.zone}", f"--remove-rich-rule={rich_rule(rule.address)}"]
        if rule.kind == "ufw":
            self._run(["ufw", "delete", "allow", "proto", "tcp", "from", rule.address, "to", "any", "port", "2049"])
        elif self._run(["firewall-cmd", "--state"])[0] == 0:
            for permanent in (["--permanent"], []):
                self._run(["firewall-cmd", *permanent, *words])
        else:  # one that does not run is told by its files
            self._run(["firewall-offline-cmd", *words])
        self._rules.remove(rule)
        self._keep()
