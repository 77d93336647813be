import dataclasses
import shutil
from pathlib import Path

import pytest
from gale_server import NANO_FLASH, free_port
from installed_service import get, processes, service
from killing import is_there, wait_for


@dataclasses.dataclass
class Installed:
    """A service that runs. `program` is a link to the gale that is started next."""

    binary: Path
    program: Path
    folder: Path
    port: int
    ui_port: int
    flags: list

    def do(self, action):
        return service(self.binary, action, *self.flags, timeout=300)


@pytest.fixture(scope="module")
def installed(binary, tmp_path_factory):
    if not shutil.which("supervisord"):
        pytest.fail("supervisor is not installed: ./check installs it")
    base = tmp_path_factory.mktemp("service")
    folder, program = base / "gale", base / "program"
    program.symlink_to(Path(binary).resolve())
    port, ui_port = free_port(), free_port()
    flags = ["--manager", "supervisor", "--folder", folder]
    told = service(
        *(binary, "install", "--model", NANO_FLASH, "--program", program, "--port", port, "--ui-port", ui_port, *flags)
    )
    assert told.returncode == 0, told.stdout + told.stderr
    try:
        wait_for(lambda: get(port, "/ready")[0] == 200, "the API is ready", 120)
        wait_for(lambda: get(ui_port)[0] == 200, "the page answers", 120)
        yield Installed(binary, program, folder, port, ui_port, flags)
    finally:
        gone = processes(folder)
        told = service(binary, "uninstall", *flags)
        assert told.returncode == 0, told.stdout + told.stderr
        assert not folder.exists()
        assert not any(is_there(pid) for pid in gone.values())
        with pytest.raises(OSError):
            get(port, "/live")
