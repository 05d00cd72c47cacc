"""What another commit of the training code still has of what a stack relies on: ``python -m rehearsal.check_upstream``."""
