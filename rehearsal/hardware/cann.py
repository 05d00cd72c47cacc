"""Simulated CANN archives: the vendor's names, options, messages and files, and nothing inside.

python -m rehearsal.hardware.cann OUT_DIR [VERSION] [ARCH]
"""
from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
INNERVERSIONS = {"8.0.RC1": "V100R001C17SPC001B289", "8.0.0": "V100R001C20SPC001B251"}
README = """Simulated for the rehearsal.

This archive stands in for a package of the CANN toolkit of the same name. It
contains no vendor software and computes nothing: it writes the files by which
an installed package is recognized.
"""


def build_cann(out_dir: Path, version: str = "8.0.RC1", arch: str = "") -> list[Path]:
    """Build the toolkit and kernels (from 8.5 on: operators') archives of a version, named as the vendor names them.

    arch: as `uname -m` prints it; this machine's by default. The same input gives the same bytes.
    Needs the program makeself (Debian package makeself). Returns the paths, toolkit first.
    """
    arch = arch or platform.machine()
    out_dir.mkdir(parents=True, exist_ok=True)
    toolkit = out_dir / f"Ascend-cann-toolkit_{version}_linux-{arch}.run"
    new = [int(number) for number in re.findall(r"\d+", version)[:2]] >= [8, 5]
    # The kernels' name got the architecture with 8.0.RC3.
    kernels = out_dir / (f"Ascend-cann-910b-ops_{version}_linux-{arch}.run" if new else f"Ascend-cann-kernels-910b_{version}_linux.run"
                         if re.match(r"[1-7]\.|8\.0\.RC[12]", version) else f"Ascend-cann-kernels-910b_{version}_linux-{arch}.run")
    layout = "new" if new else "old"
    _build(toolkit, "toolkit", "Toolkit", version, arch, layout)
    _build(kernels, "kernels", "Kernels", version, "any" if kernels.name.endswith("_linux.run") else arch, layout)
    return [toolkit, kernels]


def _build(target: Path, package: str, label: str, version: str, arch: str, layout: str) -> None:
    makeself = shutil.which("makeself")
    if makeself is None:
        raise FileNotFoundError("the program makeself is missing: apt-get install makeself")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "archive"
        (folder / "content").mkdir(parents=True)
        (folder / "README").write_text(README)
        (folder / "content" / "README").write_text(README)
        shutil.copy(HERE / "cann_install.sh", folder / "install.sh")
        settings = {
            "package": package,
            "label": label,
            "title": target.stem,
            "version": version,
            "innerversion": INNERVERSIONS.get(version, "V100R001C00B000"),
            "arch": arch,
            "layout": layout,
        }
        (folder / "package.env").write_text("".join(f"{key}='{value}'\n" for key, value in settings.items()))
        built = Path(name) / target.name
        # Uncompressed, because gzip would put the time of the build into the archive.
        options = ["--quiet", "--nocomp", "--sha256", "--nomd5", "--nocrc", "--tar-format", "gnu"]
        options += ["--tar-extra", "--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX"]
        options += ["--header", str(HERE / "cann_header.sh")]
        about = f"{target.stem}, simulated for the rehearsal"
        subprocess.run([makeself, *options, str(folder), str(built), about, "./install.sh"], check=True)
        shutil.move(built, target)


if __name__ == "__main__":
    for archive in build_cann(Path(sys.argv[1]), *sys.argv[2:4]):
        print(archive)
