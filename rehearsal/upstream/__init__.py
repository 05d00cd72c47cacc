"""Git bundles of the stand-ins of Megatron-LM and AscendSpeed.

Their sources lie beside this file. The commits are made with a fixed author and date, so that the same sources
give the same shas on every machine, and a rehearsal can pin them as a site pins upstream's.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NAMES = ("Megatron-LM", "AscendSpeed")
BRANCH = "master"
_DATE = "2024-04-24T09:36:55+0000"
_LATER = "2024-04-25T09:36:55+0000"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so", "*.egg-info", "build", ".mypy_cache", ".ruff_cache")


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


def make_bundle(name: str, out_dir: Path) -> tuple[Path, str]:
    """Make ``<out_dir>/<name>.bundle`` and return its path and the commit to pin.

    The branch in it has one commit more than the pin, as upstream's moved on: a clone alone is not the pinned tree.

    Raises:
        subprocess.CalledProcessError: when git fails.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    bundle = out_dir.resolve() / f"{name}.bundle"
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / name
        shutil.copytree(FOLDER / name, tree, ignore=_LEFT_OUT)
        for path in tree.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        _git(tree, "init", "--quiet", "--object-format=sha1", f"--initial-branch={BRANCH}")
        _git(tree, "add", "--all", "--force")
        _git(tree, "commit", "--quiet", "--message", f"{name} stand-in")
        commit = _git(tree, "rev-parse", "HEAD")
        readme = tree / "README.md"
        readme.write_text(readme.read_text() + "\nA later commit than the one that rehearsals pin.\n")
        _git(tree, "commit", "--quiet", "--all", "--message", "Move on", date=_LATER)
        partial = bundle.with_suffix(".bundle.partial")
        _git(tree, "bundle", "create", "--quiet", str(partial), "HEAD", BRANCH)
        partial.replace(bundle)
    return bundle, commit


def make_bundles(out_dir: Path | str) -> dict[str, tuple[Path, str]]:
    """Make the bundles of both stand-ins: name to (path of the bundle, commit to pin)."""
    return {name: make_bundle(name, Path(out_dir)) for name in NAMES}
