"""Memory that is used again, since fresh memory can cost more to get than to fill."""

import sys
import threading
from collections.abc import Sequence

import numpy as np

from ceneurovae.hints import Array

ALIGNMENT = 64  # bytes; TensorFlow takes such memory over without copying it
UNUSED = 3  # references while looking: the list, the loop and the call that counts


class Buffers:
    """Gives arrays whose memory returns to it when nobody refers to them any longer.

    Threads may share it.
    """

    def __init__(self) -> None:
        self._memories: list[Array] = []
        self._lock = threading.Lock()

    def take(self, shape: Sequence[int]) -> Array:
        """A float32 array of a shape, its contents whatever they were."""
        size = 4 * int(np.prod(shape))
        with self._lock:
            for memory in self._memories:
                fits = size + ALIGNMENT <= len(memory) <= 2 * (size + ALIGNMENT)
                if fits and sys.getrefcount(memory) <= UNUSED:
                    break
            else:
                # Up to an eighth more, so that sizes that differ a little can take turns.
                grain = 1 << max(0, size.bit_length() - 3)
                memory = np.empty(-(-size // grain) * grain + ALIGNMENT, dtype="uint8")
                self._memories.append(memory)
            skip = -memory.ctypes.data % ALIGNMENT
            return memory[skip : skip + size].view("float32").reshape(shape)
