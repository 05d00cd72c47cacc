"""Compare other commits of the training code with what a stack has recorded of its own, and list what a next stack would need.

``make check-upstream MEGATRON_URL=… MINDSPEED_URL=…``; MEGATRON_VERSION and MINDSPEED_VERSION are branches, tags or commits (HEAD without
them), STACK is the one to compare with. Status 0 when nothing that the product relies on is gone, 1 otherwise.
"""
from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal import nodes, stacks, upstream
from rehearsal.check_upstream import options, relied

FOLDER = nodes.STATE / "check-upstream"
# Repository, key of its source in the stack's file, begin of its two variables.
SOURCES = (("Megatron-LM", "megatron", "MEGATRON"), ("AscendSpeed", "ascendspeed", "MINDSPEED"))


class CheckError(Exception):
    """A commit cannot be had; the message says why."""


@dataclass
class Report:
    """Lines under headings."""

    gone: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    sections: list[tuple[str, list[str]]] = field(default_factory=list)

    def add(self, heading: str, lines: list[str]) -> None:
        """One more section; one without lines is left out."""
        if lines:
            self.sections.append((heading, lines))

    def text(self) -> str:
        """The whole, plain."""
        return "\n".join(f"{heading}\n" + "".join(f"  {line}\n" for line in lines) for heading, lines in self.sections)


def fetch(name: str, url: str, version: str, variable: str) -> tuple[Path, str]:
    """A checkout of a commit below ``.rehearsal``, without history where the server gives it so; its folder and sha.

    Raises:
        CheckError: when it cannot be had.
    """
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=folder, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)

    git("init", "--quiet")
    done = git("fetch", "--quiet", "--depth", "1", url, version)
    wanted = "FETCH_HEAD"
    if done.returncode:  # not every server gives a commit by its sha
        done, wanted = git("fetch", "--quiet", "--tags", "--force", url, "+refs/heads/*:refs/remotes/all/*"), version
    for words in (() if done.returncode else (("checkout", "--quiet", "--force", "--detach", wanted), ("clean", "--quiet", "--force", "-d", "-x"))):
        done = done if done.returncode else git(*words)
    if done.returncode:
        raise CheckError(f"{name} cannot be had from {url} at {version}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'git failed'}. "
                         f"Expected a repository in {variable}_URL, and a branch, tag or commit of it in {variable}_VERSION.")
    return folder, git("rev-parse", "HEAD").stdout.strip()


def compare(name: str, checkouts: dict[str, Path], found: options.Found) -> Report:
    """The report on checkouts beside a stack."""
    report, stack = Report(), stacks.read(name)
    for fact in relied.facts(name):
        instead = relied.look(fact, checkouts[fact.project])
        if instead:
            report.gone.append(f"{fact.project}/{fact.file}: {fact.what}: {instead} (used in {', '.join(fact.used)})")
    report.gone += relied.patches(stack, checkouts)
    gone, unknown = options.refused(stack, found)
    report.gone += [f"{line} (roles/plan/vars/main.yml, stacks/{name}.yml)" for line in gone]
    report.unknown += [*found.reasons, *unknown]
    report.add(f"Gone: what the product relies on with the stack {name}, and what is there instead", report.gone or ["nothing"])
    report.add("Unknown: where it could not be looked", report.unknown)
    before = options.recorded(name)
    for project, after in found.tables.items():
        by_reading = (", by reading its sources: without those that are made from dataclasses, with those that nobody adds to a parser"
                      if project in found.read else "")
        report.add(f"Options of {project}: {len(before[project])} recorded, {len(after)} there{by_reading}", [
            f"{word}: {', '.join(sorted(names)) or 'none'}" for word, names in (
                ("added", after.keys() - before[project].keys()), ("removed" if not by_reading else "not found", before[project].keys() - after.keys()))
        ] + [f"changed: {option}: {words}" for option, words in ({} if by_reading else options.changes(before[project], after)).items()])
    report.add("A next stack would need", needs(name, found, report))
    return report


def needs(name: str, found: options.Found, report: Report) -> list[str]:
    """What is to be written and decided, in order."""
    lines = [f"stacks/<name>.yml, <name>_rules.yml and <name>_options.yml beside those of {name} (docs/stacks.md): these commits, environment, CANN, plan"]
    lines += [f"in rehearsal/constraints.txt and the stack's environment: {module}, which the code imports" for module in found.missing]
    if found.reasons:
        lines.append("rehearsal/npu_on_cpu to go so far that the parsers can be asked (the last words of each try are above)")
    if found.unrecorded:
        lines.append(f"rehearsal/record_arguments.py to know options such as {', '.join(found.unrecorded[:5])}")
    lines.append("their tables: python -m rehearsal.record_arguments --megatron … --ascendspeed … --stack <name>")
    lines.append(f"rehearsal/upstream/<name>, from {name}'s: forms.py, rules.py, pretrain_gpt.py, the second project's package, and relied_on.yml")
    if report.gone:
        lines.append(f"an answer to each of the {len(report.gone)} lines under Gone")
    return lines


def main() -> int:
    """Print the report; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.check_upstream", description=str(__doc__).split("\n\n", 1)[0])
    parser.add_argument("--stack", choices=upstream.stacks(), default="current", help="the one to compare with (current)")
    name = parser.parse_args().stack
    sources = stacks.read(name)["sources"]
    checkouts: dict[str, Path] = {}
    print(f"Compared with the stack {name}:")
    for project, key, variable in SOURCES:
        url, version = os.environ.get(f"{variable}_URL") or sources[key]["url"], os.environ.get(f"{variable}_VERSION") or "HEAD"
        try:
            checkouts[project], commit = fetch(project, url, version, variable)
        except CheckError as error:
            print(f"  {error}\nNothing is known.")
            return 1
        print(f"  {project}: {version} = {commit}, recorded {sources[key]['commit']}", flush=True)
    report = compare(name, checkouts, options.ask(checkouts["Megatron-LM"], checkouts["AscendSpeed"]))
    print(f"\n{report.text()}\n{len(report.gone)} gone, {len(report.unknown)} unknown.")
    return 1 if report.gone else 0


if __name__ == "__main__":
    sys.exit(main())
