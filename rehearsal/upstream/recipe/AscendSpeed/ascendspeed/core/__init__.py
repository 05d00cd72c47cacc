"""Stand-in of AscendSpeed."""
