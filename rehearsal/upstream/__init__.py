"""Git bundles of the stand-ins of a stack's Megatron-LM and AscendSpeed (MindSpeed, as it is called today).

A stand-in's sources are those in ``common`` and the few in the stack's own folder beside it, which is named as the
file in ``stacks``. The commits are made with a fixed author and date, so that the same sources give the same shas on
every machine, and a rehearsal can pin them as a site pins upstream's.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COMMON = FOLDER / "common"
NAMES = ("Megatron-LM", "AscendSpeed")
BRANCH = "master"
_DATE = "2024-04-24T09:36:55+0000"
_LATER = "2024-04-25T09:36:55+0000"
_LEFT_OUT = ("__pycache__", "*.pyc", "*.so", "*.egg-info", "build", ".mypy_cache", ".ruff_cache")


def stacks() -> list[str]:
    """Names of the stacks that have stand-ins."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{NAMES[0]}") if path.parent != COMMON)


def assemble(name: str, stack: str, tree: Path) -> None:
    """Lay the sources of a stack's stand-in together in the folder ``tree``.

    Raises:
        ValueError: for a stack without stand-ins, or a file that is both common and the stack's own.
    """
    if stack not in stacks():
        raise ValueError(f"there is no stand-in for the stack {stack}: expected one of {', '.join(stacks())}, or the folder {FOLDER / stack / name}")
    for source in (COMMON / name, FOLDER / stack / name):
        for folder, folders, files in os.walk(source):
            ignored = shutil.ignore_patterns(*_LEFT_OUT)(folder, [*folders, *files])
            folders[:] = sorted(set(folders) - ignored)
            for file in sorted(set(files) - ignored):
                target = tree / Path(folder).relative_to(source) / file
                if target.exists():
                    raise ValueError(f"{target.relative_to(tree)} of {name} is both in {COMMON.name} and in {stack}: keep one of them")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(folder) / file, target)


def _git(folder: Path, *words: str, date: str = _DATE) -> str:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Rehearsal", "GIT_AUTHOR_EMAIL": "rehearsal@example.invalid", "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": "Rehearsal", "GIT_COMMITTER_EMAIL": "rehearsal@example.invalid",
        "GIT_COMMITTER_DATE": date,
    }
    done = subprocess.run(["git", "-c", "core.autocrlf=false", "-c", "core.fileMode=true", "-c", "pack.threads=1",
                           *words], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_bundle(name: str, out_dir: Path, stack: str) -> tuple[Path, str]:
    """Make ``<out_dir>/<name>.bundle`` and return its path and the commit to pin.

    The branch in it has one commit more than the pin, as upstream's moved on: a clone alone is not the pinned tree.

    Raises:
        ValueError: as :func:`assemble`.
        subprocess.CalledProcessError: when git fails.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    bundle = out_dir.resolve() / f"{name}.bundle"
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / name
        assemble(name, stack, tree)
        for path in tree.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        _git(tree, "init", "--quiet", "--object-format=sha1", f"--initial-branch={BRANCH}")
        _git(tree, "add", "--all", "--force")
        _git(tree, "commit", "--quiet", "--message", f"{name} stand-in of the stack {stack}")
        commit = _git(tree, "rev-parse", "HEAD")
        readme = tree / "README.md"
        readme.write_text(readme.read_text() + "\nA later commit than the one that rehearsals pin.\n")
        _git(tree, "commit", "--quiet", "--all", "--message", "Move on", date=_LATER)
        partial = bundle.with_suffix(".bundle.partial")
        _git(tree, "bundle", "create", "--quiet", str(partial), "HEAD", BRANCH)
        partial.replace(bundle)
    return bundle, commit


def make_bundles(out_dir: Path | str, stack: str) -> dict[str, tuple[Path, str]]:
    """Make the bundles of a stack's stand-ins: name to (path of the bundle, commit to pin)."""
    return {name: make_bundle(name, Path(out_dir), stack) for name in NAMES}
