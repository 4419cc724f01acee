"""Which windows of an axis each of several devices has, and which elements it needs for them."""

import dataclasses
from typing import Any

from jaxpool._src.core.geometry import AxisWindow


@dataclasses.dataclass(frozen=True)
class AxisShard:
    """The windows of an axis whose elements several devices share.

    Each has `size` elements and `cells` windows, both consecutive and in the order of the devices.
    What the last ones have beyond the axis, or beyond its windows, belongs to neither.
    """

    whole: AxisWindow  # of all devices
    size: int
    devices: int = 1
    name: Any = None  # of the axis of the mesh, None where there is one device

    @property
    def cells(self) -> int:
        """Number of windows of each device."""
        return -(-self.whole.output // self.devices)

    @property
    def length(self) -> int:
        """Number of elements that the windows of a device reach over."""
        return (self.cells - 1) * self.whole.stride + self.whole.span

    def start(self, device: Any) -> Any:
        """The place on the axis where the first window of a device begins; it may be traced."""
        return device * (self.cells * self.whole.stride) - self.whole.low

    def halo(self) -> tuple[int, int]:
        """Of how many elements before and after its own some device has windows."""
        before = after = 0
        for device in range(self.devices):
            first = max(self.start(device), 0)
            stop = min(self.start(device) + self.length, self.whole.length)
            if first < stop:
                before = max(before, device * self.size - first)
                after = max(after, stop - (device + 1) * self.size)
        return before, after

    def offsets(self) -> range:
        """Where in its elements and its halo the windows of each device begin."""
        before, _ = self.halo()
        first, step = before - self.whole.low, self.cells * self.whole.stride - self.size
        return range(first, first + step * self.devices, step) if step else range(first, first + 1)

    @property
    def overhangs(self) -> bool:
        """Whether a window reaches over an end of the axis."""
        reach = self.start(self.devices - 1) + self.length
        return self.whole.low > 0 or reach > self.whole.length

    @property
    def spare(self) -> bool:
        """Whether devices have more windows than there are."""
        return self.cells * self.devices > self.whole.output
