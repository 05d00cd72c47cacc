"""Which wheel file fits an interpreter, and which torch_npu goes with which CANN.

Runs on the controller. Names, tags and versions are read by the library packaging, which ansible-core brings; what is
here is the choice, the messages, and versions that are not PEP 440's (apex-0.1_ascend_20240424).
"""
from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from . import _artifact, _secret_urls

_LEGACY_PLATFORMS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


class WheelError(ValueError):
    """No wheel fits; the message says what was wanted, what lies there and why it does not fit."""


@dataclass(frozen=True)
class Wheel:
    """What a wheel's file name says. version is as written there."""

    filename: str
    version: str
    build: tuple[Any, ...]
    tags: frozenset[Tag]

    def parts(self, part: str) -> list[str]:
        """The interpreters, abis or platforms among the tags."""
        return sorted({getattr(tag, part) for tag in self.tags})


def is_version(version: str) -> bool:
    """Tell a version of PEP 440 from one that pip refuses since 24.1, such as 0.1_ascend_20240424."""
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True


def parse_wheel(filename: str) -> Wheel:
    """Take a wheel's file name apart. Raises WheelError when it is none (PEP 427)."""
    name, *rest = filename.split("-")
    try:
        _, _, build, tags = parse_wheel_filename("-".join([name, "0", *rest[1:]]))
    except InvalidWheelFilename:
        raise WheelError(f"{filename} is not the name of a wheel (name-version[-build]-python-abi-platform.whl)") from None
    return Wheel(filename, rest[0], build, tags)


def version_fits(found: str, wanted: str | None) -> bool:
    """Tell whether a wheel's version is the wanted one.

    wanted: an exact version (which also takes one with a local part: 2.1.0 takes 2.1.0+cpu, as PEP 440's ==
    does), a pattern with * (0.1* takes 0.1+ascend and 0.1.2, not 0.10), or none for any. Where one of the two is
    no version by PEP 440, _ and + count as the same, because older tools wrote the local part's + as _.
    """
    if not wanted:
        return True
    if is_version(found) and is_version(wanted):
        return SpecifierSet(f"=={wanted}", prereleases=True).contains(found)
    found, wanted = (text.lower().replace("_", "+") for text in (found, wanted))
    if "*" not in wanted:
        return wanted in (found, found.split("+")[0])
    parts = (re.escape(part) + (r"(?!\d)" if part[-1:].isdigit() else "") for part in wanted.split("*"))
    return re.fullmatch(".*".join(parts), found) is not None


def _version_key(version: str) -> tuple[bool, bool, Version]:
    """Order of versions: finals after development and pre-releases, as pip prefers them, then by PEP 440.

    One that is not PEP 440's comes before all that are; among such the first _ counts as the + of a local part.
    """
    try:
        key = Version(version)
    except InvalidVersion:
        text = version.replace("_", "+", 1)
        return False, False, Version(text if is_version(text) else "0")
    return True, not key.is_prerelease, key


def select_wheel(filenames: Iterable[str], name: str, tags: Sequence[str], version: str | None = None) -> str:
    """Choose the wheel of a project that fits an interpreter best.

    Args:
        filenames: file names (not paths) to choose from; those of other projects are passed over.
        name: the project, in any spelling.
        tags: the interpreter's tags as python-abi-platform, best first (packaging.tags.sys_tags()).
        version: see version_fits.

    Returns:
        The file name: of the newest version that fits, the build with the best tag, then the highest build number.

    Raises:
        WheelError: nothing fits. The message lists every file of the project with the reason.
    """
    priority = {tag: place for place, tag in reversed(list(enumerate(tags)))}
    fitting: list[tuple[tuple[bool, bool, Version], int, tuple[Any, ...], str]] = []
    reasons: list[str] = []
    for filename in sorted(filenames):
        if not filename.endswith(".whl") or canonicalize_name(filename.split("-")[0]) != canonicalize_name(name):
            continue
        try:
            wheel = parse_wheel(filename)
        except WheelError as error:
            reasons.append(str(error))
            continue
        places = [priority[tag] for tag in map(str, wheel.tags) if tag in priority]
        if not version_fits(wheel.version, version):
            reasons.append(f"{filename}: version {wheel.version}, wanted {version}")
        elif not places:
            reasons.append(f"{filename}: {why_not(wheel, tags)}")
        else:
            fitting.append((_version_key(wheel.version), -min(places), wheel.build, filename))
    if fitting:
        return max(fitting)[-1]
    wanted = f"{name} {version}" if version else name
    best = f"{tags[0]} or a lower tag of that interpreter" if tags else "no tags known"
    lies = "; ".join(reasons) if reasons else f"there is no wheel named {name}-*.whl"
    raise WheelError(f"No wheel of {wanted} fits (wanted: {best}). Found: {lies}.")


def why_not(wheel: Wheel, tags: Sequence[str]) -> str:
    """Say why no tag of a wheel is among an interpreter's tags, of which there is at least one."""
    pythons, abis, platforms = zip(*(tag.split("-", 2) for tag in tags))
    if not set(wheel.parts("interpreter")) & set(pythons):
        return f"built for {'.'.join(wheel.parts('interpreter'))}, the interpreter is {pythons[0]}"
    built = wheel.parts("abi")
    if not set(built) & set(abis):
        if any(abi.endswith("m") and abi[:-1] in abis for abi in built):
            return (f"the ABI {'.'.join(built)} does not exist: CPython dropped the flag m with 3.8, so pip refuses "
                    f"this name; get the file that its publisher named -{pythons[0]}-{pythons[0]}-")
        return f"built for the ABI {'.'.join(built)}, the interpreter has {abis[0]}"
    own, others = _arch(platforms[0]), {_arch(platform) for platform in wheel.parts("platform")}
    if not others & {own, "any"}:
        return f"built for {', '.join(sorted(others))}, the node is {own}"
    if not set(wheel.parts("platform")) & set(platforms):
        newest = next((platform for platform in platforms if platform.startswith("manylinux_")), own)
        return f"built for {'.'.join(wheel.parts('platform'))}, which is newer than the node's C library ({newest})"
    return "its python, ABI and platform tags do not go together on this interpreter"


def _arch(platform: str) -> str:
    match = re.search(r"(x86_64|aarch64|arm64|i686|ppc64le|s390x|riscv64|armv7l|amd64)$", platform)
    return match[1] if match else platform


def predict_tags(python_version: str, arch: str, glibc: str) -> list[str]:
    """Tags of a CPython that is not there yet, in the order of packaging.tags.sys_tags().

    Args:
        python_version: such as 3.8 (further parts are ignored).
        arch: as `uname -m` prints it.
        glibc: version of the node's C library, such as 2.28.
    """
    major, minor = (int(part) for part in python_version.split(".")[:2])
    libc_major, libc_minor = (int(part) for part in glibc.split(".")[:2])
    legacy = {version: name for name, version in _LEGACY_PLATFORMS.items()}
    platforms = []
    for libc in range(libc_minor, (5 if arch == "x86_64" else 17) - 1, -1):
        platforms.append(f"manylinux_{libc_major}_{libc}_{arch}")
        if (libc_major, libc) in legacy:
            platforms.append(f"{legacy[libc_major, libc]}_{arch}")
    platforms.append(f"linux_{arch}")
    own = f"cp{major}{minor}"
    abi = own + ("m" if (major, minor) < (3, 8) else "")
    tags = [*cpython_tags((major, minor), [abi], platforms), *compatible_tags((major, minor), own, platforms)]
    return [str(tag) for tag in tags]


def inspect_wheel(path: Path) -> list[str]:
    """What speaks against installing a wheel file: damage that its table of contents shows, or CUDA dependencies."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            metadata = HeaderParser().parsestr(archive.read(inside).decode())
    except (OSError, zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
        what = "no dist-info/METADATA in it" if isinstance(error, StopIteration) else str(error)
        return [f"{path} is damaged or no wheel ({what}; {path.stat().st_size} bytes): get it again."]
    cuda = sorted({need.split()[0] for need in metadata.get_all("Requires-Dist", []) if need.startswith("nvidia-")})
    if cuda:
        return [f"{path} is a CUDA build (it needs {cuda[0]} and {len(cuda) - 1} more): "
                "on x86_64 take the CPU build, whose version ends in +cpu, from PyTorch's own cpu index."]
    return []


def select_wheels(
    wanted: Sequence[Mapping[str, Any]], files: Sequence[str], folder: str, tags: Sequence[str],
    known: Mapping[str, str], pip_version: str = "", variable: str = "conda_env_wheels",
) -> dict[str, Any]:
    """Find and prove every wheel that a node is to be given, or say all that is wrong.

    Args:
        wanted: items with name and, each optional, version, src (path on the controller or url) and sha256.
        files: paths of the wheels in `folder`, where items without src are looked for.
        folder: named in messages.
        tags: of the node's interpreter, best first.
        known: SHA-256 by file name, for files whose publisher's hash is known.
        pip_version: of the node's environment, empty when not known yet.
        variable: the variable that holds `wanted`, for messages.

    Returns:
        wheels: list of name, version, filename, src, sha256; errors: list of messages (then wheels is short).
    """
    wheels: list[dict[str, str]] = []
    errors: list[str] = []
    for item in wanted:
        name, version = str(item.get("name") or ""), str(item.get("version") or "") or None
        src = str(item.get("src") or "")
        try:
            if src:
                filename = Path(unquote(urlsplit(src).path) if _artifact.is_url(src) else src).name
                select_wheel([filename], name, tags, version)
            else:
                by_name = {Path(path).name: path for path in files}
                filename = select_wheel(by_name, name, tags, version)
                src = by_name[filename]
            expected = _artifact.normal_sha256(str(item.get("sha256") or ""), f"sha256 of {name} in {variable}")
            expected = expected or known.get(filename, "")
            where, hash_variable = f"src of {name} in {variable}", f"sha256 of {name} in {variable}"
            if _artifact.is_url(src):
                _artifact.check_url(_secret_urls.mask(src), expected, where, hash_variable)
            elif Path(src).exists() or not expected:
                path, expected = _artifact.check_local(src, expected, where, hash_variable)
                errors += inspect_wheel(path)
        except WheelError as error:
            where = _secret_urls.mask(src) or folder
            errors.append(f"{error} Looked in {where}. Put a wheel that fits there, or set its src in {variable}.")
            continue
        except _artifact.ArtifactError as error:
            errors.append(str(error))
            continue
        found = parse_wheel(filename).version
        if not is_version(found) and pip_version and Version(pip_version) >= Version("24.1"):
            errors.append(
                f"{filename}: {found} is no version by PEP 440 and pip {pip_version} refuses it (pip before 24.1 does not). "
                "Take a wheel with a proper version (such as 0.1+ascend), or put an older pip into the environment "
                "(pip<24.1 in conda_env_conda_packages)."
            )
        wheels.append({"name": name, "version": found, "filename": filename, "src": src, "sha256": expected})
    return {"wheels": wheels, "errors": errors}


def pair_error(torch_npu: str, cann: str, pairs: Mapping[str, Sequence[str]]) -> str:
    """Say why a torch_npu does not go with a CANN; empty when it does, or when no version of CANN is known.

    pairs: versions of CANN by version of torch_npu; one that was built at home (2.1.0.post3+git1f2e3d4) goes with the same.
    """
    if not cann:
        return ""
    fitting = [str(version) for version in pairs.get(torch_npu, pairs.get(torch_npu.split("+")[0], []))]
    if cann.lower() in [version.lower() for version in fitting]:
        return ""
    better = [key for key, versions in pairs.items() if cann.lower() in [str(version).lower() for version in versions]]
    here = f"torch_npu {torch_npu} goes with CANN {' or '.join(fitting)}" if fitting else (
        f"torch_npu {torch_npu} is not in the table conda_env_cann_pairs")
    there = f"CANN {cann} goes with torch_npu {' or '.join(better)}" if better else f"CANN {cann} is not in the table"
    return (f"torch_npu {torch_npu} and CANN {cann} are no pair: {here}; {there}. Change the version of torch_npu in "
            "conda_env_wheels or install the CANN that fits (cann_toolkit_version), add the pair to conda_env_cann_pairs "
            "if the vendor lists it, or set conda_env_check_pair: false.")
