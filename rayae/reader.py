"""READ: home of how an image's bytes are fetched, or the reason why they are not.

The rules; each is held by a test in `test_reader.py`. What a single failed try means stands in `fetch`.

- One GET an image, no HEAD. What storage may yet give is asked for again, with growing random waits, until
  `deadline_s` after the first try; then the image has the status of the last failure.
- When a bucket has answered nothing at all for half as long by then, nor does when it is asked for something else, it
  is out of order: StorageError ends the job, and no image is blamed. On the web, where servers are many, each image is
  judged alone.
- `changed`: size or etag (on a disk: the modification time) differ from the manifest's, or move while a file is read.
- `too_large` is judged before memory is taken; where no size is known, at most `max_bytes` and one are asked for.
- What a list may not name where it lies, and addresses that no name may lead to, are `forbidden`; see `reach`.
- An image inside an archive is read by its place there; what the archive does not hold as listed is `truncated`.
"""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from rayae import archives, reach, stores
from rayae.errors import ConfigError, StorageError
from rayae.fetch import Expired, Part, Refused, another_at, fetch_local, fetch_remote, place_of
from rayae.objects import HOW_CREDENTIALS_ARE_GIVEN, Answer
from rayae.redaction import redacted
from rayae.results import Status
from rayae.storage import is_local
from rayae.throttle import Throttle, backoff_s, throttle_of
from rayae.traffic import Traffic
from rayae.web import is_web

TRIES_OF_CREDENTIALS = 2
"""Times that credentials are looked for anew when storage calls them expired."""
NEVER = threading.Event()


@dataclass(frozen=True)
class Fetched:
    """The bytes of an image, with status `scored`; or None, with another status and a sentence."""

    data: bytes | None
    status: Status
    error: str | None
    size_bytes: int | None
    traffic: Traffic = field(default_factory=Traffic, compare=False)
    """What it took, in this read: what images share counts with the first of them."""


@dataclass(frozen=True)
class Image:
    """What the manifest knows of where one image is."""

    uri: str
    size_bytes: int | None = None
    etag: str | None = None
    container: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Reader:
    """Reads the bytes of one image; many threads may use it at once, and it may be sent to other processes."""

    max_bytes: int = 256 * 1024**2
    concurrency: int = 128
    """Requests to one bucket or server that are under way at once in this process."""
    deadline_s: float = 120.0
    timeout_s: float = 30.0
    cache: archives.Cache = field(default_factory=archives.Cache, compare=False, repr=False)

    def read(self, image: Image, stop: threading.Event = NEVER) -> Fetched:
        """Fetch an image; once `stop` is set no more tries are made."""
        traffic = Traffic()
        try:
            data = self._read(image, stop, traffic)
        except Refused as refused:
            return Fetched(None, refused.status, refused.sentence, refused.size_bytes, traffic)
        return Fetched(data, Status.SCORED, None, len(data), traffic)

    def _read(self, image: Image, stop: threading.Event, traffic: Traffic) -> bytes:
        image = _permitted(image)
        if image.place is None:
            if image.size_bytes is not None and not is_local(image.uri):
                self._refuse_size(image.size_bytes)
            part = Part(most=self.max_bytes)
            data = self._fetch(image.uri, part, lambda answer: self._judge(answer, image), stop, traffic)
            if len(data) > self.max_bytes:  # of a server that did not say how much there is
                raise self._too_large(None)
            self._refuse_size(len(data), image.size_bytes)
            return data
        if image.size_bytes is not None:
            self._refuse_size(image.size_bytes)
        container = image.container or image.uri

        def fetch(first: int, length: int | None) -> bytes:
            most = self.max_bytes if length is None else None
            return self._fetch(
                container, Part(first, length, most), lambda answer: self._judge_archive(answer, image), stop, traffic
            )

        try:
            data = archives.read_member(image.place, image.size_bytes, fetch, self.cache.of(container, image.etag))
        except Refused as refused:
            if refused.status == Status.EMPTY:  # nothing begins at that byte
                raise Refused(Status.TRUNCATED, "The archive ends before the place of this image.") from refused
            raise
        except archives.Unreadable as unreadable:
            raise Refused(unreadable.status, unreadable.sentence, image.size_bytes) from unreadable
        self._refuse_size(len(data))
        return data

    def _fetch(
        self, uri: str, part: Part, judge: Callable[[Answer], None], stop: threading.Event, traffic: Traffic
    ) -> bytes:
        if is_local(uri):
            data = fetch_local(uri, part, judge)
        else:
            data = self._fetch_with_patience(uri, part, judge, stop, traffic)
        traffic.bytes += len(data)
        return data

    def _fetch_with_patience(
        self, uri: str, part: Part, judge: Callable[[Answer], None], stop: threading.Event, traffic: Traffic
    ) -> bytes:
        throttle, began = throttle_of(place_of(uri), self.concurrency), time.monotonic()
        ends = began + self.deadline_s
        for failures in itertools.count(1):
            try:
                with throttle.turn(stop) as waited_s:
                    if stop.is_set():
                        raise Refused(Status.TIMEOUT, "The job ends; it was not asked for.")
                    ends += waited_s  # waiting for one's turn is no fault of the image
                    traffic.retries += failures > 1
                    return self._try(throttle, uri, part, judge, traffic)
            except Expired as expired:
                if failures > TRIES_OF_CREDENTIALS:
                    raise ConfigError(
                        f"{redacted(uri)} cannot be read: {expired} {HOW_CREDENTIALS_ARE_GIVEN}"
                    ) from None
                stores.forget_stores()
            except Refused as refused:
                if refused.again is None:
                    raise
                wait_s = backoff_s(refused.again.base_s, refused.again.longest_s, failures - 1)
                left_s = ends - time.monotonic()
                if left_s <= 0 or stop.wait(min(wait_s, left_s)):
                    self._refuse_outage(throttle, uri, refused, stop, traffic)
                    tries = f" (tried {failures} times in {time.monotonic() - began:.0f} s)" if failures > 1 else ""
                    raise Refused(refused.status, f"{refused.sentence.rstrip('.')}{tries}.") from None
        raise AssertionError("unreachable: the tries are counted without end")

    def _try(
        self, throttle: Throttle, uri: str, part: Part, judge: Callable[[Answer], None], traffic: Traffic
    ) -> bytes:
        traffic.requests += 1
        try:
            data = fetch_remote(uri, part, judge, self.timeout_s)
        except Refused as refused:
            if refused.again is None:
                throttle.answered()
            else:
                traffic.throttled += refused.again.is_busy
                throttle.failed(is_busy=refused.again.is_busy)
            raise
        throttle.answered()
        return data

    def _refuse_outage(
        self, throttle: Throttle, uri: str, refused: Refused, stop: threading.Event, traffic: Traffic
    ) -> None:
        """StorageError when it is storage that fails, and not this image."""
        if is_web(uri):
            return  # there are many servers, and those that are gone must not end the job for the others
        seconds, another = throttle.silent_s(), another_at(uri)
        if seconds < self.deadline_s / 2 or stop.is_set():
            return
        if not self._answers(throttle, another, stop, traffic):
            raise StorageError(
                f"{place_of(uri)} has answered no request for {seconds:.0f} s. {refused.sentence} What is committed "
                "stays; run the same command again when it answers."
            )

    def _answers(self, throttle: Throttle, uri: str, stop: threading.Event, traffic: Traffic) -> bool:
        """Whether storage says anything at all when it is asked for this; no body is taken. Once `stop` is set: yes."""

        def enough(answer: Answer) -> None:
            raise Refused(Status.MISSING, "It answers.")

        try:
            with throttle.turn(stop):
                if not stop.is_set():
                    self._try(throttle, uri, Part(length=1), enough, traffic)
        except Refused as refused:
            return refused.again is None
        except Expired:  # says storage
            return True
        return True

    def _judge(self, answer: Answer, image: Image) -> None:
        """Refuse an object that is not as it was listed, or too large, before its body is taken."""
        if answer.size_bytes is not None:
            self._refuse_size(answer.size_bytes, image.size_bytes)
        if image.etag is not None and answer.etag is not None and image.etag != answer.etag:
            raise Refused(Status.CHANGED, "The file was written to after it was listed.", answer.size_bytes)

    def _judge_archive(self, answer: Answer, image: Image) -> None:
        if image.etag is not None and answer.etag is not None and image.etag != answer.etag:
            raise Refused(Status.CHANGED, "The archive was written to after it was listed.", image.size_bytes)

    def _refuse_size(self, found: int, listed: int | None = None) -> None:
        if listed is not None and found != listed:
            sentence = f"The file has {found:,} bytes; it had {listed:,} when it was listed."
            raise Refused(Status.CHANGED, sentence, found)
        if found == 0:
            raise Refused(Status.EMPTY, "The file has no bytes.", 0)
        if found > self.max_bytes:
            raise self._too_large(found)

    def _too_large(self, found: int | None) -> Refused:
        return Refused(Status.TOO_LARGE, f"The file has more than reader.max_bytes={self.max_bytes:,} bytes.", found)


def _permitted(image: Image) -> Image:
    """The image without the mark that its name needs to be allowed; Refused when nobody has allowed it."""
    kind, place = reach.needed(image.place)
    if kind is None:
        return image
    refusal = reach.refusal_of(kind)
    if refusal is not None:
        raise Refused(Status.FORBIDDEN, refusal, image.size_bytes)
    return replace(image, place=place)
