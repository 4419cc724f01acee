"""`jaxpool.compat.torch` against live PyTorch: each argument of each function, and what is refused."""

import inspect
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool.compat.torch as compat
from jaxpool.compat._words import RefusedError

TESTS_OF = ("compat/torch.py", "compat/_calls.py", "compat/_arrays.py", "compat/_words.py")

NAMES = [name for name in vars(compat) if re.search(r"_(un)?pool\dd", name)]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is the oracle of this test")


def call(*args, **kwargs):
    return args, kwargs


# Of maps of these sizes: with and without an axis of images, each argument by place and by name.
SIZES = {1: (9,), 2: (7, 6), 3: (5, 4, 6)}
# A window as large as the input and its padding, and one that is larger, which ceil mode keeps.
MAX = {
    1: (call(2), call((3,), (2,), (1,)), call(3, 2, 1, 2, True), call([2], [], 0, [3]), call(11, 4, 1, ceil_mode=True)),
    2: (call(2), call((3, 2), (2, 1), (1, 0), dilation=(1, 2)), call(kernel_size=(9, 2), stride=3, padding=1, ceil_mode=True)),
    3: (call((2, 3, 1), 2, (1, 0, 0), (1, 1, 2)), call((6, 1, 2), 4, ceil_mode=True)),
}  # fmt: skip
AVG = {
    1: (call(3), call(3, 2, 1, True, False), call((11,), 4, 1, ceil_mode=True, count_include_pad=True)),
    2: (call((3, 2), (2, 1), (1, 0), True), call(3, 2, 1, True, False, -7), call((9, 2), 3, ceil_mode=True)),
    3: (call((2, 3, 1), 2, (1, 0, 0), True, False), call(3, stride=2, divisor_override=4)),
}  # fmt: skip
LP = {
    1: (call(2.0, 3, 2), call(2, 11, 4, True)),
    2: (call(1.5, (3, 2), (2, 1), True), call(norm_type=float("inf"), kernel_size=3, ceil_mode=True)),
    3: (call(2, (2, 3, 1), 2, True),),
}  # fmt: skip
ADAPTIVE = {
    1: (call((5,)), call(output_size=0)),
    2: (call(1), call((3, None)), call(output_size=(0, 2))),
    3: (call((None, 3, 2)),),
}  # fmt: skip
TABLES = {"max": MAX, "avg": AVG, "lp": LP, "adaptive_avg": ADAPTIVE, "adaptive_max": ADAPTIVE}


def images(rank, batch, positive):
    x = np.random.default_rng(rank).normal(size=(*batch, *SIZES[rank])).astype(np.float32)
    return np.abs(x) if positive else x


def jobs():
    """(name, x, arguments) of all of the tables."""
    for kind, table in TABLES.items():
        for rank, calls in table.items():
            for number, (args, kwargs) in enumerate(calls):
                x = images(rank, (3,) if number % 2 else (2, 3), kind == "lp")
                name = f"{kind}_pool{rank}d"
                yield name, x, args, kwargs
                if kind.endswith("max") and number == len(calls) - 1:
                    yield name, x, args, {**kwargs, "return_indices": True}
                    yield f"{name}_with_indices", x, args, kwargs


@pytest.mark.parametrize("rank", SIZES)
def test_values_and_indices(torch, rank):
    """One program for all calls."""
    some = [job for job in jobs() if f"{rank}d" in job[0]]
    assert len(some) > 8

    @jax.jit
    def everything(xs):
        return [
            getattr(compat, name)(x, *args, **kwargs)
            for x, (name, _, args, kwargs) in zip(xs, some, strict=True)
        ]

    every = everything([x for _, x, *_ in some])
    for (name, x, args, kwargs), found in zip(some, every, strict=True):
        expected = getattr(torch.nn.functional, name)(torch.tensor(x), *args, **kwargs)
        equal(found, expected, f"{name} {args} {kwargs}", 5e-6 if name.startswith("lp") else 1e-6)


def equal(found, expected, what, rtol=0.0):
    """Whether values are close, and indices the same, if there are any."""
    assert isinstance(found, tuple) == isinstance(expected, tuple), what
    both = (found, expected) if isinstance(found, tuple) else ((found,), (expected,))
    for a, b in zip(*both, strict=True):
        assert a.shape == tuple(b.shape), what
        np.testing.assert_allclose(a, b.numpy(), rtol, rtol / 10, err_msg=what)


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", SIZES)
def test_gradients(torch, rank):
    """For cotangents of which no two are alike."""
    some = [job for job in jobs() if f"{rank}d" in job[0]]
    some = [(*job[:3], {**job[3], "return_indices": False}) if "return_indices" in job[3] else job
            for job in some if "indices" not in job[0] and 0 not in sizes_of(job)]  # fmt: skip

    @jax.jit
    def everything(xs):
        found = []
        for x, (name, _, args, kwargs) in zip(xs, some, strict=True):
            pool = getattr(compat, name)
            y, vjp = jax.vjp(lambda x: pool(x, *args, **kwargs), x)
            found += vjp(jnp.arange(1.0, 1 + y.size).reshape(y.shape))
        return found

    every = everything([x for _, x, *_ in some])
    for (name, x, args, kwargs), found in zip(some, every, strict=True):
        t = torch.tensor(x, requires_grad=True)
        y = getattr(torch.nn.functional, name)(t, *args, **kwargs)
        y.backward(torch.arange(1.0, 1 + y.numel()).reshape(y.shape))
        what = f"{name} {args} {kwargs}"
        np.testing.assert_allclose(found, t.grad.numpy(), 2e-5, 1e-5, err_msg=what)


def sizes_of(job):
    """The cells of an adaptive pool, which has no gradient in PyTorch if there are none."""
    given = job[3].get("output_size", job[2][0] if job[2] else 1)
    return given if isinstance(given, tuple) and "adaptive" in job[0] else (given,)


# Arguments after the map. Maps are positive, so that no value is 0 by itself.
FRACTIONAL = {2: (call((3, 2), 3), call(kernel_size=2, output_ratio=(0.5, 0.7))),
              3: (call((2, 1, 2), None, (0.5, 0.5, 0.6), True),)}  # fmt: skip
UNPOOL = {
    1: (call(3, 2, 1, output_size=(1, 1, 9)),),
    2: (call(2, None, 0, (7, 7)), call((3, 2), stride=2, padding=(1, 0))),
    3: (call(2, output_size=(5, 4, 6)),),
}  # fmt: skip


def test_fractional_pools_and_unpooling(torch):
    rng = np.random.default_rng(0)
    some = []
    for rank, calls in FRACTIONAL.items():
        for number, (args, kwargs) in enumerate(calls):
            batch = (3,) if number % 2 else (2, 3)
            u = rng.uniform(size=(len(batch), 3, rank))
            name = f"fractional_max_pool{rank}d" + "_with_indices" * (number == 1)
            some.append(
                (
                    name,
                    (images(rank, batch, True),),
                    args,
                    {**kwargs, "_random_samples": np.float32(u)},
                )
            )
    for rank, calls in UNPOOL.items():
        for number, (args, kwargs) in enumerate(calls):
            x = torch.tensor(images(rank, (3,) if number % 2 else (2, 3), True))
            pool = getattr(torch.nn.functional, f"max_pool{rank}d_with_indices")
            given = {
                **dict(zip(("kernel_size", "stride", "padding"), args, strict=False)),
                **kwargs,
            }
            y, indices = pool(x, **{k: v for k, v in given.items() if k != "output_size"})
            some.append(
                (f"max_unpool{rank}d", (y.numpy(), indices.numpy().astype(np.int32)), args, kwargs)
            )

    @jax.jit
    def everything(arrays):
        return [
            getattr(compat, name)(*xs, *args, **kwargs)
            for xs, (name, _, args, kwargs) in zip(arrays, some, strict=True)
        ]

    for (name, xs, args, kwargs), found in zip(
        some, everything([xs for _, xs, *_ in some]), strict=True
    ):
        if "_random_samples" in kwargs:
            kwargs = {**kwargs, "_random_samples": torch.tensor(kwargs["_random_samples"])}
            ts = [torch.tensor(xs[0])]
        else:
            ts = [torch.tensor(xs[0]), torch.tensor(xs[1]).long()]
        expected = getattr(torch.nn.functional, name)(*ts, *args, **kwargs)
        equal(found, expected, f"{name} {args} {kwargs}")


def test_the_functions_and_their_arguments(torch):
    """Names, order and defaults are those that PyTorch writes, in a signature or in a docstring."""
    functional = torch.nn.functional
    theirs = {n for n in vars(functional) if "pool" in n and n[0] != "_" and n[-1] in "ds"}
    assert set(NAMES) == theirs
    for name in NAMES:
        function, own = getattr(functional, name), inspect.signature(getattr(compat, name))
        ours = [(p.name, p.default) for p in own.parameters.values() if p.name != "key"]
        try:
            parameters = inspect.signature(function).parameters
        except ValueError:
            parameters = {}
        if "input" in parameters:
            expected = [(p.name, p.default) for p in parameters.values()]
        else:
            said = re.search(rf"{name}\((.*?)\)", function.__doc__)[1]
            expected = [
                (
                    part.split("=")[0],
                    eval(part.split("=")[1]) if "=" in part else inspect.Parameter.empty,
                )
                for part in said.split(", ")
            ]
        assert ours == expected, name


X = np.ones((2, 3, 7, 6), np.float32)
INDICES = np.zeros((2, 3, 7, 6), np.int64)
REFUSED = [
    ("max_pool2d", (X, 0)), ("max_pool2d", (X, 2, 0)), ("max_pool2d", (X, (2, 2, 2))), ("max_pool2d", (X, 2, 1, 2)),
    ("max_pool2d", (X, 2, 1, -1)), ("max_pool2d", (X, 3, 2, 2, 2)), ("max_pool2d", (X, 8)), ("max_pool2d", (X, 8, 1, 0, 1, True)),
    ("max_pool2d", (X[0, 0], 2)), ("max_pool2d", (X[None], 2)), ("max_pool2d", (X, 2, 1, 0, 0)), ("max_pool2d", (X[:, :, :0], 2)),
    ("max_pool1d", (X[0, 0, 0], 2)), ("max_pool1d", (X, 2)), ("max_pool1d", (X[0], 2, 1, 1, 8)), ("max_pool3d", (X[0], 2)), ("max_pool1d", (X[0], [])),
    ("max_pool2d_with_indices", (X, 8)), ("avg_pool2d", (X, 2, 2, 2)), ("avg_pool2d", (X, 8)), ("avg_pool2d", (X, 2, 2, 0, False, True, 0)),
    ("avg_pool1d", (X, 2)), ("avg_pool3d", (X, 7)), ("lp_pool2d", (X, 2, 8)), ("lp_pool1d", (X, 2, 2)), ("lp_pool1d", (X[0], 2, 8, 1, True)),
    ("adaptive_avg_pool2d", (X, -1)), ("adaptive_avg_pool2d", (X, (2, 2, 2))), ("adaptive_max_pool1d", (X, 2)), ("adaptive_avg_pool2d", (X[:, :, :0], 2)),
    ("fractional_max_pool2d", (X, 2)), ("fractional_max_pool2d", (X, 2, 7)), ("fractional_max_pool2d", (X[None], 2, 2)),
    ("fractional_max_pool2d", (X, 2, (2, 2, 2))), ("fractional_max_pool2d", (X, 2, 3, None, False, np.ones((2, 2), np.float32) / 2)),
    ("max_unpool2d", (X, INDICES, 2, None, 0, (16, 12))), ("max_unpool2d", (X, INDICES, 2, None, 0, (1, 14, 12))), ("max_unpool2d", (X, INDICES[..., 1:], 2)),
    ("max_unpool2d", (X[0, 0], INDICES[0, 0], 2)), ("max_unpool1d", (X[0], INDICES[0], 2, None, 0, (3, 12))),
]  # fmt: skip
OF_ANOTHER_KIND = [
    ("max_pool2d", (X, 2.0)), ("max_pool2d", (X, "2")), ("max_pool2d", (X, True)), ("max_pool2d", (X, 2, 1, 0, 1, 1)),
    ("avg_pool2d", (X, 2, 2, 0, False, 0)), ("avg_pool2d", (X, 2, 2, 0, False, True, 2.5)), ("adaptive_avg_pool2d", (X, 2.0)),
    ("max_unpool2d", (X, INDICES, 2, None, 0, 14)), ("max_pool2d", ([1.0], 2)), ("max_pool2d", (X,)), ("max_pool2d", (X, 2, 2, 0, 1, False, False, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), REFUSED, ids=itertools.count())
def test_refusals_are_errors_of_both_libraries(name, args):
    if name.startswith("fractional"):
        call = lambda: getattr(compat, name)(*args, key=jax.random.key(0))
    else:
        call = lambda: getattr(compat, name)(*args)
    with pytest.raises(RefusedError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RuntimeError)
    text = str(caught.value)
    assert text.startswith(f"{name}: `")
    assert not re.search(
        r"window_shape|strides|output_shape|`x`|x\.shape|`axes`|`samples`",
        text.replace("input.shape", ""),
    )


@pytest.mark.parametrize(("name", "args"), OF_ANOTHER_KIND, ids=itertools.count())
def test_wrong_kinds_are_type_errors(name, args):
    with pytest.raises(TypeError, match=f"^{name}[:(]"):
        getattr(compat, name)(*args)


def test_pytorch_refuses_them_too(torch):
    with_arrays = lambda args: [torch.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    for name, args in REFUSED:
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            getattr(torch.nn.functional, name)(*with_arrays(args))
    for name, args in OF_ANOTHER_KIND:
        with pytest.raises(TypeError):
            getattr(torch.nn.functional, name)(*with_arrays(args))


def test_what_differs():
    """Numbers below 0 in norms, a key, windows of nothing but padding, and indices outside."""
    x = -jnp.arange(1.0, 5.0).reshape(1, 4)
    np.testing.assert_allclose(
        compat.lp_pool1d(x, 3, 2), [[9 ** (1 / 3), 91 ** (1 / 3)]], rtol=1e-6
    )
    with pytest.raises(RefusedError, match=r"^fractional_max_pool2d: `key` must be given.*key=jax"):
        compat.fractional_max_pool2d(X, 2, 3)
    with pytest.raises(
        RefusedError, match=r"^max_pool1d: `padding` must leave every window an element"
    ):
        compat.max_pool1d(x[:, :2], 2, 1, 1, 3)
    unpooled = compat.max_unpool1d(x, jnp.array([[0, 2, 99, -1]]), 2)
    np.testing.assert_array_equal(unpooled, [[-1, 0, -2, 0, 0, 0, 0, 0]])


def test_calls_outside_of_jit():
    """One program each; in ceil mode a norm's last window is as if the rest were like what is there."""
    x = jnp.arange(1.0, 6.0).reshape(1, 5)
    np.testing.assert_allclose(
        compat.lp_pool1d(x, 2, 2, 2, True), [[5**0.5, 5.0, 50**0.5]], rtol=1e-6
    )
    y, indices = compat.adaptive_max_pool1d(x, (0,), return_indices=True)
    assert y.shape == indices.shape == (1, 0)
    assert indices.dtype == jnp.int32
    drawn = compat.fractional_max_pool2d(X, 2, 3, key=jax.random.key(0))
    assert drawn.shape == (2, 3, 3, 3)
