"""Spread independent work over the cores without a change of any result.

Each part runs on one thread of torch, so its bits do not depend on how many parts run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from models.runtime.processor import count_cores
from models.runtime.torchscript import one_thread

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call `function` for each item, as many at once as there are cores; torch and numpy let the others run meanwhile.

    Returns:
        The results in the order of the items.
    """
    # The pool's threads are new, and take their number of torch's threads from here.
    with one_thread(), ThreadPoolExecutor(count_cores()) as pool:
        return list(pool.map(function, items))
