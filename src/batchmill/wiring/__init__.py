"""Wiring: settings in, running parts out. The only place where parts meet.

Nothing is decided here; every rule stands with the part that it belongs to.
Import what you need from ``parts``, ``engine`` or ``api``: each process of a
server loads only its own.
"""
