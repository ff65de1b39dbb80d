"""``python ready.py 200000000`` uses so many bytes of memory and frees them."""

import mmap
import sys

_STEP = 8 << 20

pieces = []
for _ in range(0, int(sys.argv[1]), _STEP):
    piece = mmap.mmap(-1, _STEP, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        piece.madvise(mmap.MADV_HUGEPAGE)
    piece[:: mmap.PAGESIZE] = bytes(_STEP // mmap.PAGESIZE)
    pieces.append(piece)
