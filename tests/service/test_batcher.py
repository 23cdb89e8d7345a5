"""The batcher with a mint function that needs no model: an image's only value is its index."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.address import Address
from models.images import MediaType
from service.batcher import Batcher
from service.deadline import Deadline
from service.errors import DeadlineError, QueueFullError
from service.metrics import Metrics, ModelMetrics
from service.pending_request import StartTrace
from service.worker_thread import WorkerThread
from tests.waiting import TIMEOUT_S, wait_until


def addresses(start: int, n: int) -> list[Address]:
    return [Address("m", "1.0.0", 0, start + k) for k in range(n)]


class Minter:
    """Records every batch.

    Args:
        free_batches: how many batches are minted before the others wait until `gate` is set; None: all.
    """

    def __init__(self, free_batches: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.all_cores: list[bool] = []
        self.gate = threading.Event()
        self._free_batches = free_batches
        self._waits = threading.Event()

    def __call__(self, addresses: Sequence[Address], use_all_cores: bool = False) -> NDArray[np.uint8]:
        if self._free_batches is not None and len(self.batches) >= self._free_batches:
            self._waits.set()
            assert self.gate.wait(TIMEOUT_S)
        self.batches.append([a.index for a in addresses])
        self.all_cores.append(use_all_cores)
        if any(a.index == 66 for a in addresses):
            raise RuntimeError("poisoned")
        return np.array([a.index % 256 for a in addresses], np.uint8).reshape(-1, 1, 1, 1)

    async def wait_until_blocked(self) -> None:
        """Wait until a batch has been taken that waits for the gate."""
        assert await asyncio.to_thread(self._waits.wait, TIMEOUT_S)


def encode(pixels: NDArray[np.uint8], media_type: MediaType, address: str) -> bytes:
    if pixels.item() == 99:
        raise ValueError("cannot be encoded")
    return f"{media_type} {address} {pixels.item()}".encode()


class Traces:
    """Records the spans and errors of each request, by the index of its first address; odd ones are not traced."""

    def __init__(self) -> None:
        self.spans: dict[int, list[tuple[str, float, float, list[int], int | None]]] = {}
        self.errors: dict[int, BaseException] = {}

    def __call__(self, addresses: Sequence[Address]) -> RecordedTrace | None:
        return None if addresses[0].index % 2 else RecordedTrace(self, addresses[0].index)


class RecordedTrace:
    def __init__(self, traces: Traces, index: int) -> None:
        self._traces = traces
        self._index = index

    def add_span(
        self, name: str, started_at: float, ended_at: float, addresses: Sequence[Address], batch_images: int | None
    ) -> None:
        span = (name, started_at, ended_at, [address.index for address in addresses], batch_images)
        self._traces.spans.setdefault(self._index, []).append(span)

    def record_error(self, error: BaseException) -> None:
        self._traces.errors[self._index] = error


class SimpleBatcher(Batcher):
    """A batcher with a method that submits, waits and returns the pixels' values."""

    def __init__(
        self,
        minter: Minter,
        batch_size: int,
        queue_images: int,
        thread: WorkerThread,
        encode_thread: WorkerThread | None = None,
        is_padded: bool = False,
        metrics: Metrics | None = None,
        start_trace: StartTrace | None = None,
    ) -> None:
        super().__init__(
            mint=minter,
            encode=encode,
            batch_size=batch_size,
            is_padded=is_padded,
            queue_images=queue_images,
            forward_thread=thread,
            encode_thread=encode_thread or thread,
            metrics=ModelMetrics(metrics or Metrics(), "m", "1.0.0"),
            start_trace=start_trace,
        )

    async def mint(self, addresses: list[Address], timeout_s: float = TIMEOUT_S) -> list[int]:
        with self.submit(addresses, None, Deadline(timeout_s)) as pending:
            return [int(value) for value in (await pending.wait_for_pixels()).ravel()]


async def run_ready_tasks() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def thread() -> Iterator[WorkerThread]:
    thread = WorkerThread("test")
    yield thread
    thread.stop()


@pytest.fixture
def encoder() -> Iterator[WorkerThread]:
    thread = WorkerThread("test-encoder")
    yield thread
    thread.stop()


def test_an_idle_batcher_starts_at_once_and_keeps_the_order(thread: WorkerThread) -> None:
    minter = Minter()

    async def scenario() -> list[int]:
        return await SimpleBatcher(minter, 4, 100, thread).mint(addresses(10, 6))

    pixels = asyncio.run(scenario())
    assert pixels == [10, 11, 12, 13, 14, 15]
    assert minter.batches == [[10, 11, 12, 13], [14, 15]]


def test_a_large_request_lets_a_small_one_into_the_next_batch(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 1000, thread)
        large = asyncio.create_task(batcher.mint(addresses(100, 100)))
        await minter.wait_until_blocked()
        small = asyncio.create_task(batcher.mint(addresses(7, 1)))
        await run_ready_tasks()
        minter.gate.set()
        await asyncio.gather(large, small)

    asyncio.run(scenario())
    assert 7 in minter.batches[1]


def test_waiting_requests_share_a_batch(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 1000, thread)
        tasks = [asyncio.create_task(batcher.mint(addresses(k, 1))) for k in range(9)]
        await run_ready_tasks()
        minter.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert sum(len(batch) for batch in minter.batches) == 9
    assert len(minter.batches) == 3


def test_a_full_queue_refuses_at_once_and_keeps_serving(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 8, thread)
        first = asyncio.create_task(batcher.mint(addresses(0, 8)))
        await minter.wait_until_blocked()
        with pytest.raises(QueueFullError) as error:
            await batcher.mint(addresses(50, 8))
        assert int(error.value.headers["Retry-After"]) >= 1
        minter.gate.set()
        await first
        assert batcher.num_waiting == 0
        await batcher.mint(addresses(50, 8))

    asyncio.run(scenario())


def test_a_request_that_cannot_be_in_time_is_refused_at_once(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 1000, thread)
        first = asyncio.create_task(batcher.mint(addresses(0, 1)))
        await minter.wait_until_blocked()
        await asyncio.sleep(0.1)
        minter.gate.set()
        await first
        # A batch takes 0.1 s or more, full or not: forty more images take 1 s or more.
        minter.gate.clear()
        waiting = [asyncio.create_task(batcher.mint(addresses(k, 1))) for k in range(10, 54)]
        await run_ready_tasks()
        with pytest.raises(QueueFullError) as error:
            batcher.check_room(1, timeout_s=0.9)
        assert int(error.value.headers["Retry-After"]) >= 1
        batcher.check_room(1, timeout_s=TIMEOUT_S)
        minter.gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


class TimedMinter(Minter):
    """Takes two seconds for every batch, on the clock that the batcher reads."""

    now_s = 0.0

    def __call__(self, addresses: Sequence[Address], use_all_cores: bool = False) -> NDArray[np.uint8]:
        pixels = super().__call__(addresses, use_all_cores)
        self.now_s += 2.0
        return pixels


@pytest.mark.parametrize(("is_padded", "retry_after_s"), [(False, 10), (True, 3)])
def test_retry_after_counts_rows_that_are_run(
    is_padded: bool, retry_after_s: int, thread: WorkerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    minter = TimedMinter(free_batches=1)
    monkeypatch.setattr("service.batcher.time.perf_counter", lambda: minter.now_s)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 10, thread, is_padded=is_padded)
        # One image in two seconds, where padded one of four.
        await batcher.mint(addresses(0, 1))
        waiting = asyncio.create_task(batcher.mint(addresses(10, 9)))
        await minter.wait_until_blocked()
        num_waiting = batcher.num_waiting
        with pytest.raises(QueueFullError) as error:
            batcher.check_room(6, TIMEOUT_S)
        minter.gate.set()
        await waiting
        assert (num_waiting, int(error.value.headers["Retry-After"])) == (5, retry_after_s)

    asyncio.run(scenario())


@pytest.mark.parametrize("is_padded", [False, True])
def test_the_fill_ratio_is_the_images_of_the_most_that_a_batch_may_have(is_padded: bool, thread: WorkerThread) -> None:
    metrics = Metrics()

    async def scenario() -> None:
        await SimpleBatcher(Minter(), 4, 10, thread, is_padded=is_padded, metrics=metrics).mint(addresses(0, 1))

    asyncio.run(scenario())
    labels = {"model": "m", "version": "1.0.0"}
    assert metrics.registry.get_sample_value("ganmint_batch_fill_ratio_sum", labels) == 0.25


def test_all_cores_are_for_the_last_batch_that_waits(thread: WorkerThread, encoder: WorkerThread) -> None:
    minter = Minter()

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 100, thread, encoder)
        await batcher.mint(addresses(0, 1))
        await batcher.mint(addresses(10, 6))

    asyncio.run(scenario())
    assert [len(batch) for batch in minter.batches] == [1, 4, 2]
    assert minter.all_cores == [True, False, True]


def test_a_batch_leaves_cores_to_another_models_batch(thread: WorkerThread, encoder: WorkerThread) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        one, other = (SimpleBatcher(minter, 4, 100, thread, encoder) for _ in range(2))
        first = asyncio.create_task(one.mint(addresses(0, 1)))
        await minter.wait_until_blocked()
        others = [asyncio.create_task(batcher.mint(addresses(k, 1))) for k, batcher in ((10, one), (20, other))]
        await run_ready_tasks()
        minter.gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(scenario())
    assert minter.batches == [[0], [20], [10]]
    assert minter.all_cores == [True, False, True]


def test_a_batch_leaves_cores_to_the_encoder(thread: WorkerThread, encoder: WorkerThread) -> None:
    minter = Minter()
    gate = threading.Event()

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 100, thread, encoder)
        encoder.submit(gate.wait, TIMEOUT_S)
        await batcher.mint(addresses(0, 1))
        gate.set()
        await asyncio.to_thread(wait_until, lambda: encoder.num_tasks == 0, "the encoder has nothing to do")
        await batcher.mint(addresses(1, 1))

    asyncio.run(scenario())
    assert minter.all_cores == [False, True]


def test_images_of_a_cancelled_request_are_not_minted(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 2, 100, thread)
        first = asyncio.create_task(batcher.mint(addresses(0, 2)))
        await minter.wait_until_blocked()
        gone = asyncio.create_task(batcher.mint(addresses(20, 10)))
        await run_ready_tasks()
        gone.cancel()
        await run_ready_tasks()
        assert batcher.num_waiting == 0
        minter.gate.set()
        await first

    asyncio.run(scenario())
    assert minter.batches == [[0, 1]]


def test_after_a_failed_request_the_queue_continues(thread: WorkerThread) -> None:
    minter = Minter()

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 2, 100, thread)
        with pytest.raises(RuntimeError, match="poisoned"):
            await batcher.mint(addresses(66, 5))
        assert batcher.num_waiting == 0
        assert await batcher.mint(addresses(1, 1)) == [1]

    asyncio.run(scenario())


def test_only_the_request_with_the_poisoned_image_fails(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 8, 100, thread)
        first = asyncio.create_task(batcher.mint(addresses(0, 1)))
        await minter.wait_until_blocked()
        good = [asyncio.create_task(batcher.mint(addresses(k, 2))) for k in (10, 20, 30)]
        bad = asyncio.create_task(batcher.mint(addresses(66, 1)))
        await run_ready_tasks()
        minter.gate.set()
        assert await asyncio.gather(*good) == [[10, 11], [20, 21], [30, 31]]
        with pytest.raises(RuntimeError, match="poisoned"):
            await bad
        await first

    asyncio.run(scenario())


def test_an_encoding_error_fails_its_own_request_only(thread: WorkerThread) -> None:
    async def scenario() -> None:
        batcher = SimpleBatcher(Minter(), 8, 100, thread)

        async def files(start: int) -> list[bytes]:
            with batcher.submit(addresses(start, 2), "image/png", Deadline(TIMEOUT_S)) as pending:
                return await pending.wait_for_files()

        good, bad = await asyncio.gather(files(1), files(98), return_exceptions=True)
        assert good == [b"image/png m/1.0.0/0/1 1", b"image/png m/1.0.0/0/2 2"]
        assert isinstance(bad, ValueError)

    asyncio.run(scenario())


def test_a_request_past_its_deadline_fails_and_leaves_the_queue(
    thread: WorkerThread,
) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 2, 100, thread)
        first = asyncio.create_task(batcher.mint(addresses(0, 2)))
        await minter.wait_until_blocked()
        with pytest.raises(DeadlineError, match=r"0\.05 s"):
            await batcher.mint(addresses(20, 10), timeout_s=0.05)
        assert batcher.num_waiting == 0
        minter.gate.set()
        await first

    asyncio.run(scenario())
    assert minter.batches == [[0, 1]]


def test_images_arrive_in_order_while_the_rest_is_minted(thread: WorkerThread) -> None:
    async def scenario() -> None:
        minter = Minter(free_batches=1)
        batcher = SimpleBatcher(minter, 3, 100, thread)
        with batcher.submit(addresses(0, 30), "image/png", Deadline(TIMEOUT_S)) as pending:
            files: list[object] = []
            async for file in pending.iterate_in_order():
                if not files:
                    assert len(minter.batches) == 1
                    minter.gate.set()
                files.append(file)
        assert files == [f"image/png m/1.0.0/0/{k} {k}".encode() for k in range(30)]
        assert len(minter.batches) == 10

    asyncio.run(scenario())


def test_a_request_that_fails_while_it_is_iterated_raises(thread: WorkerThread) -> None:
    async def scenario() -> None:
        batcher = SimpleBatcher(Minter(), 2, 100, thread)
        seen = 0
        with batcher.submit(addresses(62, 8), None, Deadline(TIMEOUT_S)) as pending:
            images = pending.iterate_in_order()
            with pytest.raises(RuntimeError, match="poisoned"):
                while True:
                    await anext(images)
                    seen += 1
        assert seen <= 4
        assert batcher.num_waiting == 0

    asyncio.run(scenario())


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    cancelled=st.sets(st.integers(0, 11)),
    batch_size=st.integers(1, 9),
)
def test_every_request_gets_its_own_images(sizes: list[int], cancelled: set[int], batch_size: int) -> None:
    minter = Minter()

    async def scenario(thread: WorkerThread) -> None:
        batcher = SimpleBatcher(minter, batch_size, 10_000, thread)
        tasks = [asyncio.create_task(batcher.mint(addresses(1000 * k, n))) for k, n in enumerate(sizes)]
        await asyncio.sleep(0)
        for k in cancelled:
            if k < len(tasks):
                tasks[k].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for k, (n, result) in enumerate(zip(sizes, results)):
            if isinstance(result, BaseException):
                assert k in cancelled
                assert isinstance(result, asyncio.CancelledError)
            else:
                assert result == [(1000 * k + i) % 256 for i in range(n)]
        assert batcher.num_waiting == 0

    thread = WorkerThread("test")
    asyncio.run(scenario(thread))
    thread.stop()
    assert all(len(batch) <= batch_size for batch in minter.batches)
    minted = [index for batch in minter.batches for index in batch]
    assert len(minted) == len(set(minted))


@pytest.mark.parametrize("recorder", ["record_wait", "record_failure", "record_forward", "record_encode"])
def test_an_error_outside_of_minting_does_not_stop_the_model(
    recorder: str, thread: WorkerThread, encoder: WorkerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        batcher = SimpleBatcher(Minter(), 4, 100, thread, encoder)

        async def mint_files(start: int) -> None:
            files = batcher.submit(addresses(start, 2), "image/png", Deadline(0.2))
            with suppress(RuntimeError, DeadlineError, OSError), files as pending:
                await pending.wait_for_files()

        def fail(*_: object) -> None:
            raise OSError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(ModelMetrics, recorder, fail)
            # More than may wait for the encoder; the poisoned image fails while it is minted.
            for start in (0, 10, 20, 65):
                await mint_files(start)
        assert await batcher.mint(addresses(40, 6)) == [40, 41, 42, 43, 44, 45]
        with batcher.submit(addresses(50, 2), "image/png", Deadline(TIMEOUT_S)) as pending:
            assert len(await pending.wait_for_files()) == 2

    asyncio.run(scenario())


def test_each_request_of_a_batch_has_spans_of_its_own_with_shared_times(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)
    traces = Traces()

    async def mint_files(batcher: Batcher, first: int, n: int) -> None:
        with batcher.submit(addresses(first, n), "image/png", Deadline(TIMEOUT_S)) as pending:
            await pending.wait_for_files()

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 100, thread, start_trace=traces)
        first = asyncio.create_task(batcher.mint(addresses(1, 1)))
        await minter.wait_until_blocked()
        others = [asyncio.create_task(mint_files(batcher, k, n)) for k, n in ((10, 4), (20, 1), (31, 1))]
        await run_ready_tasks()
        minter.gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(scenario())
    # The first of 10 to 13 shares a batch with 20 and 31; the second of them is taken in the next turn.
    assert minter.batches == [[1], [10, 20, 31, 11], [12, 13]]
    assert set(traces.spans) == {10, 20}
    assert [(name, own, n) for name, _, _, own, n in traces.spans[10]] == [
        ("forward", [10, 11], 4),
        ("encode", [10, 11], 4),
        ("forward", [12, 13], 2),
        ("encode", [12, 13], 2),
        ("queue", [10, 11, 12, 13], None),
    ]
    assert [span[:3] for span in traces.spans[20][:2]] == [span[:3] for span in traces.spans[10][:2]]
    (_, forward_at, *_), _, (_, queued_at, taken_at, *_) = traces.spans[20]
    assert queued_at < taken_at <= forward_at


def test_a_trace_says_what_failed_or_waited_in_vain(thread: WorkerThread) -> None:
    minter = Minter(free_batches=0)
    traces = Traces()

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 100, thread, start_trace=traces)
        first = asyncio.create_task(batcher.mint(addresses(0, 1)))
        await minter.wait_until_blocked()
        with pytest.raises(DeadlineError):
            await batcher.mint(addresses(40, 2), timeout_s=0.01)
        tasks = [asyncio.create_task(batcher.mint(addresses(k, 1))) for k in (66, 80)]
        await run_ready_tasks()
        minter.gate.set()
        await asyncio.gather(first, *tasks, return_exceptions=True)

    asyncio.run(scenario())
    assert [span[0] for span in traces.spans[40]] == ["queue"]
    assert {index: str(error) for index, error in traces.errors.items()} == {66: "poisoned"}
    assert [span[0] for span in traces.spans[80]] == ["forward", "queue"]
