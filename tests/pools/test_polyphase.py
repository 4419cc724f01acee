"""Polyphase pools: phases against loops, and every circular shift to the last bit."""

import functools
import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = ("pools/polyphase.py", "lowering/phases.py", "layers/checks.py")

NORMS = (2, 1, float("inf"), "min")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 8, 6, 4)).astype(np.float32)


def by_loop(x, strides, norm=2, axes=(1, 2)):
    """Phases of each sample along axes between the first, of samples, and the last, in float64."""
    pooled, chosen = [], []
    for sample in np.asarray(x):
        best = None
        for start in itertools.product(*map(range, strides)):
            cut = tuple(slice(a, None, s) for a, s in zip(start, strides, strict=True))
            part = sample[cut]
            size = np.abs(np.nan_to_num(part.astype(np.float64), nan=np.inf))
            size = np.minimum(size, float(np.finfo(np.float32).max))
            weight = {2: (size**2).sum(), 1: size.sum(), "min": -(size**2).sum()}.get(
                norm, size.max()
            )
            if best is None or weight > best[0]:
                best = weight, start, part
        pooled.append(best[2])
        chosen.append(best[1])
    return np.stack(pooled), np.array(chosen, np.int32)


@functools.cache
def basics():
    pool = functools.partial(jaxpool.polyphase_pool, return_phase=True)

    def program(x, half, ints, other):
        first = jnp.moveaxis(x, -1, 1)  # channels first
        pooled = {f"{norm} {s}": pool(x, s, norm=norm) for norm in NORMS for s in ((2, 2), (4, 3))}
        y, phase = pooled["2 (2, 2)"]
        unpool = functools.partial(jaxpool.polyphase_unpool, strides=(2, 2))
        gradient = lambda x, w: jax.grad(lambda x: jnp.vdot(pool(x, (2, 2))[0], w))(x)
        back, second = jax.jvp(lambda x: gradient(x, jnp.cos(y)), (x,), (x,))
        return {
            "pooled": pooled,
            "half": pool(half, (2, 2)),
            "ints": pool(ints, (2, 2)),
            "first": pool(first, (2, 2), axes=(2, 3), channel_axis=1),
            "swapped": pool(x, (3, 4), axes=(2, 1)),
            "alone": pool(x[0, :, 0], 2, axes=0),
            "pairs": pool(x.reshape(3, 2, 4, 6, 4), (2, 2)),
            "kept": pool(x, (1, 1)),
            "vmap": jax.vmap(lambda x: pool(x, (2, 2)))(x),
            "gradient": (back, second, unpool(jnp.cos(y), phase)),
            "tangent": (jax.jvp(lambda x: pool(x, (2, 2))[0], (x,), (other,))[1],
                        jaxpool.polyphase_unpool(y, phase, (2, 2)) != 0, other),
            "outside": unpool(y, phase + 2),
            "unpooled gradient": jax.grad(lambda y: jnp.vdot(unpool(y, phase), other))(y),
            "bools": pool(x > 1, (2, 2)),
            "many": pool(x, (8, 6), norm=1),
            "many bools": pool(jnp.tile(x > 1, (1, 1, 2, 1)), (8, 12), norm=1),
            "many gradient": jax.grad(lambda x: jnp.sum(pool(x[:, ::2, ::2], (4, 3))[0] ** 2))(x),
        }  # fmt: skip

    half, ints = jnp.asarray(X, jnp.float16), (20 * X).astype(np.int8)
    return jax.tree.map(np.asarray, jax.jit(program)(X, half, ints, np.cos(X)))


@pytest.mark.parametrize("norm", NORMS)
def test_the_phase_of_largest_norm_is_chosen(norm):
    for strides in ((2, 2), (4, 3)):
        for found, wanted in zip(
            basics()["pooled"][f"{norm} {strides}"], by_loop(X, strides, norm), strict=True
        ):
            np.testing.assert_array_equal(found, wanted, strict=True)


def test_layouts_and_dtypes():
    y, phase = by_loop(X, (2, 2))
    found = basics()
    for a, b in zip(found["first"], (np.moveaxis(y, -1, 1), phase), strict=True):
        np.testing.assert_array_equal(a, b)
    wide, of_wide = by_loop(X, (4, 3))
    np.testing.assert_array_equal(found["swapped"][0], wide)
    np.testing.assert_array_equal(found["swapped"][1], of_wide[:, ::-1])
    for a, b in zip(found["vmap"], (y, phase), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found["kept"][0], X)
    alone, start = by_loop(X[:1, :, 0], (2,))
    np.testing.assert_array_equal(found["alone"][0], alone[0])
    np.testing.assert_array_equal(found["alone"][1], start[0])
    pairs = by_loop(X.reshape(6, 4, 6, 4), (2, 2))
    np.testing.assert_array_equal(found["pairs"][0], pairs[0].reshape(3, 2, 2, 3, 4))
    np.testing.assert_array_equal(found["pairs"][1], pairs[1].reshape(3, 2, 2))
    for name, x in (("half", X.astype(np.float16)), ("ints", (20 * X).astype(np.int8)),
                    ("bools", X > 1)):  # fmt: skip
        for a, b in zip(found[name], by_loop(x, (2, 2)), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    for name, x in (("many", X), ("many bools", np.tile(X > 1, (1, 1, 2, 1)))):
        strides = x.shape[1:3]
        for a, b in zip(found[name], by_loop(x, strides, 1), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def test_derivatives_go_to_the_chosen_phase():
    back, second, unpooled = basics()["gradient"]
    np.testing.assert_array_equal(back, unpooled)
    np.testing.assert_array_equal(second, 0)
    y, phase = by_loop(X, (2, 2))
    wanted = np.zeros_like(X)
    for i, (a, b) in enumerate(phase):
        wanted[i, a::2, b::2] = np.cos(y[i])
    np.testing.assert_allclose(unpooled, wanted, rtol=1e-6)
    tangent, chosen, other = basics()["tangent"]
    np.testing.assert_array_equal(tangent, other[chosen].reshape(tangent.shape))
    np.testing.assert_array_equal(basics()["unpooled gradient"], tangent)
    np.testing.assert_array_equal(basics()["outside"], 0)
    wide, of_wide = by_loop(X[:, ::2, ::2], (4, 3))
    wanted = np.zeros_like(X)
    for i, (a, b) in enumerate(of_wide):
        wanted[i, 2 * a :: 8, 2 * b :: 6] = 2 * wide[i]
    np.testing.assert_array_equal(basics()["many gradient"], wanted)


def shifted(results, base, places, strides):
    """Checks that results of x, rolled by each of `places`, are those of x, rolled."""
    (ys, phases), (y, phase) = results, base
    for number, place in enumerate(places):
        for i in range(len(y)):
            total = phase[i] + place
            by = [int(n) // s for n, s in zip(total, strides, strict=True)]
            np.testing.assert_array_equal(ys[number, i], np.roll(y[i], by, (0, 1)))
            np.testing.assert_array_equal(phases[number, i], total % strides)


@functools.cache
def close():
    """Images whose phases have norms that differ by less than a sum in float32 is off by."""
    x = np.empty((4, 8, 8, 8), np.float32)
    values = (RNG.standard_normal(128) * 2.0 ** RNG.integers(-4, 4, 128)).astype(np.float32)
    for i, start in itertools.product(range(4), itertools.product(range(2), range(2))):
        part = values.copy()
        part[np.abs(part).argmax()] *= 1 + [0, 3, 1, 2][(2 * start[0] + start[1] + i) % 4] * 2e-5
        x[i, start[0] :: 2, start[1] :: 2] = RNG.permutation(part).reshape(4, 4, 8)
    return x


def rolled(x, by):
    return jax.vmap(lambda place: jnp.roll(x, place, (1, 2)))(by)


@pytest.mark.parametrize("norm", NORMS)
def test_every_shift_gives_the_same_to_the_last_bit(norm):
    """Phases that nearly tie, and blurred ones."""
    x = close()
    places = np.array([*itertools.product(range(8), range(8))], np.int32)
    pool = functools.partial(jaxpool.polyphase_pool, norm=norm, return_phase=True)

    def blurred(x):
        return pool(jaxpool.blur_pool(x, (1, 1), padding_mode="wrap"), (2, 2))

    @jax.jit
    def everything(x, places):
        images = rolled(x, places)
        return [(jax.vmap(f)(images), f(x)) for f in (lambda x: pool(x, (2, 2)), blurred)]

    for results, base in jax.tree.map(np.asarray, everything(x, places)):
        shifted(results, base, places, (2, 2))
    if norm == 2:
        np.testing.assert_array_equal(everything(x, places)[0][1][1], by_loop(x, (2, 2))[1])


def test_norms_of_any_size_and_many_elements():
    """Scales that square to nothing or overflow, what is not finite, zeros, and long axes."""
    tiny, huge = X * np.float32(1e-30), X * np.float32(3e37)
    marked = X.copy()
    marked[0, 1, 0, 2], marked[1, 2, 3, 0], marked[2, 1, 1, 1] = np.nan, -np.inf, np.inf
    marked[2, 3, 3, 3] = np.nan
    several = X * np.float32(10.0) ** RNG.integers(-15, 15, (3, 1, 6, 1)).astype(np.float32)
    long = RNG.standard_normal((1, 3 * 2**17, 1)).astype(np.float32)
    long[0, 5::3] *= 1.0001
    images = {"tiny": tiny, "huge": huge, "marked": marked, "several": several, "zeros": 0 * X}

    @jax.jit
    def everything(images, long):
        pool = functools.partial(jaxpool.polyphase_pool, return_phase=True)
        found = [[pool(x, (2, 2), norm=norm)[1] for norm in NORMS] for x in images.values()]
        return (
            found,
            [pool(long, 3, axes=1, norm=norm)[1] for norm in NORMS],
            pool(images["marked"], (2, 2)),
        )

    found, of_long, (y, phase) = everything(images, long)
    for (name, norm), phases in zip(
        itertools.product(sorted(images), NORMS), itertools.chain(*found), strict=True
    ):
        np.testing.assert_array_equal(
            phases, by_loop(images[name], (2, 2), norm)[1], f"{name} {norm}"
        )
    for norm, phases in zip(NORMS, of_long, strict=True):
        np.testing.assert_array_equal(phases, by_loop(long, (3,), norm)[1])
    for i, (a, b) in enumerate(np.asarray(phase)):  # what is not chosen is not read
        np.testing.assert_array_equal(y[i], marked[i, a::2, b::2])


@pytest.mark.parametrize("norm", [1, 2, "min"])
def test_norms_that_are_nearly_the_same(norm):
    """Of elements that 16 bits hold: sums of their powers differ in the last digits alone."""
    random, power = np.random.default_rng(7), 1 if norm == 1 else 2
    phases = random.integers(1, 2**15, (100_000, 8))
    phases[:, 0] = 2**15  # the same unit for all
    sums = (phases**power).sum(1)
    order = np.argsort(sums)
    pairs = np.stack([order[:-1], order[1:]], 1)[random.permutation(len(order) - 1)[:200]]
    pairs = random.permuted(pairs, axis=1)
    pairs = pairs[sums[pairs[:, 0]] != sums[pairs[:, 1]]]
    x = np.stack([phases[pairs[:, 0]], phases[pairs[:, 1]]], 2).reshape(len(pairs), 16, 1)
    _, phase = jaxpool.polyphase_pool(np.float32(x), 2, axes=1, norm=norm, return_phase=True)
    wanted = (sums[pairs[:, 1]] > sums[pairs[:, 0]]) ^ (norm == "min")
    np.testing.assert_array_equal(phase[:, 0], wanted)


def test_the_first_of_equal_phases_is_chosen():
    x = np.zeros((2, 4, 4, 2), np.float32)
    x[0, 1, 2, 0], x[0, 2, 3, 1], x[1, 3, 3] = 3, -3, 1
    _, phase = jaxpool.polyphase_pool(x, (2, 2), return_phase=True)
    np.testing.assert_array_equal(phase, [[0, 1], [1, 1]])
    _, phase = jaxpool.polyphase_pool(x, (2, 2), axes=(2, 1), return_phase=True)
    np.testing.assert_array_equal(phase, [[0, 1], [1, 1]])


def test_export_with_a_symbolic_batch():
    shape = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("b"), 8, 6, 4), np.float32)

    def both(x):
        y, phase = jaxpool.polyphase_pool(x, (2, 3), return_phase=True)
        return y, phase, jaxpool.polyphase_unpool(y, phase, (2, 3))

    exported = jax.export.export(jax.jit(both))(shape)
    for a, b in zip(exported.call(X), jax.jit(both)(X), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"`x` must have a known size along axis 1"):
        jax.export.export(jax.jit(lambda x: jaxpool.polyphase_pool(x, 2, axes=1)))(
            jax.ShapeDtypeStruct((2, *jax.export.symbolic_shape("h"), 4), np.float32)
        )


PHASE = np.zeros((3, 2), np.int32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: jaxpool.polyphase_pool(X, (3, 2)), ValueError,
         r"polyphase_pool: `strides` must divide the sizes of the pooled axes; 8 along axis 1 is"),
        (lambda: jaxpool.polyphase_pool(X, 2), ValueError, "polyphase_pool: `strides` must be a se"),
        (lambda: jaxpool.polyphase_pool(X, (2, 2), channel_axis=1), ValueError,
         "polyphase_pool: `channel_axis` must be an axis of x that is not pooled"),
        (lambda: jaxpool.polyphase_pool(X, (2, 2), norm=3), ValueError,
         r'polyphase_pool: `norm` must be 2, 1, float\("inf"\) or "min"; got norm=3'),
        (lambda: jaxpool.polyphase_pool(X, (2, 2), norm=True), TypeError, "polyphase_pool: `norm`"),
        (lambda: jaxpool.polyphase_pool(X, (2, 2), norm=None), TypeError, "polyphase_pool: `norm`"),
        (lambda: jaxpool.polyphase_pool(X, (2, 2), return_phase=1), TypeError,
         "polyphase_pool: `return_phase` must be True or False"),
        (lambda: jaxpool.polyphase_pool(X[:, :0], (2, 2)), ValueError,
         "polyphase_pool: `x` must have at least one element"),
        (lambda: jaxpool.polyphase_unpool(X, PHASE[:2], (2, 2)), ValueError,
         r"polyphase_unpool: `phase` must have the shape \(3, 2\) of batch axes"),
        (lambda: jaxpool.polyphase_unpool(X, PHASE * 1.0, (2, 2)), TypeError,
         "polyphase_unpool: `phase` must hold ints"),
        (lambda: jaxpool.polyphase_unpool(X, 0, (2, 2)), TypeError,
         "polyphase_unpool: `phase` must be an int array"),
        (lambda: jaxpool.polyphase_unpool(X, PHASE, (2, 2), channel_axis=4), ValueError,
         "polyphase_unpool: `channel_axis` must be an axis"),
    ],
)  # fmt: skip
def test_mistakes_are_told_by_name(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
