"""Failed requests for memory are recognised, with the size that was requested."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from benchkit.base.memory import shortage

END = "; free some, or raise the limit of the process"
CASES = [
    (MemoryError(), "there is not enough memory"),
    (
        MemoryError("Unable to allocate 16.0 MiB for an array with shape (8192, 256)"),
        "there is not enough memory for another 16.0 MiB",
    ),
    (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 819200000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        "there is not enough memory for another 781.2 MiB",
    ),
    (
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity"),
        "there is not enough memory on the GPU for another 20.0 GiB",
    ),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "there is not enough memory"),
    (RuntimeError("can't start new thread"), "there is not enough memory for another thread"),
    (
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        "there is not enough memory to load the libraries",
    ),
]


@pytest.mark.parametrize(("error", "sentence"), CASES)
def test_a_shortage_is_a_sentence(error: BaseException, sentence: str) -> None:
    assert shortage(error) == sentence + END


class Unprintable(RuntimeError):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the size of tensor a must match"),
        ImportError("no module named torch"),
        OSError(errno.ENOENT, "No such file or directory"),
        KeyboardInterrupt(),
        Unprintable(),
    ],
)
def test_other_errors_are_none(error: BaseException) -> None:
    assert shortage(error) is None


LIMITED = """
import resource, sys
from unittest import mock
import numpy as np
import benchkit.cli

def large(*_, **__):
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    return np.ones(2**29)

sys.argv[:2] = ["benchkit"]
with mock.patch(sys.orig_argv[3], large):
    benchkit.cli.main()
"""


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        ("benchkit.split.file.read", ["show", __file__], 1),
        ("benchkit.cli.diff._compare", ["diff", __file__, __file__], 2),  # 1 means different splits
    ],
)
def test_the_command_line_reports_a_shortage_in_one_line(
    function: str, arguments: list[str], code: int
) -> None:
    command = [sys.executable, "-c", LIMITED, function, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    sentence = f"error: there is not enough memory for another 4.0 GiB{END}\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", sentence)
