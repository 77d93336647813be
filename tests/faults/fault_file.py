"""The file through which tests and fault points talk: the layout is in src/base/fault_point.cpp."""

import mmap
import struct

SIZE, FIRST_POINT, POINT_SIZE, NAME_SIZE = 4096, 64, 64, 40


class FaultFile:
    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(SIZE))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), SIZE)

    def arm(self, point, nth):
        """The nth pass of this point from now on fails; 0: none does."""
        struct.pack_into("<QQ48s", self.map, 0, 0, 0, point.encode())
        struct.pack_into("<Q", self.map, 8, nth)

    def has_fired(self):
        passes, fails_at = struct.unpack_from("<QQ", self.map, 0)
        return 0 < fails_at <= passes

    def points(self):
        """{name: (passes, faults)} of every point that was passed."""
        found = {}
        for offset in range(FIRST_POINT, SIZE, POINT_SIZE):
            name, taken, faults, passes = struct.unpack_from(f"<{NAME_SIZE}sIIQ", self.map, offset)
            if taken:
                found[name.rstrip(b"\0").decode()] = (passes, faults)
        return found
