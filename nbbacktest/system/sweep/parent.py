"""A sweep's processes end with the process that started them, however that one dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

_LOOK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def end_with(parent: int) -> None:
    """End this process when process `parent`, which started it, is gone.

    Linux does it by a signal. Elsewhere on POSIX a thread looks once a second; on Windows nothing is done.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    elif sys.platform != "win32":
        threading.Thread(target=_watch, args=(parent,), name="nbbacktest-parent", daemon=True).start()
    if sys.platform != "win32" and os.getppid() != parent:  # it died before the signal was asked for
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
