"""Puts advice around the host's functions and takes it out again: the only code that touches the host."""
