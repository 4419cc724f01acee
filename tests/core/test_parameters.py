"""How parameters that are arrays are laid along x."""

import jax.numpy as jnp
import numpy as np

import jaxpool
from tests.cases import distinct

TESTS_OF = ("core/parameters.py",)


def test_a_filter_has_the_axes_of_its_window_in_their_order():
    x, gate = distinct((5, 6)), jnp.asarray(distinct((3, 2), seed=1))
    y = jaxpool.gated_pool(x, (3, 2), 1, axes=(0, 1), gate=gate)
    turned = jaxpool.gated_pool(x, (2, 3), 1, axes=(1, 0), gate=gate.T)
    np.testing.assert_allclose(turned, y, rtol=1e-6)
    logits = [[(x[i : i + 3, j : j + 2] * gate).sum() for j in range(5)] for i in range(3)]
    largest = [[x[i : i + 3, j : j + 2].max() for j in range(5)] for i in range(3)]
    mean = [[x[i : i + 3, j : j + 2].mean() for j in range(5)] for i in range(3)]
    share = 1 / (1 + np.exp(-np.array(logits)))
    np.testing.assert_allclose(y, share * largest + (1 - share) * np.array(mean), rtol=1e-5)
