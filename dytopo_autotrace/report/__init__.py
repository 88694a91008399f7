"""Findings to something a person reads; nothing is computed here."""

from dytopo_autotrace.report.child import show

__all__ = ["show"]
