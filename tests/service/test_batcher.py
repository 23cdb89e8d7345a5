"""The batcher with a mint function that needs no model: an image's only value is its index."""

from __future__ import annotations

import asyncio
import threading
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
from tests.waiting import TIMEOUT_S


def addresses(start: int, n: int) -> list[Address]:
    return [Address("m", "1.0.0", 0, start + k) for k in range(n)]


class Minter:
    """Records every batch.

    Args:
        free_batches: how many batches are minted before the others wait until `gate` is set; None: all.
    """

    def __init__(self, free_batches: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self._free_batches = free_batches
        self._waits = threading.Event()

    def __call__(self, batch: Sequence[Address]) -> NDArray[np.uint8]:
        if self._free_batches is not None and len(self.batches) >= self._free_batches:
            self._waits.set()
            assert self.gate.wait(TIMEOUT_S)
        self.batches.append([a.index for a in batch])
        if any(a.index == 66 for a in batch):
            raise RuntimeError("poisoned")
        return np.array([a.index % 256 for a in batch], np.uint8).reshape(-1, 1, 1, 1)

    async def wait_until_blocked(self) -> None:
        """Wait until a batch has been taken that waits for the gate."""
        assert await asyncio.to_thread(self._waits.wait, TIMEOUT_S)


def encode(pixels: NDArray[np.uint8], media_type: MediaType, address: str) -> bytes:
    if pixels.item() == 99:
        raise ValueError("cannot be encoded")
    return f"{media_type} {address} {pixels.item()}".encode()


class SimpleBatcher(Batcher):
    """A batcher with a method that submits, waits and returns the pixels' values."""

    def __init__(self, minter: Minter, batch_size: int, queue_images: int, executor: ThreadPoolExecutor) -> None:
        metrics = ModelMetrics(Metrics(), "m", "1.0.0")
        super().__init__(minter, encode, batch_size, queue_images, executor, executor, metrics)

    async def mint(self, addresses: list[Address], timeout_s: float = TIMEOUT_S) -> list[int]:
        with self.submit(addresses, None, timeout_s) as pending:
            return [int(value) for value in (await pending.wait_for_pixels()).ravel()]


async def run_ready_tasks() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def test_an_idle_batcher_starts_at_once_and_keeps_the_order(executor: ThreadPoolExecutor) -> None:
    minter = Minter()

    async def scenario() -> list[int]:
        return await SimpleBatcher(minter, 4, 100, executor).mint(addresses(10, 6))

    pixels = asyncio.run(scenario())
    assert pixels == [10, 11, 12, 13, 14, 15]
    assert minter.batches == [[10, 11, 12, 13], [14, 15]]


def test_a_large_request_lets_a_small_one_into_the_next_batch(executor: ThreadPoolExecutor) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 1000, executor)
        large = asyncio.create_task(batcher.mint(addresses(100, 100)))
        await minter.wait_until_blocked()
        small = asyncio.create_task(batcher.mint(addresses(7, 1)))
        await run_ready_tasks()
        minter.gate.set()
        await asyncio.gather(large, small)

    asyncio.run(scenario())
    assert 7 in minter.batches[1]


def test_waiting_requests_share_a_batch(executor: ThreadPoolExecutor) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 1000, executor)
        tasks = [asyncio.create_task(batcher.mint(addresses(k, 1))) for k in range(9)]
        await run_ready_tasks()
        minter.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert sum(len(batch) for batch in minter.batches) == 9
    assert len(minter.batches) == 3


def test_a_full_queue_refuses_at_once_and_keeps_serving(executor: ThreadPoolExecutor) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 8, executor)
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


def test_a_request_that_cannot_be_in_time_is_refused_at_once(executor: ThreadPoolExecutor) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 4, 1000, executor)
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


def test_images_of_a_cancelled_request_are_not_minted(executor: ThreadPoolExecutor) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 2, 100, executor)
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


def test_after_a_failed_request_the_queue_continues(executor: ThreadPoolExecutor) -> None:
    minter = Minter()

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 2, 100, executor)
        with pytest.raises(RuntimeError, match="poisoned"):
            await batcher.mint(addresses(66, 5))
        assert batcher.num_waiting == 0
        assert await batcher.mint(addresses(1, 1)) == [1]

    asyncio.run(scenario())


def test_only_the_request_with_the_poisoned_image_fails(executor: ThreadPoolExecutor) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 8, 100, executor)
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


def test_an_encoding_error_fails_its_own_request_only(executor: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        batcher = SimpleBatcher(Minter(), 8, 100, executor)

        async def files(start: int) -> list[bytes]:
            with batcher.submit(addresses(start, 2), "image/png", TIMEOUT_S) as pending:
                return await pending.wait_for_files()

        good, bad = await asyncio.gather(files(1), files(98), return_exceptions=True)
        assert good == [b"image/png m/1.0.0/0/1 1", b"image/png m/1.0.0/0/2 2"]
        assert isinstance(bad, ValueError)

    asyncio.run(scenario())


def test_a_request_past_its_deadline_fails_and_leaves_the_queue(
    executor: ThreadPoolExecutor,
) -> None:
    minter = Minter(free_batches=0)

    async def scenario() -> None:
        batcher = SimpleBatcher(minter, 2, 100, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 2)))
        await minter.wait_until_blocked()
        with pytest.raises(DeadlineError, match=r"0\.05 s"):
            await batcher.mint(addresses(20, 10), timeout_s=0.05)
        assert batcher.num_waiting == 0
        minter.gate.set()
        await first

    asyncio.run(scenario())
    assert minter.batches == [[0, 1]]


def test_images_arrive_in_order_while_the_rest_is_minted(executor: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        minter = Minter(free_batches=1)
        batcher = SimpleBatcher(minter, 3, 100, executor)
        with batcher.submit(addresses(0, 30), "image/png", TIMEOUT_S) as pending:
            files: list[object] = []
            async for file in pending.iterate_in_order():
                if not files:
                    assert len(minter.batches) == 1
                    minter.gate.set()
                files.append(file)
        assert files == [f"image/png m/1.0.0/0/{k} {k}".encode() for k in range(30)]
        assert len(minter.batches) == 10

    asyncio.run(scenario())


def test_a_request_that_fails_while_it_is_iterated_raises(executor: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        batcher = SimpleBatcher(Minter(), 2, 100, executor)
        seen = 0
        with batcher.submit(addresses(62, 8), None, TIMEOUT_S) as pending:
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

    async def scenario(executor: ThreadPoolExecutor) -> None:
        batcher = SimpleBatcher(minter, batch_size, 10_000, executor)
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
