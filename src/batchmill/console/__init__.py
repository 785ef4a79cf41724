"""The human door: pages that a browser shows, over the use-cases that the API opens to.

No rule of batches, files or money lives here, and nothing is stored: a page
asks the services (``pages``), works out what is shown (``view``), and a template
shows it. Bytes stream through (``transfer``).
"""

from batchmill.console.app import BASE, Fittings, create_console

__all__ = ["BASE", "Fittings", "create_console"]
