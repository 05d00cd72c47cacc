"""Streams and events: the CPU has always finished."""

from __future__ import annotations

import time

from ._devices import Device, index_of


def synchronize(device: Device = None) -> None:
    """Return at once: the CPU has finished."""


class Event:
    """A point in time: work on the CPU is done when it is recorded."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._at: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Note the time."""
        self._at = time.perf_counter()

    def query(self) -> bool:
        """Say that all work is done."""
        return True

    def synchronize(self) -> None:
        """Return at once."""

    def wait(self, stream: Stream | None = None) -> None:
        """Return at once."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to ``end_event``; RuntimeError unless both were recorded."""
        if self._at is None or end_event._at is None:
            raise RuntimeError("both events must be recorded before elapsed_time")
        return (end_event._at - self._at) * 1000.0


class Stream:
    """A queue of work that is always empty, because the CPU has done it."""

    def __init__(self, device: Device = None, priority: int = 0) -> None:
        self.device_index = index_of(device)

    def wait_stream(self, stream: Stream) -> None:
        """Return at once."""

    def wait_event(self, event: Event) -> None:
        """Return at once."""

    def record_event(self, event: Event | None = None) -> Event:
        """Record ``event``, or a new one."""
        event = event or Event()
        event.record(self)
        return event

    def query(self) -> bool:
        """Say that all work is done."""
        return True

    def synchronize(self) -> None:
        """Return at once."""


class stream:
    """Context manager that does nothing: there are no streams to choose."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None


def current_stream(device: Device = None) -> Stream:
    """Make a stream of the device; one is as good as another."""
    return Stream(device)


default_stream = current_stream
