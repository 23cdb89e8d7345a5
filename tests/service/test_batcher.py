"""The batcher with a minting function that needs no model: an image's one value is its index."""

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

from models.address import SampleAddress
from service.batcher import Batcher
from service.errors import QueueFullError


def addresses(start: int, n: int) -> list[SampleAddress]:
    return [SampleAddress("m", "1.0.0", 0, start + k) for k in range(n)]


class Minter:
    """Records every batch; can be held back, so that a test decides what gathers meanwhile."""

    def __init__(self, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        if not held:
            self.gate.set()

    def __call__(self, batch: Sequence[SampleAddress]) -> NDArray[np.uint8]:
        assert self.gate.wait(10)
        self.batches.append([a.index for a in batch])
        if any(a.index == 66 for a in batch):
            raise RuntimeError("poisoned")
        return np.array([a.index % 256 for a in batch], np.uint8).reshape(-1, 1, 1, 1)


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


def test_an_idle_batcher_starts_at_once_and_answers_in_order(executor: ThreadPoolExecutor) -> None:
    minter = Minter()

    async def scenario() -> NDArray[np.uint8]:
        return await Batcher(minter, 4, 100, executor).mint(addresses(10, 6))

    pixels = asyncio.run(scenario())
    assert pixels[:, 0, 0, 0].tolist() == [10, 11, 12, 13, 14, 15]
    assert minter.batches == [[10, 11, 12, 13], [14, 15]]


def test_a_large_request_lets_a_small_one_into_the_next_batch(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Batcher(minter, 4, 1000, executor)
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
        batcher = Batcher(minter, 4, 1000, executor)
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
        batcher = Batcher(minter, 4, 8, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 8)))
        await _settle()
        with pytest.raises(QueueFullError) as refused:
            await batcher.mint(addresses(50, 8))
        assert refused.value.retry_after_s >= 1
        minter.gate.set()
        await first
        assert batcher.waiting == 0
        await batcher.mint(addresses(50, 8))

    asyncio.run(scenario())


def test_images_of_a_caller_who_left_are_not_minted(executor: ThreadPoolExecutor) -> None:
    minter = Minter(held=True)

    async def scenario() -> None:
        batcher = Batcher(minter, 2, 100, executor)
        first = asyncio.create_task(batcher.mint(addresses(0, 2)))
        await _settle()
        gone = asyncio.create_task(batcher.mint(addresses(20, 10)))
        await _settle()
        gone.cancel()
        await _settle()
        assert batcher.waiting == 0
        minter.gate.set()
        await first

    asyncio.run(scenario())
    assert minter.batches == [[0, 1]]


def test_a_failure_reaches_its_callers_and_the_queue_goes_on(executor: ThreadPoolExecutor) -> None:
    minter = Minter()

    async def scenario() -> None:
        batcher = Batcher(minter, 2, 100, executor)
        with pytest.raises(RuntimeError, match="poisoned"):
            await batcher.mint(addresses(66, 5))
        assert batcher.waiting == 0
        assert (await batcher.mint(addresses(1, 1)))[0, 0, 0, 0] == 1

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
        batcher = Batcher(minter, batch_size, 10_000, executor)
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
                assert result[:, 0, 0, 0].tolist() == [(1000 * k + i) % 256 for i in range(n)]
        assert batcher.waiting == 0

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(scenario(executor))
    assert all(len(batch) <= batch_size for batch in minter.batches)
    minted = [index for batch in minter.batches for index in batch]
    assert len(minted) == len(set(minted))
