"""Python 3.8 with the very packages that role conda_env installs, and the real vocabulary; both kept below .rehearsal."""
from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import natural
from rehearsal.nodes import locked

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "tests" / "pinned" / "requirements.txt"
CONSTRAINTS = ROOT / "roles" / "conda_env" / "files" / "constraints-py38.txt"


def python38() -> Path:
    """The interpreter of an environment that is made once for each state of the pinned versions; skips where there is no python3.8."""
    with locked(ROOT / ".rehearsal" / "python38.lock"):  # tests run in several processes
        return _python38(ROOT / ".rehearsal" / "python38")


def _python38(folder: Path) -> Path:
    made, stamp = folder / "bin" / "python", folder / ".inputs"
    inputs = hashlib.sha256(REQUIREMENTS.read_bytes() + CONSTRAINTS.read_bytes()).hexdigest()

    def runs(python: Path, *words: str) -> bool:
        return subprocess.run([str(python), *words], capture_output=True, check=False).returncode == 0

    if stamp.exists() and stamp.read_text() == inputs and runs(made, "-c", ""):
        return made
    found = [Path(path) for path in [shutil.which("python3.8"), *sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python3.8"))] if path]
    python = next((path for path in found if runs(path, "-c", "import venv, ensurepip")), None)
    if python is None:
        pytest.skip("NOT TESTED ON PYTHON 3.8 WITH THE PINNED PACKAGES: no python3.8 that runs on PATH or in ~/.pyenv/versions")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([str(python), "-m", "venv", str(folder)], check=True)
    pip(made, "install", "--only-binary", ":all:", "--requirement", str(REQUIREMENTS))
    stamp.write_text(inputs)
    return made


def pip(python: Path, *words: str) -> None:
    done = subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", *words, "--quiet"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"pip {' '.join(words)}: {done.stderr.strip()[-500:]}")


def real_model() -> Path:
    """The real tokenizer.model, fetched once."""
    with locked(ROOT / ".rehearsal" / "cache" / "vocabulary.lock"):
        return natural.tokenizer_model(ROOT / ".rehearsal" / "cache" / "vocabulary")
