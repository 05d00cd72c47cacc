"""The wheels: pip takes them, their bytes are the same each time."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rehearsal.npu_on_cpu.build import build_wheels


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = build_wheels(tmp_path / "a"), build_wheels(tmp_path / "b")
    assert [wheel.read_bytes() for wheel in first] == [wheel.read_bytes() for wheel in second]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_names_carry_versions_and_tags(tmp_path: Path, machine: str) -> None:
    wheels = build_wheels(tmp_path, "2.1.0.post8", python_tag="cp39", platform_tag=f"linux_{machine}")
    assert [wheel.name for wheel in wheels] == [f"torch_npu-2.1.0.post8-cp39-cp39-linux_{machine}.whl", f"apex-0.1+ascend-cp39-cp39-linux_{machine}.whl"]
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            about = next(name for name in archive.namelist() if name.endswith("/WHEEL"))
            assert f"Tag: cp39-cp39-linux_{machine}\n" in archive.read(about).decode()
            assert not [name for name in archive.namelist() if "__pycache__" in name]


def test_one_code_stands_for_several_versions(tmp_path: Path) -> None:
    first, second = (build_wheels(tmp_path, version)[0] for version in ("2.1.0.post3", "2.7.1.post8"))
    contents = []
    for wheel in (first, second):
        with zipfile.ZipFile(wheel) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name})
    assert contents[0] == contents[1]
    assert "torch_npu/dynamo/torchair/__init__.py" in contents[0]


def test_pip_installs_them_and_they_know_their_version(tmp_path: Path) -> None:
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheels = build_wheels(tmp_path / "wheels", python_tag=tag)
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, *map(str, wheels)], check=True, capture_output=True)
    program = "import apex, torch_npu, torchair; print(torch_npu.__version__, torch_npu.__file__, apex.__file__)"
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(target)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2.1.0.post3", str(target / "torch_npu" / "__init__.py"), str(target / "apex" / "__init__.py")]
    assert (target / "torch_npu" / "npu" / "__init__.py").is_file()


def test_record_names_every_file_with_its_sum(tmp_path: Path) -> None:
    for wheel in build_wheels(tmp_path):
        with zipfile.ZipFile(wheel) as archive:
            record = next(name for name in archive.namelist() if name.endswith("/RECORD"))
            named = {line.split(",")[0]: line.split(",")[1:] for line in archive.read(record).decode().splitlines()}
            assert sorted(named) == sorted(archive.namelist())
            assert named.pop(record) == ["", ""]
            assert {name: int(size) for name, (_, size) in named.items()} == {name: archive.getinfo(name).file_size for name in named}
