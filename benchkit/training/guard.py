"""The settings of the process while the code of a user's method runs.

A method may change torch's default dtype, NumPy's error handling or the working directory. The next
method and the metrics would then be computed under other rules. `own_settings` restores what has
changed, and says so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from baselines.core import Method
from baselines.core.errors import MethodError, is_interrupt, no_exit
from benchkit.training.rehearsal import source_file


def _set_default_device(device: torch.device) -> None:
    # A default device slows down every call, so the processor is set by setting none.
    torch.set_default_device(None if device.type == "cpu" else device)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _set_working_directory(folder: str | None) -> None:
    if folder is not None:
        with contextlib.suppress(OSError):
            os.chdir(folder)


def _interrupt_handler() -> Any:
    return signal.getsignal(signal.SIGINT)


def _set_interrupt_handler(handler: Any) -> None:
    with contextlib.suppress(ValueError):  # only the main thread may set it
        signal.signal(signal.SIGINT, handler)


# Setting -> how to read it and how to set it.
_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    # First, because the other functions may need more stack than a user's limit leaves.
    "Python's recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "the working directory": (_working_directory, _set_working_directory),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, _set_default_device),
    "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's inference mode": (torch.is_inference_mode_enabled, lambda _: None),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's precision of matrix products": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "torch's deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "the handler of Ctrl-C": (_interrupt_handler, _set_interrupt_handler),
    "NumPy's error handling": (np.geterr, lambda handling: np.seterr(**handling)),
}
# Restored without a message.
_HOOKS: tuple[tuple[ModuleType, str], ...] = (
    (sys, "stdout"),
    (sys, "stderr"),
    (sys, "excepthook"),
    (sys, "unraisablehook"),
    (threading, "excepthook"),
)


def place_of(method: type[Method]) -> str:
    """The name of the file of a user's method, or the key of a built-in method."""
    file = source_file(method)
    if file is None or method.__module__.startswith("baselines."):
        return f"method '{method.info.key}'"
    return Path(file).name


@contextlib.contextmanager
def own_settings(place: str, *, refuse: bool) -> Iterator[None]:
    """Run the code of a method; afterwards the settings of the process are as before.

    Calls of `os._exit` and of the `os.exec` functions raise an exception meanwhile. Filters of
    warnings, both output streams, the hooks for exceptions, and what was removed from `sys.path` or
    replaced in `sys.modules` are restored without a message.

    Args:
        place: the file of the method, for messages.
        refuse: whether a changed setting is an error. Otherwise it is a warning.

    Raises:
        MethodError: `refuse`, and the code has changed a setting.
    """
    before = {name: read() for name, (read, _) in _SETTINGS.items()}
    hooks = [getattr(module, name) for module, name in _HOOKS]
    path, modules = list(sys.path), dict(sys.modules)
    changed: list[str] = []
    try:
        with no_exit(), warnings.catch_warnings():
            yield
    except BaseException as error:
        changed = _restored(before)
        if changed and refuse and not is_interrupt(error):
            raise _refusal(place, changed) from error
        raise
    else:
        changed = _restored(before)
    finally:
        for (module, name), hook in zip(_HOOKS, hooks, strict=True):
            setattr(module, name, hook)
        sys.path += [entry for entry in path if entry not in sys.path]
        sys.modules.update(modules)
    if changed and refuse:
        raise _refusal(place, changed)
    if changed:
        text = f"{place} changes {_listed(changed)}; the change was undone"
        warnings.warn(text, stacklevel=3)


def _restored(before: Mapping[str, Any]) -> list[str]:
    """Restore the settings; returns the names of those that had changed."""
    changed = []
    for name, (read, write) in _SETTINGS.items():
        if read() != before[name]:
            write(before[name])
            changed.append(name)
    return changed


def _refusal(place: str, changed: list[str]) -> MethodError:
    return MethodError(
        f"{place} changes {_listed(changed)}; a method must leave the settings of the process "
        "unchanged"
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
