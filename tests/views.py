"""Views of NNX modules, in every version of Flax that is supported."""

from flax import nnx


def viewed(model, **options):
    """As `nnx.view` does, and what a user of Flax 0.12.0 does, which has none."""
    if hasattr(nnx, "view"):
        return nnx.view(model, **options)
    copy = nnx.clone(model)
    copy.set_attributes(**options)
    return copy
