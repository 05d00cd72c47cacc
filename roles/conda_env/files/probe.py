"""Print as JSON what the conda environment is like.

Arguments: conda folder, environment folder, wheelhouse folder, command that runs programs under the environment file, file with the
list of packages.
Run by the environment's python, or by the system's while there is none.
"""
import glob
import json
import os
import platform
import subprocess
import sys
from typing import Any, Dict

conda, env, wheelhouse, env_command, listing = sys.argv[1:6]
answer: Dict[str, Any] = {
    "conda": os.access(os.path.join(conda, "bin", "conda"), os.X_OK),
    "conda_folder": os.path.lexists(conda) and not (os.path.isdir(conda) and not os.listdir(conda)),
    "env": "absent",
    "glibc": "",
    "cann": "",
    "python": "",
    "pip": "",
    "tags": [],
    "packages": {},
    "stamp": {},
    "python_config": "",
    "listing": os.path.exists(listing),
    # Root's, unless an earlier version unpacked it as the training user, who could have changed it since.
    "wheelhouse": [os.path.basename(path)[:-9] for path in glob.glob(os.path.join(wheelhouse, "*.complete")) if os.stat(wheelhouse).st_uid == 0],
}
answer["glibc"] = platform.libc_ver()[1]
# Of several versions of CANN the one counts that the training gets.
try:
    home = subprocess.run([env_command, "printenv", "ASCEND_TOOLKIT_HOME"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    with open(os.path.join(home, platform.machine() + "-linux", "ascend_toolkit_install.info")) as stream:
        answer["cann"] = next((line.split("=", 1)[1].strip() for line in stream if line.startswith("version=")), "")
except (OSError, subprocess.CalledProcessError):
    pass
if os.path.isdir(env) and os.path.realpath(sys.prefix) == os.path.realpath(env):
    from importlib import metadata

    answer["env"] = "there"
    answer["python"] = ".".join(str(part) for part in sys.version_info[:3])
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            answer["packages"][name.lower().replace("_", "-")] = distribution.version
    answer["pip"] = answer["packages"].get("pip", "")
    try:
        from pip._vendor.packaging import tags
    except ImportError:
        pass
    else:
        answer["tags"] = [str(tag) for tag in tags.sys_tags()]
    try:
        with open(os.path.join(env, ".ascend-cluster.json")) as stream:
            answer["stamp"] = json.load(stream)
    except (OSError, ValueError):
        pass
    config = os.path.join(env, "bin", "python3-config")
    if os.path.exists(config):
        answer["python_config"] = os.path.realpath(config)
elif os.path.lexists(env):
    answer["env"] = "broken"
print(json.dumps(answer))
