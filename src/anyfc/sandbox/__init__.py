"""Where a process lives: start, bound, freeze, end."""
