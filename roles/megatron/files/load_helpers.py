"""Load Megatron-LM's compiled helpers, with the environment's Python: python load_helpers.py FOLDER MODULE.

By their file: importing megatron.core would bring in torch and all the rest. Prints nothing when they load and are not older than
their source, and what is wrong otherwise.
"""
import os
import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location


def wrong(folder: str, name: str) -> str:
    """What is wrong with the helpers, or nothing."""
    source, library = os.path.join(folder, "helpers.cpp"), os.path.join(folder, name + str(sysconfig.get_config_var("EXT_SUFFIX")))
    try:
        if os.path.exists(source) and os.path.getmtime(library) < os.path.getmtime(source):
            return f"{library} is older than its source"
        spec = spec_from_file_location(name, library)
        module = module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        return "" if any(one.startswith("build_sample_idx") for one in dir(module)) else f"{library} has no build_sample_idx"
    except (ImportError, OSError) as error:
        return str(error)


if __name__ == "__main__":
    found = wrong(*sys.argv[1:])
    if found:
        print(found)
