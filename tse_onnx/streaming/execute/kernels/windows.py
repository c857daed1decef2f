"""Convolutions and poolings on the rows of one window.

The rows under a window are put together without their dilation, and the node runs on them with stride 1 and no padding
along the rows. Rows that lie outside the map are what the operator says of its padding: zeros for a convolution, the
zero point where it is quantised, nothing at all for a pooling. In a network that streams by
columns a row is a column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import helper

from tse_onnx.errors import ModelError
from tse_onnx.passes.graph.operators import Rules
from tse_onnx.runtime.single import Single
from tse_onnx.streaming.execute.kernels.attributes import attributes, with_attributes
from tse_onnx.streaming.execute.kernels.cutting import row_shape
from tse_onnx.streaming.execute.kernels.kernel import Absorbing, Kernel, Rows, Rule, Site, Stacking, Stored
from tse_onnx.streaming.execute.kernels.whole import Whole, told_before
from tse_onnx.streaming.network.needs.windows import POOLINGS
from tse_onnx.streaming.network.network import Tensor


class PlainRows:
    """Rows of one axis of a tensor, whatever tokens it is stored in: whole, single, or in groups."""

    def __init__(self, tensor: Tensor, axis: int) -> None:
        self.name, self.height, self._axis = tensor.name, tensor.dims[axis], axis
        rows = tensor.rows
        if rows is not None and (rows.axis != axis or rows.outer != 1):
            self.group: int | None = None
        else:
            self.group = tensor.dims[axis] if rows is None else rows.inner
        self._dims, self._before = tensor.dims, (slice(None),) * axis

    def token(self, row: int) -> int:
        """The token that a row is stored in."""
        assert self.group is not None
        return row // self.group

    def take(self, row: int, rows: Rows) -> np.ndarray:
        """The row, with a length of 1 along the axis."""
        assert self.group is not None
        stored = rows[self.name][row // self.group]
        if self.group == 1:
            return stored
        return stored[(*self._before, slice(row % self.group, row % self.group + 1))]

    def filled(self, value: Any, dtype: np.dtype[Any]) -> np.ndarray:
        """A row that lies outside the map, with a length of 1 along the axis."""
        return np.full(but(self._dims, 1, self._axis), value, dtype)


def but(values: Sequence[int], value: int, *places: int) -> list[int]:
    """The values, with another one in some places."""
    return [value if place in places else each for place, each in enumerate(values)]


class Geometry:
    """Kernel, stride, dilation and padding along the rows, and the node with everything along the columns alone."""

    def __init__(self, site: Site, kernel: Sequence[int]) -> None:
        given = attributes(site.node)
        spatial, along = len(site.made.dims) - 2, site.network.axis
        data = site.read(0)
        self.kernel = kernel[along]
        strides = list(given.get("strides", [1] * spatial))
        dilations = list(given.get("dilations", [1] * spatial))
        pads = list(given.get("pads", [0] * (2 * spatial)))
        auto = given.get("auto_pad", b"NOTSET").decode()
        if auto.startswith("SAME"):
            for axis in range(spatial):
                extent = (kernel[axis] - 1) * dilations[axis] + 1
                wanted = -(-data.dims[2 + axis] // strides[axis])
                total = max(0, (wanted - 1) * strides[axis] + extent - data.dims[2 + axis])
                smaller, larger = total // 2, total - total // 2
                pads[axis], pads[axis + spatial] = (smaller, larger) if auto == "SAME_UPPER" else (larger, smaller)
        elif auto == "VALID":
            pads = [0] * (2 * spatial)
        self.stride, self.dilation = strides[along], dilations[along]
        self.before, self.after = pads[along], pads[along + spatial]
        self.height = data.dims[2 + along]
        self.flat: dict[str, Any] = {
            "auto_pad": None,
            "pads": but(pads, 0, along, along + spatial),
            "strides": strides if kernel[along] > 1 else but(strides, 1, along),
        }
        if any(each != 1 for each in dilations):
            self.flat["dilations"] = but(dilations, 1, along)

    def taps(self, row: int) -> list[int]:
        """The rows under the window of output row `row`, those outside the map too."""
        first = row * self.stride - self.before
        return [first + tap * self.dilation for tap in range(self.kernel)]

    @property
    def dense(self) -> bool:
        """Whether windows that follow each other have no row between their taps, nor between each other."""
        return bool(self.dilation == 1 and self.stride <= self.kernel)

    def inside(self, row: int) -> list[int]:
        """The rows of the map under the window."""
        return [tap for tap in self.taps(row) if 0 <= tap < self.height]


class Convolution(Stacking):
    """Conv and its integer relatives."""

    def __init__(self, site: Site) -> None:
        weight = site.constant(3 if site.node.op_type == "QLinearConv" else 1)
        assert weight is not None
        self._axis = 2 + site.network.axis
        self._geometry = Geometry(site, weight.shape[2:])
        self._plain = PlainRows(site.read(0), self._axis)
        self._run = site.single(with_attributes(site.node, **self._geometry.flat))
        zero_slot = {"QLinearConv": 2, "ConvInteger": 2}.get(site.node.op_type)
        zero = site.constant(zero_slot) if zero_slot is not None else None
        self._outside = self._plain.filled(0 if zero is None else zero.reshape(-1)[0], element(site.read(0)))

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        tokens = dict.fromkeys(self._plain.token(tap) for tap in self._geometry.inside(row))
        return {self._plain.name: tuple(tokens)}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        plain, height = self._plain, self._geometry.height
        taps = self._geometry.taps(row)
        if len(taps) == 1 and 0 <= taps[0] < height:
            return self._run({plain.name: plain.take(taps[0], rows)})
        under = [plain.take(tap, rows) if 0 <= tap < height else self._outside for tap in taps]
        return self._run({plain.name: np.concatenate(under, axis=self._axis)})

    def stack(self, made: range, rows: Mapping[str, Stored]) -> np.ndarray | None:
        plain, geometry = self._plain, self._geometry
        taps = [geometry.taps(row) for row in made]
        if plain.group != 1 or not (geometry.kernel == 1 or geometry.dense):
            return None
        span = range(taps[0][0], taps[-1][-1] + 1) if geometry.kernel > 1 else [tap for (tap,) in taps]
        inside = [tap for tap in span if 0 <= tap < geometry.height]
        under = [self._outside] * sum(tap < 0 for tap in span)
        under += [rows[plain.name].together(inside)] if inside else []
        under += [self._outside] * sum(tap >= geometry.height for tap in span)
        return self._run({plain.name: under[0] if len(under) == 1 else np.concatenate(under, axis=self._axis)})


class Pooling:
    """MaxPool, AveragePool and LpPool over the rows that exist."""

    def __init__(self, site: Site) -> None:
        given = attributes(site.node)
        self._site, self._kernel, self._axis = site, list(given["kernel_shape"]), 2 + site.network.axis
        self._geometry = Geometry(site, self._kernel)
        self._plain = PlainRows(site.read(0), self._axis)
        self._padded = bool(given.get("count_include_pad", 0)) and site.node.op_type == "AveragePool"
        self._runs: dict[int, Single] = {}
        _agreed(site, given)

    @property
    def nothing(self) -> np.ndarray:
        """What a window that lies outside the map altogether gives: onnxruntime's start of a maximum, or of a sum."""
        made, dtype = self._site.made, element(self._site.made)
        least: Any = 0
        if self._site.node.op_type == "MaxPool":
            least = np.iinfo(dtype).min if dtype.kind in "iu" else np.finfo(dtype).min
        return np.full(row_shape(made.dims, made.rows), least, dtype)

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        tokens = dict.fromkeys(self._plain.token(tap) for tap in self._geometry.inside(row))
        return {self._plain.name: tuple(tokens)}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        inside = self._geometry.inside(row)
        if not inside:
            return self.nothing
        block = np.concatenate([self._plain.take(tap, rows) for tap in inside], axis=self._axis)
        found = self.run(len(inside))({self._plain.name: block})
        return self.weighed(found, len(inside), self.counted(row))

    def run(self, height: int) -> Single:
        """The pooling of `height` rows into one."""
        if height not in self._runs:
            node = with_attributes(
                self._site.node, kernel_shape=but(self._kernel, height, self._site.network.axis),
                **self._geometry.flat,
            )  # fmt: skip
            del node.output[1:]
            self._runs[height] = self._site.single(node)
        return self._runs[height]

    def counted(self, row: int) -> int:
        """Rows that an average divides by: padding that counts does, what lies beyond it never does."""
        if not self._padded:
            return len(self._geometry.inside(row))
        end = self._geometry.height + self._geometry.after
        return sum(tap < end for tap in self._geometry.taps(row))

    def weighed(self, mean: np.ndarray, rows: int, counted: int) -> np.ndarray:
        """The mean of `rows` rows as one of `counted`."""
        return mean if rows == counted else (mean * (rows / counted)).astype(mean.dtype)

    @property
    def geometry(self) -> Geometry:
        """The windows."""
        return self._geometry

    @property
    def plain(self) -> PlainRows:
        """The rows that it reads."""
        return self._plain


def _agreed(site: Site, given: Mapping[str, Any]) -> None:
    """Raise `ModelError` where onnxruntime makes other rows than onnx infers: with `ceil_mode` they disagree on a last
    window that begins behind the map."""
    if not given.get("ceil_mode", 0):
        return
    data = site.read(0)
    found = site.single()({data.name: np.zeros(data.dims, element(data))}).shape
    if found != site.made.dims:
        raise ModelError(
            f"onnx and onnxruntime disagree on {site.stage.label}: onnx infers the shape {list(site.made.dims)} of its "
            f"output, onnxruntime makes {list(found)}, without the windows that begin behind the map; export it "
            "without ceil_mode, with a Pad in front where the ragged windows are wanted"
        )


def element(tensor: Tensor) -> np.dtype[Any]:
    """numpy's type for the elements of a tensor."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(tensor.dtype))


class AbsorbingPooling:
    """A pooling whose windows share no row: it adds up, or keeps the maximum, row by row."""

    def __init__(self, site: Site) -> None:
        self._pooling = Pooling(site)
        self._op = site.node.op_type
        self._power = attributes(site.node).get("p", 2)
        self._window: dict[int, int] = {}
        self._rows = [0] * site.made.row_count
        for made in range(site.made.row_count):
            for tap in self._pooling.geometry.inside(made):
                if tap in self._window:
                    raise AssertionError(f"row {tap} lies in two windows of {site.stage.label}")
                self._window[tap] = made
                self._rows[made] += 1
        self._sum: np.ndarray | None = None
        self._dtype: np.dtype[np.generic] = np.dtype(np.float32)

    def serves(self, taken: int) -> int | None:
        return self._window.get(taken)

    def absorb(self, taken: int, row: np.ndarray) -> None:
        flat = self._pooling.run(1)({self._pooling.plain.name: row})
        self._dtype = flat.dtype
        if self._op == "MaxPool":
            self._sum = flat if self._sum is None else np.maximum(self._sum, flat)
            return
        wide = flat.astype(np.float64)
        if self._op == "LpPool":
            wide **= self._power
        self._sum = wide if self._sum is None else self._sum + wide

    def emit(self, row: int) -> np.ndarray:
        if self._sum is None:
            return self._pooling.nothing
        total, self._sum = self._sum, None
        if self._op == "AveragePool":
            total = total / self._pooling.counted(row)
        elif self._op == "LpPool":
            total = total ** (1 / self._power)
        return total.astype(self._dtype)


class TransposedConvolution:
    """ConvTranspose, one tap of the kernel at a time: row r under tap m goes to row r · stride + m · dilation − pad."""

    def __init__(self, site: Site) -> None:
        given = attributes(site.node)
        weight = site.constant(1)
        assert weight is not None
        spatial, along = len(site.made.dims) - 2, site.network.axis
        data, made = site.read(0), site.made
        self._kernel = weight.shape[2 + along]
        strides = list(given.get("strides", [1] * spatial))
        dilations = list(given.get("dilations", [1] * spatial))
        extra = list(given.get("output_padding", [0] * spatial))
        pads = list(given.get("pads", [0] * (2 * spatial)))
        auto = given.get("auto_pad", b"NOTSET").decode()
        if "output_shape" in given or auto.startswith("SAME"):
            for axis in range(spatial):
                extent = (data.dims[2 + axis] - 1) * strides[axis] + (weight.shape[2 + axis] - 1) * dilations[axis]
                total = max(0, extent + 1 + extra[axis] - made.dims[2 + axis])
                smaller, larger = total // 2, total - total // 2
                before = larger if auto == "SAME_LOWER" else smaller
                pads[axis], pads[axis + spatial] = before, total - before
        elif auto == "VALID":
            pads = [0] * (2 * spatial)
        self._stride, self._dilation, self._pad = strides[along], dilations[along], pads[along]
        self._plain = PlainRows(data, 2 + along)
        node = with_attributes(
            site.node, auto_pad=None, output_shape=None, kernel_shape=but(weight.shape[2:], 1, along),
            pads=but(pads, 0, along, along + spatial), strides=but(strides, 1, along),
            dilations=but(dilations, 1, along), output_padding=but(extra, 0, along),
        )  # fmt: skip
        bias = site.constant(2)
        self._bias = None if bias is None else bias.reshape(1, -1, *(1,) * spatial)
        del node.input[2:]
        name = node.input[1]
        self._runs = [
            site.single(node, fixed={name: np.ascontiguousarray(weight.take([tap], axis=2 + along))})
            for tap in range(self._kernel)
        ]
        self._empty = np.zeros(but(made.dims, 1, 2 + along), weight.dtype)

    def _pairs(self, row: int) -> list[tuple[int, int]]:
        found = []
        for tap in range(self._kernel):
            source, odd = divmod(row + self._pad - tap * self._dilation, self._stride)
            if not odd and 0 <= source < self._plain.height:
                found.append((source, tap))
        return found

    def takes(self, row: int) -> Mapping[str, Sequence[int]]:
        tokens = dict.fromkeys(self._plain.token(source) for source, _ in self._pairs(row))
        return {self._plain.name: tuple(tokens)}

    def make(self, row: int, rows: Rows) -> np.ndarray:
        total = self._empty
        for source, tap in self._pairs(row):
            total = total + self._runs[tap]({self._plain.name: self._plain.take(source, rows)})
        return total if self._bias is None else total + self._bias


def _windowed(rule: Rule) -> Rule:
    """A rule for maps whose rows lie in the axis that the network streams along; the others run as a whole."""

    def kernel(site: Site) -> Kernel:
        data, axis = site.read(0), 2 + site.network.axis
        in_rows = axis < len(data.dims) and PlainRows(data, axis).group is not None
        return rule(site) if in_rows else Whole(site)

    return told_before(kernel)


WINDOWS: Rules[Rule] = Rules(
    {
        ("Conv", "ConvInteger", "QLinearConv"): _windowed(Convolution),
        "ConvTranspose": _windowed(TransposedConvolution),
        POOLINGS: _windowed(Pooling),
    }
)
ABSORBERS: Rules[Absorbing] = Rules({POOLINGS: AbsorbingPooling})
