"""A package as hosts are: it knows nothing of us, and does what Python allows."""

from patient.plain import add

__all__ = ["add"]
