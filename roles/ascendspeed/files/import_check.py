"""Import AscendSpeed and what the hooks need: python import_check.py FOLDER-OF-HOOKS ADAPTOR HOOK,…, in the folder of Megatron-LM."""
import importlib
import sys

sys.path[:0] = ["", sys.argv[1]]
importlib.import_module("torch")  # as in pretrain_gpt.py: MindSpeed's adaptor comes after it
importlib.import_module(sys.argv[2])
for name in sys.argv[3].split(","):
    hook = importlib.import_module(f"ascend_cluster_hooks.{name}")
    if name == "deterministic":
        print(hook.find_seed_all()[1])
