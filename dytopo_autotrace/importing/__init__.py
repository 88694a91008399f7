"""Reads what other tools recorded, so that it gets the same analysis: one format, one file."""

from dytopo_autotrace.importing.read import parse, read

__all__ = ["parse", "read"]
