"""Looks whether a GPU still works for this process; some of its errors last until the process ends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from service.metrics import Metrics

log = logging.getLogger("ganmint.service")
# A GPU that does not answer a probe for so long is lost; for good after so many probes.
PROBE_S = 10
LOST_FOR_GOOD_PROBES = 3


class DeviceProbe:
    """Probes a device; a CPU always works."""

    def __init__(self, device: str, metrics: Metrics) -> None:
        self._device = device
        self._metrics = metrics
        self._num_failed = 0

    @property
    def is_lost(self) -> bool:
        """Whether the GPU refused work when it was last probed."""
        return self._num_failed > 0

    @property
    def needs_restart(self) -> bool:
        """Whether the GPU refuses work for good: only a new process gets it back."""
        return self._num_failed >= LOST_FOR_GOOD_PROBES

    async def check(self) -> None:
        """Let a GPU do some work, and record its memory."""
        if not self._device.startswith("cuda"):
            return
        # Only here, because it imports torch.
        from models.runtime import torchscript

        is_lost = True
        with suppress(asyncio.TimeoutError):
            probe = asyncio.to_thread(torchscript.is_device_lost, self._device)
            is_lost = await asyncio.wait_for(probe, PROBE_S)
        if is_lost != self.is_lost:
            log.error("%s %s", self._device, "refuses all work" if is_lost else "works again")
        self._num_failed = self._num_failed + 1 if is_lost else 0
        if not is_lost:
            self._metrics.gpu_memory.labels(self._device).set(torchscript.get_reserved_bytes(self._device))
