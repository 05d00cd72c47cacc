"""Simulated Miniforge installer: the interface of the real one around a stand-in for conda.

python -m rehearsal.hardware.conda OUT_DIR [ARCH]
"""
from __future__ import annotations

import platform
import sys
from pathlib import Path

HERE = Path(__file__).parent


def build_conda(out_dir: Path, arch: str = "") -> Path:
    """Build Miniforge3-Linux-<arch>.sh; the same input gives the same bytes. Returns its path.

    arch: as `uname -m` prints it; this machine's by default.
    """
    arch = arch or platform.machine()
    out_dir.mkdir(parents=True, exist_ok=True)
    program = (HERE / "conda_program.py").read_text().rstrip("\n")
    text = (HERE / "conda_installer.sh").read_text().replace("@ARCH@", arch).replace("@CONDA@", program)
    target = out_dir / f"Miniforge3-Linux-{arch}.sh"
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
    target.chmod(0o755)
    return target


if __name__ == "__main__":
    print(build_conda(Path(sys.argv[1]), *sys.argv[2:3]))
