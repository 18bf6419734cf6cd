"""Klankbord: listens to what candidates say about an employer, and measures it."""

from importlib.metadata import version

__version__ = version("klankbord")
