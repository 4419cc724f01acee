"""How parameters that are arrays are checked, and laid along x."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


def test_arrays_out_of_range_are_refused_as_numbers_are():
    x, key = jnp.ones(4), jax.random.key(0)
    for pool, name, values, options in (
        (jaxpool.rank_stochastic_pool, "alpha", (0, 1.5, np.nan), {"key": key}),
        (jaxpool.max_pool_dropout, "rate", (-0.5, 1.5, np.nan), {"key": key}),
        (jaxpool.mixed_pool, "alpha", (-0.5, 1.5, np.nan), {}),
        (jaxpool.ada_pool, "beta", (-0.5, 1.5, np.nan), {}),
    ):
        for value in values:
            for given in (value, np.full((), value, np.float32), jnp.float32(value)):
                with pytest.raises(ValueError, match=f"_pool.*: `{name}` must be a "):
                    pool(x, 2, axes=0, **{name: given}, **options)
