"""The stand-in for conda has the real one's options, files and refusals."""
from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import pytest

from rehearsal.hardware.conda import build_conda


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_conda(tmp_path_factory.mktemp("installer"))


@pytest.fixture(scope="module")
def conda(installer: Path) -> Path:
    prefix = installer.parent / "conda"
    result = run("bash", installer, "-b", "-p", prefix)
    assert result.returncode == 0, result.stderr
    return prefix / "bin" / "conda"


def version() -> str:
    return run("/usr/bin/python3", "-c", "import platform; print(platform.python_version())").stdout.strip()


def test_the_name_is_the_real_ones(installer: Path) -> None:
    assert installer.name == f"Miniforge3-Linux-{platform.machine()}.sh"


def test_same_input_same_bytes(installer: Path, tmp_path: Path) -> None:
    assert build_conda(tmp_path).read_bytes() == installer.read_bytes()


def test_an_existing_prefix_is_refused(installer: Path, tmp_path: Path) -> None:
    result = run("bash", installer, "-b", "-p", tmp_path)
    assert result.returncode == 1
    assert f"ERROR: File or directory already exists: '{tmp_path}'" in result.stderr
    assert "use the -u option" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options, message", [
    (["-x"], "did not recognize option"),
    (["-b", "-p", "/nonexistent/x", "more"], "did not recognize option 'more'"),
    (["-p", "/nonexistent/x"], "use -b"),
    (["-b", "-p", "/nonexistent/a b"], "spaces"),
])
def test_bad_options_of_the_installer(installer: Path, options: list[str], message: str) -> None:
    result = run("bash", installer, *options)
    assert result.returncode == 1
    assert message in result.stderr


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    result = run("bash", build_conda(tmp_path, other), "-b", "-p", tmp_path / "conda")
    assert result.returncode == 1
    assert "does not appear to be" in result.stderr
    assert not (tmp_path / "conda").exists()


def test_a_python_it_does_not_have_is_refused(conda: Path) -> None:
    result = run(conda, "create", "-y", "-n", "old", "python=3.8", "pip<24.1")
    assert result.returncode == 1
    assert "PackagesNotFoundError: The following packages are not available from current channels" in result.stderr
    assert "  - python=3.8*" in result.stderr
    assert not (conda.parent.parent / "envs" / "old").exists()


@pytest.mark.parametrize("words", [["create", "--unknown"], ["install", "x"], ["create", "--over"], ["env", "nothing"]])
def test_unknown_options_are_refused(conda: Path, words: list[str]) -> None:
    assert run(conda, *words).returncode == 2


def test_override_channels_needs_a_channel(conda: Path) -> None:
    result = run(conda, "create", "-y", "-n", "c", "--override-channels", f"python={version()}")
    assert result.returncode == 1
    assert "--override-channels" in result.stderr


def test_an_environment(conda: Path) -> None:
    minor = ".".join(version().split(".")[:2])
    channel = ["--override-channels", "-c", "https://mirror.example/conda-forge", "--offline"]
    result = run(conda, "create", "-y", "-n", "test", *channel, f"python={minor}", "pip<24.1")
    assert result.returncode == 0, result.stderr
    env = conda.parent.parent / "envs" / "test"
    assert str(env) in json.loads(run(conda, "env", "list", "--json").stdout)["envs"]
    assert run(env / "bin" / "python", "-c", "import sys; print(sys.prefix)").stdout.strip() == str(env)
    assert run(env / "bin" / "python", "-m", "pip", "--version").returncode == 0
    names = {package["name"] for package in json.loads(run(conda, "list", "-n", "test", "--json").stdout)}
    assert "pip" in names

    config = env / "bin" / "python3-config"
    assert not config.is_symlink()
    suffix = run(env / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))").stdout
    assert run(config, "--extension-suffix").stdout == suffix
    assert run(config, "--prefix").stdout.strip() == str(env)
    assert run(config, "--unknown").returncode == 1

    again = run(conda, "create", "-y", "-n", "test", f"python={minor}")
    assert again.returncode == 1
    assert "prefix already exists" in again.stderr
    assert run(conda, "env", "remove", "-y", "-n", "test").returncode == 0
    assert not env.exists()
