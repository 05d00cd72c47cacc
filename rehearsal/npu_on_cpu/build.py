"""Builds the wheels of the stand-ins, with nothing but the standard library and the same bytes every time.

They carry the names, versions and tags of the wheels they stand for, so that a rehearsal chooses and installs them as
a real site does. Formats: https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import platform
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TORCH_NPU_VERSION = "2.1.0.post3"
APEX_VERSION = "0.1+ascend"
PYTHON_TAG = "cp311"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive knows


def _entry(archive: zipfile.ZipFile, name: str, data: bytes) -> str:
    """Write ``data`` as ``name`` and return its line for RECORD."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o100644 << 16
    info.create_system = 3  # Unix, also when built elsewhere
    archive.writestr(info, data)  # stored: compressed bytes would depend on the zlib at hand
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def build_wheel(out_dir: Path, package: str, version: str, tag: str) -> Path:
    """Make the wheel of the folder ``package`` beside this file and return its path.

    ``tag`` is a PEP 425 tag such as "cp311-cp311-linux_aarch64". An existing file of the same name is replaced.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    wheel = out_dir / f"{package}-{version}-{tag}.whl"
    info = f"{package}-{version}.dist-info"
    files = sorted(path for path in (HERE / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    summary = (HERE / package / "STAND_IN").read_text(encoding="utf-8").strip()
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nSummary: {summary}\nLicense: Apache-2.0\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        record = [_entry(archive, path.relative_to(HERE).as_posix(), path.read_bytes()) for path in files]
        record.append(_entry(archive, f"{info}/METADATA", metadata.encode()))
        about = f"Wheel-Version: 1.0\nGenerator: rehearsal\nRoot-Is-Purelib: false\nTag: {tag}\n"
        record.append(_entry(archive, f"{info}/WHEEL", about.encode()))
        record.append(_entry(archive, f"{info}/top_level.txt", f"{package}\n".encode()))
        _entry(archive, f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]).encode())
    return wheel


def build_wheels(
    out_dir: Path,
    torch_npu_version: str = TORCH_NPU_VERSION,
    apex_version: str = APEX_VERSION,
    python_tag: str = PYTHON_TAG,
    abi_tag: str | None = None,
    platform_tag: str | None = None,
) -> list[Path]:
    """Make the wheels of torch_npu and apex in ``out_dir`` and return their paths, torch_npu's first.

    The tags default to CPython 3.11 on Linux of this machine's architecture (``linux_x86_64``, ``linux_aarch64``).
    """
    tag = f"{python_tag}-{abi_tag or python_tag}-{platform_tag or f'linux_{platform.machine()}'}"
    return [
        build_wheel(out_dir, "torch_npu", torch_npu_version, tag),
        build_wheel(out_dir, "apex", apex_version, tag),
    ]


def main() -> None:
    """Build into the folder given on the command line and print the paths."""
    parser = argparse.ArgumentParser(description="Build the wheels of the rehearsal's torch_npu and apex.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--torch-npu-version", default=TORCH_NPU_VERSION)
    parser.add_argument("--apex-version", default=APEX_VERSION)
    parser.add_argument("--python-tag", default=PYTHON_TAG)
    parser.add_argument("--platform-tag", help="such as linux_aarch64; this machine's by default")
    given = parser.parse_args()
    for wheel in build_wheels(given.out_dir, given.torch_npu_version, given.apex_version, given.python_tag, platform_tag=given.platform_tag):
        print(wheel)


if __name__ == "__main__":
    main()
