"""The wheelhouse: exact pins, the nodes' tags, no CUDA, the order of the indexes, reproducible tars."""
from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Sequence

import pytest

from rehearsal import wheelhouse

NAME = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"


def make_torch(path: Path, needs: str = "Requires-Dist: sympy\n") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("torch-2.13.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: torch\n{needs}")
    return path


def test_the_committed_constraints_are_exact() -> None:
    version, others = wheelhouse.read_constraints(wheelhouse.CONSTRAINTS.read_text())
    names = [line.split("==")[0] for line in others]
    assert version == "2.13.0"
    assert {"numpy", "transformers", "tokenizers", "pybind11", "einops", "pyarrow", "setuptools", "wheel"} <= set(names)
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("nvidia") or name == "triton"]


@pytest.mark.parametrize("text, message", [("numpy<2\ntorch==1\n", "no exact pin"), ("a==1.*\n", "no exact pin"),
                                           ("numpy==1\n", "torch is not pinned")])
def test_loose_constraints_are_refused(text: str, message: str) -> None:
    with pytest.raises(wheelhouse.WheelhouseError, match=message):
        wheelhouse.read_constraints(text)


def test_download_is_for_the_nodes() -> None:
    options = wheelhouse.target_options("aarch64")
    assert "manylinux_2_36_aarch64" in options and "manylinux2014_aarch64" in options
    assert "manylinux_2_37_aarch64" not in options and "--only-binary=:all:" in options and "cp311" in options


def test_cuda_is_refused(tmp_path: Path) -> None:
    wheelhouse.refuse_cuda(make_torch(tmp_path / "good.whl"))
    with pytest.raises(wheelhouse.WheelhouseError, match=r"CUDA build .it needs nvidia-cublas"):
        wheelhouse.refuse_cuda(make_torch(tmp_path / "cuda.whl", "Requires-Dist: nvidia-cublas==13; platform_system\n"))


def test_a_huge_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheelhouse, "LARGEST_TORCH", 10)
    with pytest.raises(wheelhouse.WheelhouseError, match=r"CUDA build .it has"):
        wheelhouse.refuse_cuda(make_torch(tmp_path / "x.whl"))


class Pip:
    """Plays pip download: fails from the indexes named, else writes the wheels."""

    def __init__(self, unreachable: str = "") -> None:
        self.unreachable = unreachable
        self.calls: list[list[str]] = []

    def __call__(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = list(arguments)
        self.calls.append(words)
        if self.unreachable and self.unreachable in words:
            return subprocess.CompletedProcess(words, 1, "", "ERROR: no route to host")
        folder = Path(words[words.index("--dest") + 1])
        if words[-1].startswith("torch==") or any(word.startswith("torch==") for word in words):
            make_torch(folder / NAME)
        else:
            (folder / "six-1.17.0-py2.py3-none-any.whl").write_bytes(b"six")
        return subprocess.CompletedProcess(words, 0, "", "")


def test_torch_comes_from_the_cpu_index(tmp_path: Path) -> None:
    pip = Pip()
    assert wheelhouse.download_torch("2.13.0", tmp_path, "x86_64", "https://cpu.example", pip).name == NAME
    assert len(pip.calls) == 1 and "https://cpu.example" in pip.calls[0]


def test_or_from_the_ordinary_index(tmp_path: Path) -> None:
    pip = Pip(unreachable="https://cpu.example")
    wheelhouse.download_torch("2.13.0", tmp_path, "x86_64", "https://cpu.example", pip)
    assert len(pip.calls) == 2 and "--index-url" not in pip.calls[1]


def test_or_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(wheelhouse.WheelhouseError, match=r"no route to host.*TORCH_INDEX_URL"):
        wheelhouse.download_torch("2.13.0", tmp_path, "x86_64", "", Pip(unreachable="download"))


def test_build_uses_the_cache(tmp_path: Path) -> None:
    pip = Pip()
    made = wheelhouse.build_wheelhouse(tmp_path / "out", "x86_64", tmp_path / "cache", pip)
    with tarfile.open(made.tar) as archive:
        assert archive.getnames() == ["six-1.17.0-py2.py3-none-any.whl"]
    assert made.torch.name == NAME and "--no-deps" in pip.calls[0]
    calls = len(pip.calls)
    stale = tmp_path / "out" / "torch-2.0.0-cp311-cp311-linux_x86_64.whl"
    stale.write_bytes(b"old")
    assert wheelhouse.build_wheelhouse(tmp_path / "out", "x86_64", tmp_path / "cache", pip) == made
    assert len(pip.calls) == calls and not stale.exists()


def test_a_failed_download_leaves_no_cache(tmp_path: Path) -> None:
    with pytest.raises(wheelhouse.WheelhouseError, match="no route to host"):
        wheelhouse.build_wheelhouse(tmp_path / "out", "x86_64", tmp_path / "cache", Pip(unreachable="--requirement"))
    assert not list((tmp_path / "cache").glob("*/wheelhouse.tar"))


def test_the_key_follows_the_pins_not_the_comments() -> None:
    key = wheelhouse.cache_key("a==1\n", "x86_64", "")
    assert key == wheelhouse.cache_key("# why\na==1  # pinned\n", "x86_64", "")
    assert key != wheelhouse.cache_key("a==2\n", "x86_64", "") != wheelhouse.cache_key("a==2\n", "aarch64", "")


def test_the_tar_is_reproducible(tmp_path: Path) -> None:
    wheels = [tmp_path / name for name in ("b.whl", "a.whl")]
    for wheel in wheels:
        wheel.write_text(wheel.name)
    wheelhouse.make_tar(wheels, tmp_path / "one.tar")
    wheels[0].touch()
    wheelhouse.make_tar(wheels[::-1], tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
