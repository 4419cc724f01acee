"""Strict promotion for all tests and doctests, and the names that doctests use."""

import jax
import jax.numpy as jnp
import pytest

import jaxpool

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update(jax=jax, jnp=jnp, jaxpool=jaxpool)
