"""Blocks that follow each other use the same memory, instead of new memory for each."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_BLOCKS = 100
_PROGRAM = f"""
import resource, sys
from toolkit_client.transfer.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range({_BLOCKS}):
    both = bytearray(1 << 20), bytearray(1 << 20)
    del both
print(faults() - before)
"""


def _faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's way with memory")
def test_freed_memory_is_used_again() -> None:
    pages = 2 * (1 << 20) // 4096
    assert _faults("kept") < 4 * pages
    assert _faults("default") > _BLOCKS * pages / 4  # else there is nothing to do any more
