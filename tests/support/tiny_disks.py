"""Small file systems that are full or read-only, for tests of writers."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def mounted(options: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with a small file system mounted at its last argument."""
    mount = f'mount -t tmpfs -o {options} tmpfs "$1" && shift && exec "$@"'
    isolated = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", command[-1]]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*isolated, "true"], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system is not permitted here")
    return subprocess.run([*isolated, *command], capture_output=True, text=True)
