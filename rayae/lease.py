"""Home of the lease of a run: one driver at a time writes to it, whatever became of the one before.

Rows stay right without it, since a chunk that is done twice is the same file; but work would be done twice, and the
statistics would be those of whoever came last.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from rayae import storage
from rayae.errors import RayaeError, RunError
from rayae.terminal import say, warn

LEASE = "lease.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
GONE_SINCE = "another process, which has ended since"
FAR_FUTURE = 2.0**40
"""Seconds since 1970 that no clock says."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Limits:
    """How often a lease is renewed and looked at, and after how long without a renewal it is void, in seconds."""

    renew_s: float = 10.0
    void_s: float = 30.0
    look_s: float = 1.0


LIMITS = Limits()


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as its file says; `renewed` is by the clock of the holder, in seconds since 1970.

    A pid means one process only within `machine`: a boot of a host and a namespace of process ids, None where that
    cannot be known. `process_started` tells it from a later process with the same number.
    """

    host: str
    machine: str | None
    pid: int
    process_started: int | None
    token: str
    since: str
    renewed: float
    beat: int = 0

    @classmethod
    def here(cls) -> "Holder":
        """This process, with a token of its own."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        pid = os.getpid()
        return cls(
            socket.gethostname(), _machine(), pid, _process_started(pid), secrets.token_hex(8), since, time.time()
        )

    @classmethod
    def read(cls, data: bytes) -> "Holder | None":
        """The holder in the bytes of a lease; None when they are damaged: such a lease, too, is void after a while."""
        kinds = (str, str | None, int, int | None, str, str, int | float, int)
        names = list(cls.__dataclass_fields__)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or not found.keys() >= set(names):
            return None
        values = [found[name] for name in names]
        holder = cls(*values) if all(map(isinstance, values, kinds)) else None
        return holder if holder is not None and 0 <= holder.renewed < FAR_FUTURE else None

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    def is_gone(self) -> bool:
        """Whether its process has ended for sure: it was one of this machine, and there is none like it any more."""
        if self.machine is None or (self.host, self.machine) != (socket.gethostname(), _machine()):
            return False
        return self.process_started is not None and _process_started(self.pid) != self.process_started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lease:
    """A lease that this process holds: a thread renews it, by compare and swap, until it is given back.

    Where the storage knows no compare and swap (see `storage.replace`) two that begin within the same moment may both
    believe that they hold it, until one reads the other's name there; the rows are right even then.
    """

    def __init__(self, path: str, holder: Holder, version: str, limits: Limits) -> None:
        self.path, self.holder, self.version, self.limits = path, holder, version, limits
        self.renewed = time.monotonic()
        self.taken_by: str | None = None
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self.thread.start()

    def check(self) -> None:
        """RunError when another process has taken the lease, which it may when this one slept for too long."""
        if time.monotonic() - self.renewed > self.limits.void_s:
            self._renew()
        if self.taken_by is not None:
            rest = "run the same command again" if self.taken_by is GONE_SINCE else "the other one does the rest"
            raise RunError(
                f"{storage.parent(self.path)} was taken over by {self.taken_by}: this process had not renewed its "
                f"lease for {self.limits.void_s:g} s. What it wrote is right and stays; {rest}."
            )

    def guard(self, items: Iterable[Item]) -> Generator[Item]:
        """The items as they come; RunError before the next one is asked for when the lease is lost."""
        for item in items:
            self.check()
            yield item

    def give_back(self) -> None:
        """End the lease: the next driver need not wait."""
        self.ended.set()
        self.thread.join(self.limits.void_s)
        if self.thread.is_alive():
            warn(
                f"the lease was not given back, as the storage does not answer; it is void in {self.limits.void_s:g} s."
            )
            return
        self._renew()  # so that nobody can take it between the look and the removal
        if self.taken_by is None and time.monotonic() - self.renewed < self.limits.void_s:
            try:
                storage.remove(self.path)
            except RayaeError as error:
                warn(f"the lease was not given back ({error}); it is void in {self.limits.void_s:g} s.")

    def _keep(self) -> None:
        wait_s = self.limits.renew_s
        while self.taken_by is None and not self.ended.wait(wait_s):
            wait_s = self.limits.renew_s if self._renew() else self.limits.renew_s / 5

    def _renew(self) -> bool:
        """Write the next beat. When the storage does not answer the lease is kept, as long as nobody else takes it."""
        with self.lock:
            began = time.monotonic()
            following = replace(self.holder, beat=self.holder.beat + 1, renewed=time.time())
            try:
                found = storage.read_version(self.path)
                if found is None and began - self.renewed > self.limits.void_s:
                    self.taken_by = GONE_SINCE
                    return False
                if found is None:
                    storage.create(self.path, following.to_bytes())  # somebody has tidied up
                elif self.holder.token.encode() in found[0]:
                    storage.replace(self.path, following.to_bytes(), found[1])
                found = storage.read_version(self.path)
            except RayaeError:
                return False
            if found is None:
                return False
            holder = Holder.read(found[0])
            if holder is None or holder.token != self.holder.token:
                self.taken_by = "another process" if holder is None else str(holder)
                return False
            is_new = holder.beat > self.holder.beat
            self.holder, self.version = holder, found[1]
            if is_new:
                self.renewed = began
            return is_new


@contextlib.contextmanager
def held(run: str, limits: Limits = LIMITS) -> Iterator[Lease]:
    """Hold the lease of a run while the block lasts; RunError when another process holds it and lives.

    Whether it lives is seen by watching, on the clock of this process alone: a lease that changes is alive, one that
    stays the same for `void_s` is void and is taken over, and so is, at once, that of a process of this machine which
    has ended.
    """
    lease = _acquire(storage.join(storage.absolute(run), LEASE), limits)
    try:
        yield lease
    finally:
        lease.give_back()


def holder_of(run: str) -> Holder | None:
    """Who has the lease of a run, alive or not; None when nobody has, or when the file is damaged."""
    found = storage.read_version(storage.join(storage.absolute(run), LEASE))
    return None if found is None else Holder.read(found[0])


def _acquire(path: str, limits: Limits) -> Lease:
    me = Holder.here()
    while True:
        me = replace(me, renewed=time.time())
        found = storage.read_version(path)
        if found is None:
            storage.create(path, me.to_bytes())
            found = storage.read_version(path)
        if found is None:
            continue  # another had it, and gave it back between the two
        data, version = found
        holder = Holder.read(data)
        if holder is not None and holder.token == me.token:
            return Lease(path, me, version, limits)
        if holder is not None and holder.is_gone():
            say(f"taking over from {holder}, which has ended")
        elif not _stays_the_same(path, data, holder, limits):
            continue
        if not storage.replace(path, me.to_bytes(), version):  # who won is seen by reading
            time.sleep(limits.look_s)


def _stays_the_same(path: str, data: bytes, holder: Holder | None, limits: Limits) -> bool:
    """Watch a lease: True when it is void, False when it was given back, RunError when its holder lives."""
    run, who = storage.parent(path), "a process that its lease does not name" if holder is None else str(holder)
    say(f"{run} is held by {who}: waiting up to {limits.void_s:g} s to see whether it lives")
    began = time.monotonic()
    while time.monotonic() - began < limits.void_s:
        time.sleep(limits.look_s)
        found = storage.read_version(path)
        if found is None:
            return False
        if found[0] != data:
            now = Holder.read(found[0])
            raise RunError(
                f"{run} is being written by another process ({now or who}): it has just renewed its lease. "
                f"A lease that is not renewed for {limits.void_s:g} s is void; wait for that process or end it, and "
                "run the same command again."
            )
    say(f"the lease of {who} was not renewed for {limits.void_s:g} s: taking over")
    return True


def _machine() -> str | None:
    """This boot of this host, and the namespace of its process ids; None where there is no such thing."""
    try:
        return f"{BOOT_ID.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _process_started(pid: int) -> int | None:
    """When a process of this machine began, in ticks since the boot; None when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
