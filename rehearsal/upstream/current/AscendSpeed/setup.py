"""Installs the package."""
from pathlib import Path

import setuptools

setuptools.setup(
    name="mindspeed",
    version="0.12.1",
    description="Stand-in of MindSpeed for rehearsals",
    python_requires=">=3.8",
    packages=setuptools.find_packages(),
    package_data={"mindspeed": ["*.json"]},
    install_requires=Path("requirements.txt").read_text().split(),
    zip_safe=False,
)
