"""Where threads allocate from, and what is given back."""

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


# Forty megabytes are allocated, written to and freed, ten times: pages that the system hands out.
FAULTS = """
import ctypes, resource, sys
from ceneurovae.arenas import keeping_memory

C = ctypes.CDLL(None)
C.malloc.restype, C.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
C.memset.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
C.free.argtypes = [ctypes.c_void_p]

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        array = C.malloc(40_000_000)
        C.memset(array, 1, 40_000_000)
        C.free(array)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

with keeping_memory(large=sys.argv[1] == "large"):
    pages()
    kept, held = pages(), resident()
print(kept, pages(), held - resident())
"""


@pytest.mark.once
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
@pytest.mark.parametrize("which", ["large", "small"])
def test_freed_memory_is_kept_for_the_next_step_and_given_back_at_the_end(which):
    command = [sys.executable, "-c", FAULTS, which]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kept, afterwards, returned = map(int, shown.split())
    if which == "large":
        assert kept < 0.01 * afterwards
        assert returned > 35_000_000
    else:  # forty megabytes have pages of their own, which leave no hole
        assert kept > 0.9 * afterwards
        assert returned < 5_000_000
