"""Installs the package and the command ``ascendspeed``."""
from pathlib import Path

import setuptools

setuptools.setup(
    name="ascendspeed",
    version="0.0.1",
    description="Stand-in of AscendSpeed for rehearsals",
    python_requires=">=3.8",
    # As upstream: folders without __init__.py are left out, so that only an editable install is whole.
    packages=setuptools.find_packages(),
    package_data={"ascendspeed": ["*.json", "**/*.patch"]},
    install_requires=Path("requirements.txt").read_text().split(),
    entry_points={"console_scripts": ["ascendspeed = ascendspeed.run.run:main"]},
    zip_safe=False,
)
