"""Several processes on one machine that do a piece of work together.

The processes are forked, so they share the features of a split in memory, and know methods that are
defined in the calling program. Each has one thread. Measured on two cores that other programs used
as well, for stacks of 9 and 16 runs of BCE with D = 1408 and C = 80, two processes with one thread
each did 3.7 and 4.6 times the work of one process with two threads, which wait for each other.

A worker ends with the process that started it: on Ctrl-C it is asked to, and it looks for its
parent after every epoch.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

import torch

from baselines.core.errors import Interrupt
from benchkit.base.errors import BenchkitError

Send = Callable[[Any], None]
"""Sends a message, a JSON value, to the process that started the worker."""

Work = Callable[[Send], None]

_PATIENCE = 10.0  # seconds until a worker that does not end is killed


def worker_count(pieces: int) -> int:
    """The number of processes for some pieces of work; 1 where processes cannot be forked safely.

    A process that may use a GPU cannot be forked.
    """
    if sys.platform != "linux" or torch.cuda.is_available():
        return 1
    return max(1, min(torch.get_num_threads(), pieces))


def run(count: int, work: Work, receive: Send) -> None:
    """Do a piece of work in several processes, or in this one if `count` is 1.

    Args:
        count: the number of processes.
        work: called in every process with a function that sends a message.
        receive: called in this process with every message.

    Raises:
        BenchkitError: a worker ended by an error or was killed. The first error of a worker that is
            a `BenchkitError` is raised as such.
    """
    if count == 1:
        work(receive)
        return
    context = multiprocessing.get_context("fork")
    processes, pipes = [], []
    try:
        for _ in range(count):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(work, writer, os.getpid()), daemon=True)
            process.start()
            writer.close()
            processes.append(process)
            pipes.append(reader)
        _receive_all(pipes, receive)
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
    codes = [process.exitcode for process in processes if process.exitcode]
    if codes:
        raise BenchkitError(
            f"a process that trained draws was ended (exit code {codes[0]}); start the same "
            "command again, finished draws are kept"
        )


def _receive_all(pipes: list[Connection], receive: Send) -> None:
    """Pass on messages until every worker has closed its pipe."""
    open_pipes = list(pipes)
    while open_pipes:
        for pipe in wait(open_pipes):
            assert isinstance(pipe, Connection)
            try:
                kind, value = json.loads(pipe.recv_bytes())
            except EOFError:
                open_pipes.remove(pipe)
                continue
            if kind == "sentence":
                raise BenchkitError(value)
            if kind == "trace":
                raise RuntimeError(f"a worker failed:\n{value}")
            receive(value)


def _work(work: Work, pipe: Connection, parent: int) -> None:
    """The main function of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    signal.signal(signal.SIGTERM, _interrupt)
    Interrupt.handled, Interrupt.received = True, False
    torch.set_num_threads(1)

    def send(message: Any) -> None:
        if os.getppid() != parent:
            _interrupt(signal.SIGTERM, None)
        _send(pipe, "message", message)

    try:
        work(send)
    except Interrupt:
        pass
    except BaseException as error:
        with contextlib.suppress(OSError):
            if isinstance(error, BenchkitError):
                _send(pipe, "sentence", str(error))
            else:
                _send(pipe, "trace", "".join(traceback.format_exception(error)))
    finally:
        pipe.close()


def _send(pipe: Connection, kind: str, value: Any) -> None:
    pipe.send_bytes(json.dumps([kind, value]).encode())


def _interrupt(number: int, frame: FrameType | None) -> None:
    Interrupt.received = True
    raise Interrupt
