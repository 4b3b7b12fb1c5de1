"""SIGTERM, in a process that owns a home: it leaves as one that is interrupted, within 2 s.

The signal is taken only where the program left it to the system, by which the process would just
die; only in the main thread, as Python demands; and only while the home is owned.  The second one
meets the system's default again and ends the process at once: a crash, and crashes are legal.  So
does the end of the 2 s, whatever still runs then.  SIGINT stays Python's own: `KeyboardInterrupt`,
or the task that `asyncio.run` cancels.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_CODE = 143  #: of a process that SIGTERM ended
_LONGEST_S = 1.9


class Termination:
    """What SIGTERM does from now on until a home is left; the leaving itself is its ``with``."""

    def __init__(self, leave: Callable[[], object]) -> None:
        """Have the first one call *leave*, in the main thread, between any two of its steps."""
        self._leave, self._pid = leave, os.getpid()
        self._came = self._is_leaving = False
        is_main = threading.current_thread() is threading.main_thread()
        self._is_taken = is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if self._is_taken:
            signal.signal(signal.SIGTERM, self._terminate)

    def __enter__(self) -> None:
        """Call *leave* no more: the home is being left."""
        self._is_leaving = True

    def __exit__(self, *_: object) -> None:
        """Give the signal back.

        :raises SystemExit: it came; 143
        """
        if self._came:
            raise SystemExit(EXIT_CODE)
        if self._is_taken:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _terminate(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != self._pid:  # a fork, which owns nothing
            os.kill(os.getpid(), signal.SIGTERM)
        self._came = True
        threading.Thread(target=_give_up, name="awe-end", daemon=True).start()
        if not self._is_leaving:
            self._leave()


def _give_up() -> None:
    time.sleep(_LONGEST_S)
    os._exit(EXIT_CODE)
