"""Import AscendSpeed and what the hooks need: python import_check.py HOOKS PACKAGE, in the folder of Megatron-LM."""
import importlib
import sys

sys.path[:0] = ["", sys.argv[1]]
importlib.import_module(sys.argv[2] + ".megatron_adaptor")
deterministic = importlib.import_module("ascend_cluster_hooks.deterministic")
print(deterministic.find_seed_all()[1])
