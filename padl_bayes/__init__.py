"""Parsimoniously activated dictionary learning with uncertainty."""

__version__ = "0.1.0"
