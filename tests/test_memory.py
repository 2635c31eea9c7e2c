"""Memory that is freed in training is kept for the next tensor."""

import platform
import subprocess
import sys

import pytest

# glibc's own account of the heap: the system's reclaiming of pages does not change it, as it would a count of faults.
HEAP = """
import ctypes, sys, torch
from gancli.training.surroundings import keep_memory

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Heap
if sys.argv[1] == "kept":
    keep_memory()
torch.set_num_threads(1)
for _ in range(8):
    tensor = torch.ones(2**24)  # 64 MiB: above what glibc keeps by itself
    del tensor
print(mallinfo().fordblks)
"""
TENSOR = 2**26


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 33),
    reason="only glibc 2.33 and newer tell how much freed memory they keep",
)
def test_freed_memory_is_kept() -> None:
    free = {}
    for way in ("kept", "given back"):
        done = subprocess.run([sys.executable, "-c", HEAP, way], capture_output=True, text=True, check=True)
        free[way] = int(done.stdout)
    assert free["given back"] < TENSOR <= free["kept"], free
