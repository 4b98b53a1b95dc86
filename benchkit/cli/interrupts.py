"""Ctrl-C on the command line: it ends the process once, and is never lost.

Python raises KeyboardInterrupt wherever the main thread is. Inside an import it may abort the
process or turn into another exception, inside h5py it leaves a file that HDF5 cannot close, and
inside a finaliser or a weakref callback Python drops it. The handler of this module waits for
imports and for h5py, and repeats an interrupt that was dropped. The trainer also looks for
interrupts that a method caught; see `baselines.core.errors.Interrupt`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

WAITING_LIMIT = 10.0  # seconds; a user's method may hang while it is being imported

_DELAY = 0.05  # seconds until an interrupt is tried again
_IMPORTING = "<frozen importlib._bootstrap>"
_H5PY = f"{os.sep}h5py{os.sep}"  # in the name of a file


class Handler:
    """The handler of SIGINT.

    PyTorch imports some of its modules when the first optimiser is made. An interrupt there aborts
    the process inside compiled code, or becomes a RuntimeError inside a class definition.
    """

    def __init__(self) -> None:
        self.until = 0.0
        self.kind: type[KeyboardInterrupt] = KeyboardInterrupt

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise an interrupt, or wait for an import or for h5py."""
        now = time.monotonic()
        self.until = self.until or now + WAITING_LIMIT
        if now <= self.until and _must_wait(frame):
            repeat()
            return
        if hasattr(self.kind, "received"):
            self.kind.received = True
        raise self.kind


def _must_wait(frame: FrameType | None) -> bool:
    """Whether a frame belongs to an import or to a call of h5py."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file == _IMPORTING or _H5PY in file:
            return True
        frame = frame.f_back
    return False


def repeat() -> None:
    """Send this process another Ctrl-C in a moment."""
    main_thread = threading.main_thread().ident
    again = threading.Timer(_DELAY, signal.pthread_kill, [main_thread, signal.SIGINT])
    again.daemon = True
    again.start()


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handle Ctrl-C by `Handler`, unless it is ignored or has another handler."""
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, Handler())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def distinguish() -> None:
    """Raise Ctrl-C as `Interrupt`, so that a method that raises KeyboardInterrupt only fails."""
    from baselines.core.errors import Interrupt  # a foreign package may hide `baselines`

    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Handler):
        handler.kind = Interrupt
    Interrupt.handled = isinstance(handler, Handler) or handler is signal.SIG_IGN
    Interrupt.received = False


def ignore() -> None:
    """Ignore further interrupts while the process ends."""
    if isinstance(signal.getsignal(signal.SIGINT), Handler):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@functools.cache  # once for a process
def ignored_at_exit() -> None:
    """Ignore interrupts while the interpreter shuts down."""
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def is_ctrl_c(error: BaseException) -> bool:
    """Whether the handler of this module raised an exception."""
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(handler, Handler) and type(error) is handler.kind
