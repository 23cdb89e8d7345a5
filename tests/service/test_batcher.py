"""The batcher with a minting function that needs no model: an image's one value is its index."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.address import Address
from models.images import MediaType
from service.batcher import Batcher
from service.errors import DeadlineError, QueueFullError
from service.metrics import Metrics, ModelMetrics


def addresses(start: int, n: int) -> list[Address]:
    return [Address("m", "1.0.0", 0, start + k) for k in range(n)]


class Minter:
    """Records every batch; can be held back, so that a test decides what gathers meanwhile."""

    def __init__(self, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        if not held:
            self.gate.set()

    def __call__(self, batch: Sequence[Address]) -> NDArray[np.uint8]:
        assert self.gate.wait(10)
        self.batches.append([a.index for a in batch])
        if any(a.index == 66 for a in batch):
            raise RuntimeError("poisoned")
        return np.array([a.index % 256 for a in batch], np.uint8).reshape(-1, 1, 1, 1)


class Slow(Minter):
    """Takes as long as a forward."""

    def __call__(self, batch: Sequence[Address]) -> NDArray[np.uint8]:
        time.sleep(0.02)
        return super().__call__(batch)


def encode(pixels: NDArray[np.uint8], media_type: MediaType, address: str) -> bytes:
    if pixels.item() == 99:
        raise ValueError("cannot be encoded")
    return f"{media_type} {address} {pixels.item()}".encode()


class Queue(Batcher):
    """A batcher whose requests are one call; pixels come back as a list of their values."""

    def __init__(self, minter: Minter, batch_size: int, queue_images: int, executor: ThreadPoolExecutor) -> None:
        metrics = ModelMetrics(Metrics(), "m", "1.0.0")
        super().__init__(minter, encode, batch_size, queue_images, executor, executor, metrics)

    async def mint(self, wanted: list[Address], timeout_s: float = 30) -> list[int]:
        with self.submit(wanted, None, timeout_s) as pending:
            return [int(value) for value in (await pending.wait_for_pixels()).ravel()]


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def test_an_idle_batcher_starts_at_once_and_answers_in_order(executor: ThreadPoolExecutor) -> None:
    minter = Minter()

    async def scenario() -> list[int]:
        return await Queue(minter, 4, 100, executor).mint(addresses(10, 6))

    pixels = asyncio.run(scenario())
    assert pixels == [10, 11, 12, 13, 14, 15]
    assert minter.batches == [[10, 11, 12, 13], [14, 15]]


def test_a_large_request_lets_a_small_one_into_the_next_batch(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Queue(minter, 4, 1000, executor)
        large = asyncio.create_task(batcher.mint(addresses(100, 100)))
        await _settle()
        small = asyncio.create_task(batcher.mint(addresses(7, 1)))
        await _settle()
        minter.gate.set()
        await asyncio.gather(large, small)

    asyncio.run(scenario())
    assert 7 in minter.batches[1]


def test_waiting_requests_share_a_batch(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Queue(minter, 4, 1000, executor)
        tasks = [asyncio.create_task(batcher.mint(addresses(k, 1))) for k in range(9)]
        await _settle()
        minter.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert sum(len(batch) for batch in minter.batches) == 9
    assert len(minter.batches) == 3


def test_a_full_queue_refuses_at_once_and_keeps_serving(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Queue(minter, 4, 8, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 8)))
        await _settle()
        with pytest.raises(QueueFullError) as refused:
            await batcher.mint(addresses(50, 8))
        assert int(refused.value.headers["Retry-After"]) >= 1
        minter.gate.set()
        await first
        assert batcher.num_waiting == 0
        await batcher.mint(addresses(50, 8))

    asyncio.run(scenario())


def test_a_request_that_could_not_begin_in_time_is_refused_at_once(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Queue(minter, 4, 1000, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 1)))
        await _settle()
        await asyncio.sleep(0.1)
        minter.gate.set()
        await first
        # A batch takes 0.1 s or more, whether full or not: forty more take 1 s, not 4 s.
        minter.gate.clear()
        waiting = [asyncio.create_task(batcher.mint(addresses(k, 1))) for k in range(10, 54)]
        await _settle()
        with pytest.raises(QueueFullError) as refused:
            batcher.check_room(1, timeout_s=0.9)
        assert int(refused.value.headers["Retry-After"]) >= 1
        batcher.check_room(1, timeout_s=30)
        minter.gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_images_of_a_caller_who_left_are_not_minted(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Queue(minter, 2, 100, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 2)))
        await _settle()
        gone = asyncio.create_task(batcher.mint(addresses(20, 10)))
        await _settle()
        gone.cancel()
        await _settle()
        assert batcher.num_waiting == 0
        minter.gate.set()
        await first

    asyncio.run(scenario())
    assert minter.batches == [[0, 1]]


def test_a_failure_reaches_its_callers_and_the_queue_goes_on(executor: ThreadPoolExecutor) -> None:
    minter = Minter()

    async def scenario() -> None:
        batcher = Queue(minter, 2, 100, executor)
        with pytest.raises(RuntimeError, match="poisoned"):
            await batcher.mint(addresses(66, 5))
        assert batcher.num_waiting == 0
        assert await batcher.mint(addresses(1, 1)) == [1]

    asyncio.run(scenario())


def test_only_the_request_with_the_poisoned_image_fails(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Queue(minter, 8, 100, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 1)))
        await _settle()
        good = [asyncio.create_task(batcher.mint(addresses(k, 2))) for k in (10, 20, 30)]
        bad = asyncio.create_task(batcher.mint(addresses(66, 1)))
        await _settle()
        minter.gate.set()
        assert await asyncio.gather(*good) == [[10, 11], [20, 21], [30, 31]]
        with pytest.raises(RuntimeError, match="poisoned"):
            await bad
        await first

    asyncio.run(scenario())


def test_an_image_that_cannot_be_encoded_fails_its_own_request_only(executor: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        batcher = Queue(Minter(), 8, 100, executor)

        async def files(start: int) -> list[bytes]:
            with batcher.submit(addresses(start, 2), "image/png", 30) as pending:
                return await pending.wait_for_files()

        good, bad = await asyncio.gather(files(1), files(98), return_exceptions=True)
        assert good == [b"image/png m/1.0.0/0/1 1", b"image/png m/1.0.0/0/2 2"]
        assert isinstance(bad, ValueError)

    asyncio.run(scenario())


def test_a_request_past_its_deadline_is_told_so_and_its_waiting_images_are_dropped(
    executor: ThreadPoolExecutor,
) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Queue(minter, 2, 100, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 2)))
        await _settle()
        with pytest.raises(DeadlineError, match=r"0\.05 s"):
            await batcher.mint(addresses(20, 10), timeout_s=0.05)
        assert batcher.num_waiting == 0
        minter.gate.set()
        await first

    asyncio.run(scenario())
    assert minter.batches == [[0, 1]]


def test_images_can_be_had_in_order_while_the_rest_is_minted(executor: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        minter = Slow()
        batcher = Queue(minter, 3, 100, executor)
        batches_at_first: list[int] = []
        with batcher.submit(addresses(0, 30), "image/png", 30) as pending:
            files: list[object] = []
            async for file in pending.iterate_in_order():
                if not files:
                    batches_at_first.append(len(minter.batches))
                files.append(file)
        assert files == [f"image/png m/1.0.0/0/{k} {k}".encode() for k in range(30)]
        assert batches_at_first[0] < 10

    asyncio.run(scenario())


def test_a_job_that_fails_while_it_is_read_in_order_raises(executor: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        batcher = Queue(Minter(), 2, 100, executor)
        seen = 0
        with batcher.submit(addresses(62, 8), None, 30) as pending:
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
def test_every_request_gets_its_own_images_whatever_else_happens(
    sizes: list[int], cancelled: set[int], batch_size: int
) -> None:
    minter = Minter()

    async def scenario(executor: ThreadPoolExecutor) -> None:
        batcher = Queue(minter, batch_size, 10_000, executor)
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

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(scenario(executor))
    assert all(len(batch) <= batch_size for batch in minter.batches)
    minted = [index for batch in minter.batches for index in batch]
    assert len(minted) == len(set(minted))
