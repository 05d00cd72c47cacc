"""A folder of a Python package as one file that Python runs."""
from __future__ import annotations

DOCUMENTATION = r"""
name: program_zip
short_description: A folder of a Python package as one file that Python runs
description:
  - Packs a folder of a role into a zip archive whose C(__main__.py) calls C(main) of the package's module C(entry). The same files give the same archive.
options:
  _input:
    description: Path of the package on the controller.
    type: path
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.raw: "echo {{ (role_path ~ '/files/cluster_check') | ascend.cluster.program_zip }} | base64 -d >/run/program.zip"
"""

RETURN = r"""
_value:
  description: The archive in base64.
  type: str
"""

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that an archive knows


def program_zip(path: str) -> str:
    """See DOCUMENTATION."""
    package = Path(path)
    files = {f"{package.name}/{one.name}": one.read_text(encoding="utf-8") for one in sorted(package.glob("*.py"))}
    files["__main__.py"] = f"from {package.name}.entry import main\nmain()\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text, zipfile.ZIP_DEFLATED)
    return base64.b64encode(packed.getvalue()).decode()


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"program_zip": program_zip}
