"""Memory that is freed in training is kept for the next tensor."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from gancli.training import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
torch.set_num_threads(1)
faults = []
for _ in range(8):
    tensor = torch.ones(2**24)  # 64 MiB: above what glibc keeps by itself
    del tensor
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[3])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory its own way")
def test_freed_memory_is_kept() -> None:
    faults = {}
    for way in ("kept", "given back"):
        done = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True)
        faults[way] = int(done.stdout)
    assert faults["kept"] < 1000 < 10_000 < faults["given back"], faults
