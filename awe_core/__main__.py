"""The program ``awe``, also as ``python -m awe_core``.

Until the command line stands, Ctrl-C ends the process as the system does it: an interrupted import
has nothing to clean up and nothing to say.
"""

from __future__ import annotations

import signal
from typing import NoReturn

_before = signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> NoReturn:
    """Import the command line and hand over to it."""
    from awe_core import cli  # noqa: PLC0415 - under the handler above, or it would be pointless

    signal.signal(signal.SIGINT, _before)
    cli.main()


if __name__ == "__main__":
    main()
