"""A pretend cluster on one machine: containers for nodes, simulated hardware, a small real training.

Everything that is simulated lies in this package; the roles and playbooks know nothing of it.

- ``__main__``, ``report``, ``plans/``: ``make rehearsal``, what a person sees of it, and variables that change it.
- ``containers``, ``machines``: the nodes, as containers or as virtual machines; ``nodes``: what both share.
- ``artifacts``: all that nodes are given, built once. It is made by ``hardware`` (npu-smi, CANN, conda), ``npu_on_cpu`` (torch_npu, apex),
  ``upstream`` (Megatron-LM and AscendSpeed), ``wheelhouse`` (Python packages) and ``synthetic`` (text and tokenizer).
"""
