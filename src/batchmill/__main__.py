"""``python -m batchmill`` is the ``batchmill`` command."""

from batchmill.cli.main import main

main()
