"""Threads share one heap, in a process of its own: it cannot be taken back."""

import subprocess
import sys
from pathlib import Path

import pytest

_THREADS_THAT_WORK = """
import ctypes, sys
from threading import Barrier, Thread
from shared.memory import tune_memory

if sys.argv[2] == "tuned":
    tune_memory()
barrier = Barrier(4)

def work():
    kept = [bytes(50_000) for _ in range(100)]
    barrier.wait()

threads = [Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
c = ctypes.CDLL(None)
c.fopen.restype, c.fopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_char_p)
c.malloc_info.argtypes, c.fclose.argtypes = (ctypes.c_int, ctypes.c_void_p), (ctypes.c_void_p,)
file = c.fopen(sys.argv[1].encode(), b"w")
c.malloc_info(0, file)
c.fclose(file)
"""


@pytest.mark.io
@pytest.mark.skipif(sys.platform != "linux", reason="the C library's heaps are told of by glibc only")
def test_threads_share_one_heap(tmp_path: Path) -> None:
    heaps = {}
    for name in ("tuned", "as it is"):
        told = tmp_path / name
        subprocess.run([sys.executable, "-c", _THREADS_THAT_WORK, str(told), name], check=True, timeout=60)
        heaps[name] = told.read_text().count("<heap nr=")
    assert heaps["tuned"] == 1
    assert heaps["as it is"] > 1
