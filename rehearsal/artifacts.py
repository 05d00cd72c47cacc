"""Everything that the nodes of a rehearsal are given, in ``.rehearsal/artifacts``: built once, kept until its inputs change.

``python -m rehearsal.artifacts [standin|real]`` builds them.
"""
from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable

import yaml

from rehearsal import nodes, synthetic, upstream, wheelhouse
from rehearsal.hardware import cann, conda
from rehearsal.npu_on_cpu import build as shim

FOLDER = nodes.STATE / "artifacts"
CANN_VERSION = "8.0.RC1"
ROWS = 2000

# What gives the url of each repository of the real code another value.
VARIABLES = {"Megatron-LM": "MEGATRON_URL", "AscendSpeed": "ASCENDSPEED_URL"}

# Of `git ls-remote`, when the real code is only wanted where it can be had (seconds).
PROBE_TIMEOUT = 15

Log = Callable[[str], None]


class ArtifactsError(Exception):
    """Something could not be built; the message says what."""


def _digest(*parts: Path | str) -> str:
    """Sha256 over texts and the files of folders, by name and content."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode() + b"\0")
            continue
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(nodes.PROJECT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _kept(name: str, inputs: str, make: Callable[[Path], None], log: Log) -> Path:
    """Make the folder `name` unless it was made from the same inputs; it appears whole or not at all."""
    folder = FOLDER / name
    stamp = folder / ".inputs"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == inputs:
        return folder
    log(f"building {name}")
    fresh = FOLDER / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        make(fresh)
    except (OSError, ValueError, RuntimeError, subprocess.CalledProcessError, wheelhouse.WheelhouseError) as error:
        detail = getattr(error, "stderr", "") or ""
        detail = detail.decode(errors="replace") if isinstance(detail, bytes) else detail
        raise ArtifactsError(f"{name} could not be built: {error} {detail}".strip()) from error
    for path in sorted(fresh.rglob("*")):
        if path.is_file():  # what the inventory hands to the roles
            path.with_name(path.name + ".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest(), encoding="utf-8")
    (fresh / ".inputs").write_text(inputs, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder


def repositories() -> dict[str, tuple[str, str]]:
    """Name to (url, commit) of the real code: as the roles have it, the urls overridden by MEGATRON_URL and ASCENDSPEED_URL."""
    found = {}
    for name, variable in VARIABLES.items():
        role = variable[:-len("_URL")].lower()
        defaults = yaml.safe_load((nodes.PROJECT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8"))
        found[name] = (os.environ.get(variable) or defaults[f"{role}_url"], defaults[f"{role}_version"])
    return found


def _git(*words: str, timeout: float | None = None) -> str:
    """Run git without prompts; its output.

    Raises:
        subprocess.CalledProcessError, subprocess.TimeoutExpired
    """
    return subprocess.run(["git", *words], env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=True, timeout=timeout).stdout


def answers(url: str) -> bool:
    """Whether a repository can be had from a url, asked briefly."""
    try:
        _git("ls-remote", "--exit-code", url, "HEAD", timeout=PROBE_TIMEOUT)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return False
    return True


def choose(wanted: str) -> str:
    """Settle ``auto``: ``real`` where both urls answer, else ``standin``."""
    if wanted != "auto":
        return wanted
    return "real" if all(answers(url) for url, _ in repositories().values()) else "standin"


def _make_real_sources(folder: Path) -> None:
    """Bundle the pinned commits of the real repositories."""
    for name, (url, commit) in repositories().items():
        bare = folder / f"{name}.git"
        try:
            _git("clone", "--quiet", "--bare", url, str(bare))
            # git would make a bundle of it without a word, which nobody can clone.
            if _git("-C", str(bare), "rev-parse", "--is-shallow-repository").strip() == "true":
                raise ArtifactsError(f"{name} cannot be bundled: {url} is a shallow clone, its history is cut off. Complete it with "
                                     f"`git fetch --unshallow` there, or set {VARIABLES[name]} to a whole repository.")
            _git("-C", str(bare), "update-ref", "refs/heads/pinned", commit)
            _git("-C", str(bare), "bundle", "create", "--quiet", str(folder / f"{name}.bundle"), "refs/heads/pinned")
        except subprocess.CalledProcessError as error:
            raise ArtifactsError(f"{name} cannot be had from {url} at {commit}: {error.stderr.strip()}. Set "
                                 "MEGATRON_URL and ASCENDSPEED_URL to mirrors or file:// clones, or UPSTREAM=standin.") from error
        shutil.rmtree(bare)
        (folder / f"{name}.commit").write_text(commit, encoding="utf-8")


def build(upstream_kind: str = "standin", log: Log = print) -> None:
    """Build what is missing or outdated.

    Args:
        upstream_kind: ``standin``, or ``real`` for the real Megatron-LM and AscendSpeed from their urls.
        log: told what is built.

    Raises:
        ArtifactsError: naming what could not be built.
    """
    here = Path(__file__).parent
    arch = platform.machine()

    def make_data(folder: Path) -> None:
        synthetic.make_parquet(folder / "alpaca.parquet", ROWS)
        synthetic.make_tokenizer(folder / "tokenizer")

    def make_standin_sources(folder: Path) -> None:
        for name, (_, commit) in upstream.make_bundles(folder, "recipe").items():
            (folder / f"{name}.commit").write_text(commit, encoding="utf-8")

    _kept("hardware", _digest(here / "hardware", CANN_VERSION, arch), lambda folder: _make_hardware(folder, arch), log)
    _kept("wheels", _digest(here / "npu_on_cpu", here / "constraints.txt", here / "wheelhouse.py", arch), lambda folder: _make_wheels(folder, arch), log)
    if upstream_kind == "real":
        _kept("sources-real", _digest(json.dumps(repositories())), _make_real_sources, log)
    else:
        _kept("sources-standin", _digest(here / "upstream"), make_standin_sources, log)
    _kept("data", _digest(here / "synthetic.py", str(ROWS)), make_data, log)


def _make_hardware(folder: Path, arch: str) -> None:
    cann.build_cann(folder, CANN_VERSION, arch)
    conda.build_conda(folder, arch)


def _make_wheels(folder: Path, arch: str) -> None:
    shim.build_wheels(folder)
    wheelhouse.build_wheelhouse(folder, arch)


def versions(upstream_kind: str) -> dict[str, str]:
    """Names and versions of what the nodes are given, for the summary; empty before anything was built."""
    commits = {path.stem: path.read_text(encoding="utf-8")[:12] for path in sorted((FOLDER / f"sources-{upstream_kind}").glob("*.commit"))}
    if not commits:
        return {}
    kind = "the real code" if upstream_kind == "real" else "stand-ins"
    return {"simulated": f"CANN {CANN_VERSION}, npu-smi, hccn_tool, conda; torch_npu and apex over CPU and gloo",
            "training code": f"{kind}: " + ", ".join(f"{name} {commit}" for name, commit in commits.items())}


if __name__ == "__main__":
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else "standin")
    except ArtifactsError as failed:
        sys.exit(str(failed))
