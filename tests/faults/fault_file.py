"""The file through which tests and fault points talk: the layout is in src/base/fault_point.cpp."""

import itertools
import mmap
import shutil
import struct
import subprocess

FIRST_POINT, POINT_SIZE, NAME_SIZE = 64, 64, 40
FIRST_PATH, NUM_PATHS = 4096, 1 << 18
FIRST_CALL, NUM_CALLS = FIRST_PATH + 8 * NUM_PATHS, 64
SIZE = FIRST_CALL + 8 * NUM_CALLS
NEW_PATH = (1 << 64) - 1


class FaultFile:
    def __init__(self, path):
        self.path = path
        self.file = open(path, "w+b")
        self.file.truncate(SIZE)
        self.map = mmap.mmap(self.file.fileno(), SIZE)

    def arm(self, point, nth):
        """The nth pass of this point from now on fails; 0: none does; NEW_PATH: the first that was called from where
        no pass has failed in this file."""
        struct.pack_into("<QQ48s", self.map, 0, 0, 0, point.encode())
        struct.pack_into("<Q", self.map, 8, nth)

    def forget_paths(self):
        self.map[FIRST_PATH:FIRST_CALL] = bytes(FIRST_CALL - FIRST_PATH)

    def failed(self):
        """The pass that did, 0 if none."""
        passes, fails_at = struct.unpack_from("<QQ", self.map, 0)
        return fails_at if fails_at <= passes else 0

    def calls(self, binary):
        """Where in the program the last failure was called from: names, the innermost first."""
        offsets = struct.unpack_from(f"<{NUM_CALLS}Q", self.map, FIRST_CALL)
        found = [hex(offset) for offset in itertools.takewhile(bool, offsets)]
        if not found or not shutil.which("addr2line"):
            return found
        command = ["addr2line", "-Cfs", "-e", str(binary), *found]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        return lines[::2]

    def has_fired(self):
        return self.failed() > 0

    def num_passes(self):
        return struct.unpack_from("<Q", self.map, 0)[0]

    def points(self):
        """{name: (passes, faults)} of every point that was passed."""
        found = {}
        for offset in range(FIRST_POINT, FIRST_PATH, POINT_SIZE):
            name, taken, faults, passes = struct.unpack_from(f"<{NAME_SIZE}sIIQ", self.map, offset)
            if taken:
                found[name.rstrip(b"\0").decode()] = (passes, faults)
        return found
