"""Home of Ceph's radosgw for the tests: an S3 server that others run, with all its parts in memory on loopback.

Debian: `apt-get install --no-install-recommends radosgw ceph-mon ceph-osd`. It verifies signatures, knows conditional
PUTs, and takes some ten seconds to start.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from tests.servers import HOST, KEY_ID, SECRET, STARTS_WITHIN_S, Server, free_port, program, running

WHERE_FROM = "Debian has packages radosgw, ceph-mon and ceph-osd"
CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:{host}:{mon}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms mon client mode = crc
public addr = {host}
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail warn = 0
mon data avail crit = 0
mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}
admin socket = {folder}/$name.$pid.asok
log file = {folder}/$name.log
keyring = {folder}/keyring
crash dir = {folder}
[client.rgw]
rgw frontends = beast endpoint={host}:{rgw}
rgw data = {folder}/rgw
debug rgw = 1
log to stderr = true
err to stderr = true
log file =
"""


@contextmanager
def radosgw() -> Iterator[Server]:
    """A monitor, one OSD in memory, and the gateway with one user."""
    monitor, osd, gateway = (program(name, WHERE_FROM) for name in ("ceph-mon", "ceph-osd", "radosgw"))
    with tempfile.TemporaryDirectory(prefix="rayae-rgw-") as name, ExitStack() as stack:
        folder, mon, rgw = Path(name), free_port(), free_port()
        config = folder / "ceph.conf"
        config.write_text(CONFIG.format(fsid=uuid4(), host=HOST, mon=mon, rgw=rgw, folder=folder))
        for below in ("mon", "osd", "rgw"):
            (folder / below).mkdir()
        with_config = ["-c", str(config)]
        map_ = str(folder / "monmap")
        told = f"[v2:{HOST}:{mon}]"
        _do("monmaptool", "--create", "--addv", "a", told, "--fsid", _fsid(config), "--clobber", map_)
        _do(monitor, *with_config, "--mkfs", "-i", "a", "--monmap", map_)
        stack.enter_context(running([monitor, *with_config, "-f", "-i", "a"], mon, folder / "mon.out"))
        own = str(uuid4())
        _do("ceph", *with_config, "osd", "new", own, patience_s=STARTS_WITHIN_S)
        _do(osd, *with_config, "--mkfs", "-i", "0", "--osd-uuid", own)
        _run_osd(stack, [osd, *with_config, "-f", "-i", "0"], folder / "osd.out")
        log = folder / "rgw.out"
        words = [gateway, *with_config, "-f", "-n", "client.rgw"]
        stack.enter_context(running(words, rgw, log))
        user = ["--uid=tester", "--display-name=tester", f"--access-key={KEY_ID}", f"--secret={SECRET}"]
        _do("radosgw-admin", *with_config, "user", "create", *user)
        yield Server(f"http://{HOST}:{rgw}", log)


def _fsid(config: Path) -> str:
    return config.read_text().split("fsid = ")[1].splitlines()[0]


def _run_osd(stack: ExitStack, words: list[str], log: Path) -> None:
    """The OSD while the stack is open; it has ports of its own choice, so nothing is waited for."""
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    stack.callback(process.wait)
    stack.callback(process.send_signal, signal.SIGKILL)


def _do(*words: str, patience_s: float = 30.0) -> None:
    """Run a command to its end; AssertionError, with what it says, when it fails."""
    began = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, timeout=patience_s, env=os.environ)
    assert done.returncode == 0, f"{words} after {time.monotonic() - began:.0f} s: {done.stderr[-2000:]}"
