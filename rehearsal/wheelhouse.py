"""The Python packages for the rehearsal's nodes: a tar of wheels, and the wheel of torch.

    python -m rehearsal.wheelhouse OUT_DIR

The nodes reach no index, so everything pinned in constraints.txt is downloaded here, for the nodes' Python.
torch comes from PyTorch's own index of CPU builds (TORCH_INDEX_URL names another one, empty the ordinary index),
or, where that is unreachable, from the ordinary index; never a CUDA build.
"""
from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE / "constraints.txt"
CACHE = HERE.parent / ".rehearsal" / "cache"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NODE_PYTHON = (3, 11)
NODE_GLIBC = 36  # Debian 12
LARGEST_TORCH = 1 << 30  # bytes; CPU builds are about 200 MB, CUDA builds more than 800 MB with gigabytes of others

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class WheelhouseError(Exception):
    """The wheels could not be had; the message says which and what to do."""


@dataclass(frozen=True)
class Wheelhouse:
    """What build_wheelhouse made."""

    tar: Path
    torch: Path


def read_constraints(text: str) -> tuple[str, list[str]]:
    """The version of torch, and the other lines, of a file of exact pins. Raises WheelhouseError for any other line."""
    torch, others = "", []
    for line in (raw.split("#")[0].strip() for raw in text.splitlines()):
        if not line:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s*]+)", line)
        if match is None:
            raise WheelhouseError(f"{CONSTRAINTS.name}: {line!r} is no exact pin (name==version)")
        if match[1].lower() == "torch":
            torch = match[2]
        else:
            others.append(line)
    if not torch:
        raise WheelhouseError(f"{CONSTRAINTS.name}: torch is not pinned")
    return torch, others


def target_options(arch: str) -> list[str]:
    """Options that make pip download for the nodes instead of for the Python that runs it."""
    major, minor = NODE_PYTHON
    options = ["--only-binary=:all:", "--no-deps", "--python-version", f"{major}.{minor}", "--implementation", "cp"]
    for abi in (f"cp{major}{minor}", "abi3", "none"):
        options += ["--abi", abi]
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    for glibc in range(NODE_GLIBC, 4, -1):
        options += ["--platform", f"manylinux_2_{glibc}_{arch}"]
        if glibc in legacy:
            options += ["--platform", f"{legacy[glibc]}_{arch}"]
    return [*options, "--platform", f"linux_{arch}"]


def refuse_cuda(wheel: Path) -> None:
    """Raise WheelhouseError when a wheel of torch is a CUDA build: by its dependencies, or by its size."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            inside = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            needs = re.findall(r"(?m)^Requires-Dist: *(nvidia-[\w-]+|triton[\w-]*)", archive.read(inside).decode())
    except (zipfile.BadZipFile, StopIteration) as error:
        raise WheelhouseError(f"{wheel} is damaged: remove it and run this again") from error
    cuda = [need for need in needs if need.startswith("nvidia-")]
    if cuda or wheel.stat().st_size > LARGEST_TORCH:
        reason = f"it needs {cuda[0]}" if cuda else f"it has {wheel.stat().st_size / 2**30:.1f} GiB"
        raise WheelhouseError(
            f"{wheel.name} is a CUDA build ({reason}): the rehearsal takes a CPU build only. "
            "Set TORCH_INDEX_URL to an index of CPU builds that this machine reaches."
        )


def run_pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run this Python's pip; its output is captured."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def download_torch(version: str, folder: Path, arch: str, index: str, run: Run = run_pip) -> Path:
    """Download the wheel of torch into an empty folder, from an index of CPU builds or else the ordinary one.

    index: url of an index; empty asks only the ordinary one. Raises WheelhouseError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = ["download", "--quiet", "--dest", str(folder), *target_options(arch), f"torch=={version}"]
    said = []
    for extra in ([["--index-url", index, "--timeout", "15", "--retries", "1"]] if index else []) + [[]]:
        result = run([*base, *extra])
        wheels = sorted(folder.glob("torch-*.whl"))
        if result.returncode == 0 and wheels:
            refuse_cuda(wheels[0])
            return wheels[0]
        said.append(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else f"exit status {result.returncode}")
    raise WheelhouseError(f"torch {version} could not be downloaded: {'; '.join(said)}. "
                          "Check the network, or set TORCH_INDEX_URL to an index of CPU builds.")


def make_tar(wheels: Sequence[Path], target: Path) -> None:
    """Write wheels flat into an uncompressed tar; the same wheels give the same bytes."""
    temporary = target.with_name(target.name + ".new")
    with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as archive:
        for wheel in sorted(wheels):
            entry = archive.gettarinfo(wheel, wheel.name)
            entry.mtime, entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0o644, 0, 0, "", ""
            with wheel.open("rb") as stream:
                archive.addfile(entry, stream)
    temporary.replace(target)


def cache_key(constraints: str, arch: str, index: str) -> str:
    """Name of the cache folder: whatever the wheels depend on."""
    pins = "\n".join(sorted(filter(None, (line.split("#")[0].strip() for line in constraints.splitlines()))))
    return hashlib.sha256(f"{pins}\n{arch}\n{index}\n{NODE_PYTHON}\n".encode()).hexdigest()[:16]


def build_wheelhouse(out_dir: Path, arch: str = "", cache: Path = CACHE, run: Run = run_pip) -> Wheelhouse:
    """Put wheelhouse.tar and the wheel of torch into a folder; downloads only what the cache lacks.

    arch: of the nodes, as `uname -m` prints it; this machine's by default.
    Raises WheelhouseError.
    """
    arch = arch or platform.machine()
    index = os.environ.get("TORCH_INDEX_URL", CPU_INDEX)
    constraints = CONSTRAINTS.read_text()
    version, others = read_constraints(constraints)
    store = cache / f"wheels-{cache_key(constraints, arch, index)}"
    if not (store / "wheelhouse.tar").exists():
        loading = store.with_name(store.name + ".new")
        shutil.rmtree(loading, ignore_errors=True)
        (loading / "wheels").mkdir(parents=True)
        pins = loading / "pins.txt"
        pins.write_text("\n".join(others) + "\n")
        download = ["download", "--quiet", "--dest", str(loading / "wheels"), *target_options(arch)]
        result = run([*download, "--requirement", str(pins)])
        if result.returncode != 0:
            raise WheelhouseError(f"The wheels of {CONSTRAINTS.name} could not be downloaded: {result.stderr.strip()[-800:]}")
        download_torch(version, loading / "torch", arch, index, run)
        make_tar(list((loading / "wheels").glob("*.whl")), loading / "wheelhouse.tar")
        shutil.rmtree(loading / "wheels")
        shutil.rmtree(store, ignore_errors=True)
        loading.rename(store)
    out_dir.mkdir(parents=True, exist_ok=True)
    torch = next((store / "torch").glob("torch-*.whl"))
    for old in out_dir.glob("torch-*.whl"):
        if old.name != torch.name:
            old.unlink()
    return Wheelhouse(_place(store / "wheelhouse.tar", out_dir), _place(torch, out_dir))


def _place(source: Path, folder: Path) -> Path:
    """Link a file of the cache into a folder, or copy it where links do not reach."""
    target = folder / source.name
    if target.exists() and target.samefile(source):
        return target
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
    return target


if __name__ == "__main__":
    print(build_wheelhouse(Path(sys.argv[1])))
