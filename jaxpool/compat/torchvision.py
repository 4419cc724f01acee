"""The region pools of ``torchvision.ops``, with its names, arguments, layout and values.

Channels come first, (N, C, H, W), and boxes name their image, as an array of shape (K, 5) with its
number in front or as a list with an array of shape (L, 4) for each image. Arguments are those of
torchvision 0.28, in its order and with its defaults. A mistake is a `RuntimeError`, as there, and a
`ValueError` too.

Its default of ``sampling_ratio=-1``, as many samples as a cell is long, needs to know the boxes.
Where they are traced, as under `jax.jit`, write a number, or use `jaxpool.roi_align` with
``sampling_ratio=0`` and `max_sampling_ratio`.

Some things differ on purpose. `ps_roi_pool` reads the last row and column of the map, which
torchvision leaves out. Cells of `roi_pool` and `ps_roi_pool` are counted in ints: where torchvision
rounds the length of a cell to float32, a few boxes get a pixel more there. Boxes have gradients,
which torchvision does not give them. Maps are laid out with channels last for the pool, and back.

Example:
  >>> from jaxpool.compat.torchvision import roi_align, roi_pool
  >>> x = jnp.arange(64.).reshape(1, 1, 8, 8)
  >>> roi_align(x, [jnp.array([[0., 0., 4., 4.]])], 2)
  Array([[[[ 9., 11.],
           [25., 27.]]]], dtype=float32)
  >>> roi_pool(x, jnp.array([[0., 0., 0., 4., 4.]]), (1, 1))
  Array([[[[36.]]]], dtype=float32)
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from jaxpool._src.core import arguments
from jaxpool._src.core.program import as_one_program
from jaxpool._src.regions.places import known_boxes, most_samples
from jaxpool.compat._words import in_torchs_words, ints

# An array of shape (K, 5), or one of shape (L, 4) for each image.
Boxes = jax.Array | Sequence[jax.Array]
Sizes = int | Sequence[int]


@in_torchs_words
def roi_align(
    input: jax.Array,
    boxes: Boxes,
    output_size: Sizes,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> jax.Array:
    """The mean of bilinear samples in each cell of each box: `jaxpool.roi_align`."""
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}
    places = (boxes, output_size, spatial_scale)
    return _pooled("roi_align", jaxpool.roi_align, input, *places, **options)


@in_torchs_words
def ps_roi_align(
    input: jax.Array,
    boxes: Boxes,
    output_size: Sizes,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
) -> jax.Array:
    """`roi_align` where cells have their own channels: `jaxpool.position_sensitive_roi_align`."""
    pool = jaxpool.position_sensitive_roi_align
    places = (boxes, output_size, spatial_scale)
    return _pooled("ps_roi_align", pool, input, *places, sampling_ratio=sampling_ratio)


@in_torchs_words
def roi_pool(
    input: jax.Array, boxes: Boxes, output_size: Sizes, spatial_scale: float = 1.0
) -> jax.Array:
    """The maximum of the pixels in each cell of each box: `jaxpool.roi_max_pool`."""
    return _pooled("roi_pool", jaxpool.roi_max_pool, input, boxes, output_size, spatial_scale)


@in_torchs_words
def ps_roi_pool(
    input: jax.Array, boxes: Boxes, output_size: Sizes, spatial_scale: float = 1.0
) -> jax.Array:
    """The mean of pixels, where cells have their own channels: `position_sensitive_roi_pool`."""
    pool = jaxpool.position_sensitive_roi_pool
    return _pooled("ps_roi_pool", pool, input, boxes, output_size, spatial_scale)


@dataclasses.dataclass(frozen=True)
class MultiScaleRoIAlign:
    """`roi_align` on the map of a feature pyramid that suits a box's size.

    Called with maps by their names, boxes as one array of shape (L, 4) for each image, and the
    sizes (height, width) of the images, from which it takes the scales of the maps.

    Args:
      featmap_names: names of the maps to pool, which may be some of those that there are.
      output_size: number of cells along y and x, an int or two.
      sampling_ratio: number of samples in a cell along each axis, or -1 for one for each pixel.
      canonical_scale: width and height of a box that belongs to `canonical_level`.
      canonical_level: the level of such a box.

    Example:
      >>> from jaxpool.compat.torchvision import MultiScaleRoIAlign
      >>> pool = MultiScaleRoIAlign(["fine", "coarse"], 3, 2)
      >>> maps = {"fine": jnp.ones((1, 5, 64, 64)), "coarse": jnp.ones((1, 5, 32, 32))}
      >>> pool(maps, [jnp.array([[8., 8., 90., 70.]])], [(512, 512)]).shape
      (1, 5, 3, 3)
    """

    featmap_names: Sequence[str]
    output_size: Sizes
    sampling_ratio: int
    _: dataclasses.KW_ONLY
    canonical_scale: int = 224
    canonical_level: int = 4

    @in_torchs_words
    def __call__(
        self,
        x: Mapping[str, jax.Array],
        boxes: Sequence[jax.Array],
        image_shapes: Sequence[tuple[int, int]],
    ) -> jax.Array:
        """The pooled boxes, those of the first image first."""
        op = "MultiScaleRoIAlign"
        maps = [value for name, value in x.items() if name in self.featmap_names]
        if not maps:
            arguments.fail(op, "featmap_names", f"name maps of {list(x)}", self.featmap_names)
        if not image_shapes:
            arguments.fail(op, "image_shapes", "have an entry for each image", image_shapes)
        height = max(shape[0] for shape in image_shapes)
        scales = [2.0 ** round(math.log2(value.shape[-2] / height)) for value in maps]
        if len(maps) == 1:
            return roi_align(maps[0], boxes, self.output_size, scales[0], self.sampling_ratio)
        _check_boxes(op, boxes)
        options = {
            "aligned": False,
            "canonical_size": self.canonical_scale,
            "canonical_level": self.canonical_level,
            "spatial_scales": tuple(scales),
        }
        cells = ints(op, "output_size", self.output_size, 2, 1)
        # As many samples as on the finest map, which is no fewer than on any.
        options |= _samples(op, boxes, cells, max(scales), self.sampling_ratio)
        return as_one_program(
            _with_channels_last, jaxpool.multi_scale_roi_align, maps, boxes, cells, options
        )


def _samples(
    op: str, boxes: Any, cells: tuple[int, ...], scale: Any, sampling_ratio: Any
) -> dict[str, Any]:
    """A number of samples, or what says how many a box has, where that is known."""
    ratio = arguments.integer(op, "sampling_ratio", sampling_ratio, "be an int")
    if ratio > 0:
        return {"sampling_ratio": ratio}
    known = [
        known_boxes(entry) for entry in (boxes if isinstance(boxes, list | tuple) else [boxes])
    ]
    if any(entry is None for entry in known):
        hint = (
            "How many samples a box needs is not known before the program runs. Write "
            "sampling_ratio=2, or jaxpool.roi_align with sampling_ratio=0, max_sampling_ratio=16."
        )
        allowed = "be an int >= 1 where `boxes` are traced, as under jax.jit"
        arguments.fail(op, "sampling_ratio", allowed, sampling_ratio, hint=hint)
    corners = np.concatenate([entry[:, -4:] for entry in known if entry is not None])
    most = most_samples(corners, cells, scale, 0, None)
    return {"sampling_ratio": 0, "max_sampling_ratio": most}


def _pooled(
    op: str,
    pool: Callable[..., jax.Array],
    input: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: Any,
    **options: Any,
) -> jax.Array:
    """`pool` of maps whose channels come first, with torchvision's samples if it takes any."""
    cells = ints(op, "output_size", output_size, 2, 1)
    arguments.check_array(op, input)
    if input.ndim != 4:
        raise ValueError(
            f"{op}: `input` must have shape (N, C, H, W); got input.shape={input.shape}."
        )
    if op.startswith("ps_") and input.shape[1] % math.prod(cells):
        raise ValueError(
            f"{op}: `input` must have a multiple of {math.prod(cells)} channels, for "
            f"output_size={cells}; got input.shape={input.shape}."
        )
    _check_boxes(op, boxes)
    options["spatial_scale"] = spatial_scale
    if "sampling_ratio" in options:
        options |= _samples(op, boxes, cells, spatial_scale, options["sampling_ratio"])
    return as_one_program(_with_channels_last, pool, input, boxes, cells, options)


def _with_channels_last(
    pool: Callable[..., jax.Array], maps: Any, boxes: Any, cells: Any, options: Any
) -> jax.Array:
    """`pool` of maps whose channels come first, of which there may be a list."""
    if isinstance(boxes, list | tuple):
        counts = [entry.shape[0] for entry in boxes]
        images = np.repeat(np.arange(len(boxes), dtype=np.int32), counts)
        corners = jnp.concatenate(boxes)
    else:
        images, corners = boxes[:, 0].astype(np.int32), boxes[:, 1:]
    maps = jax.tree.map(lambda x: jnp.moveaxis(jnp.asarray(x), 1, -1), maps)
    return jnp.moveaxis(pool(maps, corners, cells, batch_indices=images, **options), -1, 1)


def _check_boxes(op: str, boxes: Any) -> None:
    """Checks what says where boxes are, and of which images."""
    if not isinstance(boxes, list | tuple):
        _check_array(op, boxes, 5, "an array of shape (K, 5), with the image's number first")
        return
    if not boxes:
        arguments.fail(op, "boxes", "have an entry for each image", boxes)
    for entry in boxes:
        _check_array(op, entry, 4, "a list of arrays of shape (L, 4), one for each image")


def _check_array(op: str, boxes: Any, width: int, allowed: str) -> None:
    if not isinstance(boxes, jax.Array | np.ndarray):
        kind = type(boxes).__name__
        raise TypeError(f"{op}: `boxes` must be {allowed}; got an object of type {kind}.")
    if boxes.ndim != 2 or boxes.shape[1] != width:
        raise ValueError(f"{op}: `boxes` must be {allowed}; got one of shape {boxes.shape}.")
