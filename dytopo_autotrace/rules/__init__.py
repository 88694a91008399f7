"""TOML in, compiled rules out: what to watch, and what to read from it."""
