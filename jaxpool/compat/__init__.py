"""Poolings of other libraries under their own names, so that a port is an import change.

`jaxpool.compat.torch` has those of ``torch.nn.functional``, `jaxpool.compat.torchvision` those of
``torchvision.ops``. Neither library is needed.
"""
