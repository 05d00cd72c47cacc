"""The command ``ascendspeed``: applies (-P) or reverses (-R) the package's patches in the current folder.

As upstream it ends with status 0 whatever happened: rejects are only printed.
"""
from __future__ import annotations

import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Sequence

_RUN_PATH = Path(__file__).resolve().parent


def find_all_patch(folder: Path) -> list[Path]:
    """All patches below a folder."""
    return sorted(folder.rglob("*.patch"))


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    print(f"AscendSpeedRun Path is {_RUN_PATH}")
    parser = ArgumentParser(description="AscendSpeed Patch Launcher")
    parser.add_argument("-P", "--patch", action="store_true", help="Use ascendspeed patch")
    parser.add_argument("-R", "--reverse", action="store_true", help="Reverse ascendspeed patch")
    given = parser.parse_args(args)
    if not given.patch and not given.reverse:
        print("Hello AscendSpeed")
        return
    verb, option = ("Applying", "-p1") if given.patch else ("Reversing", "-R")
    rejects = []
    for patch in find_all_patch(_RUN_PATH.parent):
        print(f"{verb} patch {patch}...")
        check = subprocess.run(["git", "apply", "--check", option, str(patch)],
                               capture_output=True, text=True, check=False)
        if check.stderr:
            rejects.append(str(patch))
            print(f"{verb} patch failed. Please check: {check.stderr}")
            continue
        done = subprocess.run(["git", "apply", option, str(patch)], capture_output=True, text=True, check=False)
        print(done.stdout)
    if rejects:
        print(f"Here are some rejects needed to resolve: {rejects}")


if __name__ == "__main__":
    main()
