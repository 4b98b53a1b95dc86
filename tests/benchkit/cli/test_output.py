"""Output that cannot be written: exit code 1, one sentence or silence, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchkit.split import file as split_file

COMMANDS = (
    "show a.h5",
    "show a.h5 --json",
    "diff a.h5 a.h5",
    "verify a.h5",
    "methods",
    "--help",
    "report --help",
)

# The commands in one process each, without a second import of the heavy packages.
RUN = """
import os, sys
import benchkit.cli, benchkit.cli.show, benchkit.cli.diff, benchkit.cli.verify, benchkit.cli.methods
import benchkit.split.file, benchkit.split.summary, benchkit.split.diff, benchkit.base.terminal
import rich.console, rich.table
os.chdir(sys.argv[1])
for line in sys.argv[2:]:
    target, command = line.split(" ", 1)
    child = os.fork()
    if child == 0:
        if target == "pipe":
            reader, output = os.pipe()
            os.close(reader)
        else:
            output = os.open("/dev/full", os.O_WRONLY)
        os.dup2(output, 1)
        sys.argv = ["benchkit", *command.split(" ")]
        benchkit.cli.main()
    _, status = os.waitpid(child, 0)
    print(line, os.waitstatus_to_exitcode(status), file=sys.stderr, flush=True)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written(tmp_path: Path, make_toy: Any) -> None:
    split_file.write(make_toy(), tmp_path / "a.h5")
    lines = [f"{target} {command}" for target in ("full", "pipe") for command in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path), *lines],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    sentence = "error: the output cannot be written: No space left on device"
    expected = []
    for line in lines:
        expected += [sentence] if line.startswith("full") else []
        expected += [f"{line} 1"]
    assert done.stderr.splitlines() == expected
