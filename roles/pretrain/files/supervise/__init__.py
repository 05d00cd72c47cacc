"""The supervisor of a training: one on each node, and the hub where they meet on the master. docs/run.md says what it does.

coordinator.py  the run's states, without I/O          nodes.py     what the nodes last said
hub.py          the members' connections               status.py    what is answered to those who ask
door.py         who may come in                        link.py      a connection from the other side
member.py       obeys on one node                      job.py       the launch script and all below it
children.py     what is below us, and its end          looks.py     what a node's run folder tells: ranks.py, progress.py, checkpoints.py
config.py       its one file of settings               kept.py      what survives a restart
evidence.py     why it ended, by its logs
processes.py, stacks.py, training_log.py and all that begin with _ are links to plugins/module_utils.
"""
