"""Where threads allocate from."""

import platform
import subprocess
import sys

import pytest

# Eight threads allocate at the same time; how many arenas that took is counted by glibc itself.
COUNT = """
import ctypes, sys, threading
from ceneurovae.arenas import share_one_arena

if sys.argv[1] == "shared":
    assert share_one_arena()
C = ctypes.CDLL(None)
for name in ("malloc", "fopen"):
    getattr(C, name).restype = ctypes.c_void_p
everyone = threading.Barrier(8)

def allocate():
    everyone.wait()
    C.malloc(1000)
    everyone.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(C.fopen(sys.argv[2].encode(), b"w"))
C.malloc_info(0, file)
C.fclose(file)
"""


def arenas(how, path):
    """How many arenas there are in a process of several threads."""
    subprocess.run([sys.executable, "-c", COUNT, how, str(path)], check=True)
    return path.read_text().count("<heap nr=")


@pytest.mark.once
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_threads_share_one_arena(tmp_path):
    assert arenas("shared", tmp_path / "shared.xml") == 1
    assert arenas("as usual", tmp_path / "usual.xml") > 1
