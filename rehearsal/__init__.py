"""A pretend cluster on one machine: containers for nodes, simulated hardware, a small real training.

Everything that is simulated lies in this package; the roles and playbooks know nothing of it.
"""
