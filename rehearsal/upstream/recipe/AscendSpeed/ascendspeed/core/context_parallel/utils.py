"""Imported at start, from a folder without ``__init__.py``, as upstream has several: install editable."""

ALGORITHMS = ("ulysses_cp_algo", "megatron_cp_algo")
