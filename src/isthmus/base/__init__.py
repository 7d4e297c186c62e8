"""Floor 0: names, errors and the clock. Standard library only."""
