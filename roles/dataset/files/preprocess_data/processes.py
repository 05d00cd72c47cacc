"""Encoding by several processes, which are forked, so that the tokenizer is loaded once, and end with this one, however it ends."""
from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import queue
import signal
from typing import Any, Callable, Generator, Iterator, Sequence

import pyarrow as arrow

from preprocess_data.messages import LOOK, NO_MEMORY, PreprocessError, heed
from preprocess_data.sources import Chunk, letters_of, offsets_of, strings_of

#: Encodes an Arrow array of strings, all documents whole if so told: ids, and their number in each document.
Encode = Callable[[Any, bool], Any]


def result_of(future: concurrent.futures.Future[Any]) -> Any:
    """What a thread makes of its task, as soon as it is done; looks for signals meanwhile."""
    while True:
        heed()
        with contextlib.suppress(concurrent.futures.TimeoutError):
            return future.result(LOOK)


def in_turn(chunks: Iterator[Chunk], encode: Encode) -> Generator[tuple[Chunk, Any, Any], None, None]:
    """Encode chunks in this process."""
    for chunk in chunks:
        yield (chunk, *encode(chunk.texts, chunk.whole))


class Pool:
    """Processes that encode; for each a thread of this one, which sends it a chunk and waits for the ids."""

    def __init__(self, encode: Encode, workers: int, close: Sequence[int] = ()) -> None:
        """Start them, before there are other threads: those and a fork do not go together. `close`: descriptors that they shall not keep open."""
        context = multiprocessing.get_context("fork")
        self._processes: dict[Any, Any] = {}
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(encode, theirs, [ours, *self._processes], close, os.getpid()), daemon=True)
            try:
                process.start()
            except OSError as error:
                self.close()
                raise PreprocessError(f"No process can be started: {error}. Make room in memory, or raise the limit of this user's "
                                      "processes (ulimit -u).") from error
            theirs.close()
            self._processes[ours] = process
            self._idle.put(ours)

    def encode(self, chunks: Iterator[Chunk]) -> Generator[tuple[Chunk, Any, Any], None, None]:
        """Encode chunks. They come back in their order, with ids and lengths; at most 2 x workers are held."""
        order: collections.deque[Any] = collections.deque()
        with concurrent.futures.ThreadPoolExecutor(len(self._processes)) as threads:
            try:
                for chunk in chunks:
                    order.append((chunk._replace(texts=None), threads.submit(self._ask, chunk)))
                    if len(order) == 2 * len(self._processes):
                        yield self._first_of(order)
                while order:
                    yield self._first_of(order)
            except BaseException:
                self.close()  # nobody waits for what is under way
                raise

    @staticmethod
    def _first_of(order: Any) -> tuple[Chunk, Any, Any]:
        chunk, future = order.popleft()
        return (chunk, *result_of(future))

    def _ask(self, chunk: Chunk) -> Any:
        pipe, offsets = self._idle.get(), offsets_of(chunk.texts)
        try:
            pipe.send((offsets - offsets[0], letters_of(chunk.texts), chunk.whole))
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died(pipe) from error
        finally:
            self._idle.put(pipe)
        if isinstance(answer, PreprocessError):
            raise answer
        return answer

    def _died(self, pipe: Any) -> PreprocessError:
        process = self._processes[pipe]
        process.join(5)
        status = process.exitcode or 0
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        hint = " (signal 9 comes from the kernel when memory runs out, see dmesg, or from somebody)" if status == -9 else ""
        return PreprocessError(f"A worker, process {process.pid}, {how}{hint}. Nothing was written; run again, with fewer --workers "
                               "(dataset_workers) or a smaller --chunk-mib if memory was short.")

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()


def _work(encode: Encode, pipe: Any, others: Sequence[Any], close: Sequence[int], parent: int) -> None:
    """In a worker: encode what comes through a pipe until it ends."""
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to all of a group: the parent ends this process
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG; without it the end of the pipe has to do
    if os.getppid() != parent:
        return
    for other in others:
        other.close()
    for descriptor in close:
        os.close(descriptor)
    with contextlib.suppress(EOFError, OSError):
        while True:
            offsets, letters, whole = pipe.recv()
            try:
                answer = encode(strings_of(offsets, letters, arrow.string()), whole)
            except PreprocessError as error:
                answer = error
            except MemoryError:
                answer = PreprocessError(f"A worker has {NO_MEMORY}")
            except BaseException as error:  # a panic of a library in Rust is no Exception
                answer = PreprocessError(f"A worker failed: {type(error).__name__}: {error}.")
            pipe.send(answer)
            del offsets, letters, answer
