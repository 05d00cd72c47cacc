"""Stand-in of MindSpeed."""
