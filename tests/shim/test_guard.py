"""The stand-in keeps away from NPUs and from the real packages."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Callable

import pytest
from torch_npu import _guard

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def a_distribution(folder: Path, name: str, version: str, summary: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: {summary}\n")


def test_character_devices_of_the_driver_count_and_ordinary_files_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("davinci_manager", "davinci0", "davinci12", "null"):
        (tmp_path / name).touch()
    assert _guard.npu_devices(tmp_path) == []

    class Stat:
        st_mode = stat.S_IFCHR

    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **kwargs: Stat() if real(self, **kwargs) and self.parent == tmp_path else real(self, **kwargs))
    assert _guard.npu_devices(tmp_path) == [str(tmp_path / name) for name in ("davinci_manager", "davinci0", "davinci12")]
    with pytest.raises(_guard.RealThingError, match=r"machine with an NPU: found .*davinci0"):
        _guard.refuse_beside_the_real_thing("torch_npu", [], tmp_path)


def test_other_distributions_are_found(tmp_path: Path) -> None:
    a_distribution(tmp_path / "real", "torch_npu", "2.1.0.post3", "NPU bridge for PyTorch")
    a_distribution(tmp_path / "ours", "torch_npu", "2.1.0.post3", "CPU rehearsal stand-in, not Huawei's torch_npu")
    assert _guard.foreign_distributions("torch_npu", [str(tmp_path / "ours")]) == []
    assert _guard.foreign_distributions("torch_npu", [str(tmp_path / "real"), str(tmp_path / "ours")]) == [f"2.1.0.post3 in {tmp_path / 'real'}"]


@pytest.mark.parametrize("name", ["torch_npu", "apex"])
def test_it_refuses_beside_another_package_on_the_path(python: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = python(f"import {name}", path=tmp_path)
    assert done.returncode == 1
    assert f"refuses to load beside another {name}: found {tmp_path / name}" in done.stderr
    assert f"pip uninstall {name}" in done.stderr


def test_it_refuses_beside_another_distribution(python: Run, tmp_path: Path) -> None:
    a_distribution(tmp_path, "torch_npu", "2.1.0.post3", "NPU bridge for PyTorch")
    done = python("import torch_npu", path=tmp_path)
    assert done.returncode == 1
    assert f"beside another torch_npu: found 2.1.0.post3 in {tmp_path}" in done.stderr


def test_apex_does_not_load_without_the_rehearsals_torch_npu(tmp_path: Path, python: Run) -> None:
    apex = tmp_path / "only" / "apex"
    apex.parent.mkdir()
    apex.symlink_to(Path(_guard.__file__).parents[1] / "apex")
    program = f"""
    import sys
    sys.path = [{str(apex.parent)!r}] + [entry for entry in sys.path if "npu_on_cpu" not in entry]
    class Hide:  # also where the stand-in is installed
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "torch_npu": raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, Hide())
    import apex
    """
    done = python(program)
    assert done.returncode == 1
    assert "only loads together with the rehearsal's torch_npu" in done.stderr


def test_the_environment_of_this_test_is_a_rehearsals() -> None:
    assert not _guard.npu_devices()
    assert os.path.isfile(Path(_guard.__file__).with_name("STAND_IN"))
