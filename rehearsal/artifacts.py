"""Everything that the nodes of a rehearsal are given, in ``.rehearsal/artifacts``: built once, kept until its inputs change.

``python -m rehearsal.artifacts [standin|real] [STACK ...]`` builds them, for all stacks (that have
stand-ins) unless told which.
"""
from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, Sequence

from rehearsal import nodes, stacks, synthetic, upstream, wheelhouse
from rehearsal.hardware import cann, conda
from rehearsal.npu_on_cpu import build as shim

FOLDER = nodes.STATE / "artifacts"
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


def repositories(stack: str) -> dict[str, tuple[str, str]]:
    """Name to (url, commit) of a stack's real code: as its file has it, the urls overridden by MEGATRON_URL and ASCENDSPEED_URL."""
    sources = {name: stacks.read(stack)["sources"][variable[:-len("_URL")].lower()] for name, variable in VARIABLES.items()}
    return {name: (os.environ.get(VARIABLES[name]) or source["url"], source["commit"]) for name, source in sources.items()}


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


def choose(wanted: str, stack: str) -> str:
    """Settle ``auto``: ``real`` where both urls of a stack answer, else ``standin``.

    Raises:
        ArtifactsError: where a stand-in is left, and the stack has none.
    """
    urls = [url for url, _ in repositories(stack).values()]
    found = wanted if wanted != "auto" else "real" if all(map(answers, urls)) else "standin"
    if found == "standin" and stack not in upstream.stacks():
        why = "" if wanted == "standin" else f", and the urls of its real code do not answer ({', '.join(urls)})"
        raise ArtifactsError(f"There is no stand-in for the stack {stack} ({upstream.FOLDER.relative_to(nodes.PROJECT)}/{stack}, docs/stacks.md){why}. Take "
                             f"NODES=containers UPSTREAM=real with MEGATRON_URL and ASCENDSPEED_URL that answer, or a STACK that has one: "
                             f"{', '.join(upstream.stacks())}.")
    return found


def _make_real_sources(folder: Path, stack: str) -> None:
    """Bundle the pinned commits of a stack's real repositories."""
    for name, (url, commit) in repositories(stack).items():
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


def build(upstream_kind: str = "standin", wanted: Sequence[str] | None = None, log: Log = print) -> None:
    """Build what is missing or outdated.

    Args:
        upstream_kind: ``standin``, or ``real`` for the real Megatron-LM and AscendSpeed from their urls.
        wanted: the stacks whose sources are needed, None for all that can be had; hardware and wheels are made for all.
        log: told what is built.

    Raises:
        ArtifactsError: naming what could not be built.
    """
    # Two targets of make may want them at once.
    with nodes.locked(nodes.STATE / "artifacts.lock"):
        _build(upstream_kind, wanted if wanted is not None else stacks.NAMES if upstream_kind == "real" else upstream.stacks(), log)


def _build(upstream_kind: str, wanted: Sequence[str], log: Log) -> None:
    here = Path(__file__).parent
    arch = platform.machine()

    def make_data(folder: Path) -> None:
        synthetic.make_parquet(folder / "alpaca.parquet", ROWS)
        synthetic.make_tokenizer(folder / "tokenizer")

    def make_standin_sources(folder: Path, stack: str) -> None:
        for name, (_, commit) in upstream.make_bundles(folder, stack).items():
            (folder / f"{name}.commit").write_text(commit, encoding="utf-8")

    _kept("hardware", _digest(here / "hardware", *_cann_versions(), arch), lambda folder: _make_hardware(folder, arch), log)
    _kept("wheels", _digest(here / "npu_on_cpu", here / "constraints.txt", here / "wheelhouse.py", *_torch_npu_versions(), arch),
          lambda folder: _make_wheels(folder, arch), log)
    for stack in wanted:
        if upstream_kind == "real":
            _kept(f"sources-real-{stack}", _digest(json.dumps(repositories(stack))), functools.partial(_make_real_sources, stack=stack), log)
        else:
            _kept(f"sources-standin-{stack}", _digest(here / "upstream"), functools.partial(make_standin_sources, stack=stack), log)
    _kept("data", _digest(here / "synthetic.py", str(ROWS)), make_data, log)


def _cann_versions() -> list[str]:
    return [stacks.read(stack)["cann"]["version"] for stack in stacks.NAMES]


def _torch_npu_versions() -> list[str]:
    return [wheel["version"] for stack in stacks.NAMES for wheel in stacks.read(stack)["environment"]["wheels"] if wheel["name"] == "torch_npu"]


def _make_hardware(folder: Path, arch: str) -> None:
    for version in _cann_versions():
        cann.build_cann(folder, version, arch)
    conda.build_conda(folder, arch)


def _make_wheels(folder: Path, arch: str) -> None:
    for version in _torch_npu_versions():
        shim.build_wheels(folder, version)
    wheelhouse.build_wheelhouse(folder, arch)


def versions(upstream_kind: str, stack: str) -> dict[str, str]:
    """Names and versions of what the nodes are given, for the summary; empty before anything was built."""
    commits = {path.stem: path.read_text(encoding="utf-8")[:12] for path in sorted((FOLDER / f"sources-{upstream_kind}-{stack}").glob("*.commit"))}
    if not commits:
        return {}
    kind = "the real code" if upstream_kind == "real" else "stand-ins"
    return {"stack": stack, "simulated": f"CANN {stacks.read(stack)['cann']['version']}, npu-smi, hccn_tool, conda; torch_npu and apex over CPU and gloo",
            "training code": f"{kind}: " + ", ".join(f"{name} {commit}" for name, commit in commits.items())}


if __name__ == "__main__":
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else "standin", sys.argv[2:] or None)
    except ArtifactsError as failed:
        sys.exit(str(failed))
