"""Second-order pools, VLAD and expected places, against loops in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests import derivatives
from tests.lowering.test_program_size import length

TESTS_OF = (
    "pools/descriptors.py",
    "pools/assignment.py",
    "reductions/descriptors.py",
    "lowering/triangles.py",
)

CHANNELS, CLUSTERS, GHOSTS = 6, 3, 2
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 3, 5, CHANNELS)).astype(np.float32)
OTHERS = {
    "y": RANDOM.normal(size=(4, 3, 5, 2)).astype(np.float32),
    "centroids": RANDOM.normal(size=(CLUSTERS, CHANNELS)).astype(np.float32),
    "logits": RANDOM.normal(size=(4, 3, 5, CLUSTERS + GHOSTS)).astype(np.float32),
    "temperature": np.float32(0.7),
}
WHERE = RANDOM.random((4, 3, 5, 1)) < 0.6
WHERE[2] = False  # an image in which nothing takes part
SKETCH = jaxpool.draw_sketch(jax.random.key(0), CHANNELS, 12)
PRIME = jaxpool.draw_sketch(jax.random.key(1), CHANNELS, 1031)


def few(x):
    """So few elements that a sketch takes them one by one."""
    return None if x is None else x[..., :1, :3, :]


# Functions of x, of OTHERS and of keywords; what they are of images with axes for height and width.
POOLS = {
    "covariance": lambda x, o, **k: jaxpool.covariance_pool(x, **k),
    "unbiased": lambda x, o, **k: jaxpool.covariance_pool(x, ddof=1, **k),
    "bilinear": lambda x, o, **k: jaxpool.bilinear_pool(x, normalize=False, **k),
    "normalized": lambda x, o, **k: jaxpool.bilinear_pool(x, **k),
    "of two": lambda x, o, **k: jaxpool.bilinear_pool(x, y=o["y"], **k),
    "root": lambda x, o, vectorize=True, **k: jaxpool.isqrt_covariance_pool(
        x, iterations=5 if vectorize else 3, vectorize=vectorize, **k),
    "one step": lambda x, o, **k: jaxpool.isqrt_covariance_pool(
        x, iterations=1, epsilon=0, vectorize=False, **k),
    "many steps": lambda x, o, **k: jaxpool.isqrt_covariance_pool(
        x, iterations=16, epsilon=0.1, vectorize=False, **k),
    "sketch": lambda x, o, **k: jaxpool.compact_bilinear_pool(x, sketch=SKETCH, **k),
    "vlad": lambda x, o, **k: jaxpool.netvlad_pool(x, o["centroids"], o["logits"][..., :3], **k),
    "ghosts": lambda x, o, **k: jaxpool.netvlad_pool(
        x, o["centroids"], o["logits"], ghosts=GHOSTS, **k),
    "places": lambda x, o, **k: jaxpool.spatial_softmax(x, temperature=o["temperature"], **k),
}  # fmt: skip
MORE = {
    "sketch of few": lambda x, o, where=None, **k: jaxpool.compact_bilinear_pool(
        few(x), sketch=SKETCH, where=few(where), **k),
    "long sketch": lambda x, o, **k: jaxpool.compact_bilinear_pool(x, sketch=PRIME, **k),
    "transposed places": lambda x, o, axes, **k: jaxpool.spatial_softmax(
        x, axes=axes[::-1], temperature=o["temperature"], **k),
}  # fmt: skip
EVERY = POOLS | MORE
# Their derivatives are those of another.
ALIKE = ("covariance", "unbiased", "bilinear", "one step", "normalized", "vlad", "long sketch",
         "transposed places")  # fmt: skip


def steps(v, iterations, epsilon):
    a = np.cov(v.T, ddof=0).reshape(v.shape[1], -1) + epsilon * np.eye(v.shape[1])
    trace = np.trace(a)
    y, z = a / trace, np.eye(len(a))
    for _ in range(iterations):
        t = (3 * np.eye(len(a)) - z @ y) / 2
        y, z = y @ t, t @ z
    return y * np.sqrt(trace)


def sketched(v, sketch):
    """Each entry of the mean outer product, added where its hashes say."""
    y = np.zeros(sketch.output_size)
    hashes, signs, outer = np.asarray(sketch.hashes), np.asarray(sketch.signs), v.T @ v / len(v)
    for i, j in np.ndindex(outer.shape):
        place = (hashes[0, i] + hashes[1, j]) % sketch.output_size
        y[place] += signs[0, i] * signs[1, j] * outer[i, j]
    return y


def vlad(v, logits):
    centroids, found = np.float64(OTHERS["centroids"]), []
    for k, c in enumerate(centroids):
        total = np.zeros(v.shape[1])
        for element, own in zip(v, np.exp(logits), strict=True):
            total += own[k] / own.sum() * (element - c)
        found.append(total / np.linalg.norm(total))
    return np.concatenate(found) / np.linalg.norm(found)


def root_of_signed(z):
    z = np.sign(z) * np.sqrt(abs(z))
    return (z / np.linalg.norm(z)).ravel()


def places(v, at):
    weights = np.exp(v / np.float64(OTHERS["temperature"]))
    return np.einsum("nc,na->ca", weights / weights.sum(0), at)


# Of valid elements, (elements, channels): of x, y and logits, and of where they are.
EXPECTED = {
    "covariance": lambda v, *_: np.cov(v.T, ddof=0),
    "unbiased": lambda v, *_: np.cov(v.T),
    "bilinear": lambda v, *_: (v.T @ v / len(v)).ravel(),
    "normalized": lambda v, *_: root_of_signed(v.T @ v),
    "of two": lambda v, y, *_: root_of_signed(v.T @ y),
    "root": lambda v, *_: steps(v, 5, 1e-6)[np.triu_indices(v.shape[1])],
    "one step": lambda v, *_: steps(v, 1, 0),
    "many steps": lambda v, *_: steps(v, 16, 0.1),
    "sketch": lambda v, *_: sketched(v, SKETCH),
    "sketch of few": lambda v, *_: sketched(v, SKETCH),
    "long sketch": lambda v, *_: sketched(v, PRIME),
    "vlad": lambda v, y, logits, _: vlad(v, logits[:, :3]),
    "ghosts": lambda v, y, logits, _: vlad(v, logits),
    "places": lambda v, y, logits, at: places(v, at),
    "transposed places": lambda v, y, logits, at: places(v, at[:, ::-1]),
}


def expected(name, where):
    rows, columns = np.linspace(-1, 1, X.shape[1]), np.linspace(-1, 1, X.shape[2])
    at = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    for i, valid in enumerate(np.broadcast_to(where, (*X.shape[:3], 1))[..., 0]):
        valid, arrays = valid.copy(), (X[i], OTHERS["y"][i], OTHERS["logits"][i], at)
        if name == "sketch of few":
            valid[1:], valid[:, 3:] = False, False
        if valid.any():
            yield i, EXPECTED[name](*(np.float64(a[valid]) for a in arrays))
        else:
            yield i, 0


@functools.cache
def program():
    """Every pool: plain, masked, its gradients in everything under a mask, and a tangent."""

    @jax.jit
    def everything(x, others, where):
        found = {}
        direction = jax.tree.map(lambda v: jnp.cos(3 * jnp.nan_to_num(v)), (x, others))
        for name, pool in EVERY.items():
            masked = functools.partial(pool, axes=(1, 2), where=where)
            if name in ALIKE:
                found[name] = (masked(x, others),) * 2
                continue
            y, tangent = jax.linearize(masked, x, others)
            gradient = jax.linear_transpose(tangent, x, others)(jnp.cos(5 * y))
            found[name] = pool(x, others, axes=(1, 2)), y, gradient, tangent(*direction)
        return found

    return everything


@functools.cache
def found():
    return jax.tree.map(np.asarray, program()(X, OTHERS, WHERE))


@pytest.mark.parametrize("name", EVERY)
def test_values_are_those_of_loops(name):
    plain, masked, *_ = found()[name]
    for y, where in ((plain, WHERE if name in ALIKE else np.True_), (masked, WHERE)):
        for i, wanted in expected(name, where):
            np.testing.assert_allclose(y[i], wanted, 2e-5, 2e-6, err_msg=f"{name} {i}")


def test_masked_out_values_reach_nothing():
    """Neither values nor gradients nor tangents; they have gradient 0, in every argument."""
    elements = {"y", "logits"}
    for poison in (np.nan, np.inf):
        others = {n: np.where(WHERE, v, poison) if n in elements else v for n, v in OTHERS.items()}
        dirty = program()(np.where(WHERE, X, np.float32(poison)), others, WHERE)
        for name in EVERY:
            for a, b in zip(
                *map(jax.tree.leaves, (dirty[name][1:], found()[name][1:])), strict=True
            ):
                np.testing.assert_array_equal(a, b, err_msg=name)
    direction = jax.tree.map(lambda v: np.cos(3 * v), (X, OTHERS))
    for name in EVERY.keys() - ALIKE:
        _, y, (gradient, of_others), tangent = found()[name]
        assert (y[2] == 0).all(), name
        assert (tangent[2] == 0).all(), name
        for g in (gradient, of_others["y"], of_others["logits"]):
            assert (g[np.broadcast_to(~WHERE, g.shape)] == 0).all(), name
        ahead = np.vdot(np.cos(5 * y), tangent)
        behind = derivatives.dot((gradient, of_others), direction)
        np.testing.assert_allclose(ahead, behind, 2e-4, 2e-5, err_msg=name)


def test_gradients_are_finite_and_batches_independent():
    """Of elements that are all alike, of zeros, and of large, small and missing neighbours."""
    x = X.copy()
    x[0], x[1] = 0, np.float32([0.1, -3, 0, 7e5, 1e-20, 2])
    # Programs run while Python goes on, and read NumPy's arrays where they are: not to be changed.
    dirty = x.copy()
    dirty[3] = np.nan
    before = program()(x, OTHERS, np.ones_like(WHERE))
    for name, (plain, y, *derived) in program()(dirty, OTHERS, np.ones_like(WHERE)).items():
        assert np.isnan(y[3]).any(), name
        of_images = [plain, y, *(v[0] if isinstance(v, tuple) else v for v in derived)]
        wanted = [v[0] if isinstance(v, tuple) else v for v in before[name]]
        for a, b in zip(of_images, wanted, strict=True):
            np.testing.assert_array_equal(a[:3], b[:3], err_msg=name)
        for leaf in jax.tree.leaves(before[name]):
            assert np.isfinite(leaf).all(), name
    alike = {name: before[name][1][1] for name in EVERY}
    assert (alike["covariance"] == 0).all()
    assert (before["vlad"][1] != 0).any()
    assert (before["of two"][2][0][0] == 0).all()
    root = np.zeros((CHANNELS, CHANNELS))
    root[np.triu_indices(CHANNELS)] = before["root"][1][1]
    np.testing.assert_allclose(root, steps(np.zeros((2, CHANNELS)), 5, 1e-6), 1e-5)
    np.testing.assert_array_equal(before["places"][0][0], 0)


def test_scale_and_offset_lose_no_digits():
    """Neither squares of large and small elements nor what is far from 0."""
    others = dict(OTHERS)

    @jax.jit
    def everything(scale, offset, others):
        x, images = X * scale, jnp.round(8 * X) / 8
        moved = others | {"centroids": others["centroids"] + offset}
        pools = {n: POOLS[n](x, others, axes=(1, 2)) for n in ("normalized", "of two")}
        root = jaxpool.isqrt_covariance_pool(x, (1, 2), epsilon=0) / scale
        covariances = [jaxpool.covariance_pool(v, (1, 2)) for v in (images, images + offset)]
        vlads = POOLS["vlad"](jnp.round(8 * X) / 8 + offset, moved, axes=(1, 2))
        return pools, root, covariances, vlads

    others["centroids"] = np.round(8 * OTHERS["centroids"]) / 8
    pools, root, covariances, vlads = everything(np.float32(1), np.float32(4096), others)
    np.testing.assert_allclose(*covariances, 1e-5, 1e-6)
    for scale in (2.0**-80, 2.0**80):
        scaled = everything(np.float32(scale), np.float32(0), others)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6),
                     scaled[:2], (pools, root))  # fmt: skip
    np.testing.assert_allclose(vlads, scaled[3], 2e-4, 1e-5)


def test_dtypes():
    """Floats keep theirs, and are added up in float32; others give float32."""
    dtypes = ["bfloat16", "int8"]
    names = ("covariance", "of two", "sketch", "ghosts", "places")
    values = np.round(4 * X).clip(-100, 100)

    @jax.jit
    def everything(x):
        found = {}
        for dtype in [*dtypes, "float32"]:
            for name in names:
                y = POOLS[name](x.astype(dtype), OTHERS, axes=(1, 2))
                found[f"{dtype} {name}"] = y
        ones = jnp.ones((4096, 2), jnp.bfloat16)
        found["bilinear"] = jaxpool.bilinear_pool(ones, 0, normalize=False)
        return found

    found = everything(values)
    assert (found["bilinear"] == 1).all()  # 256 + 1 is 256 in bfloat16
    for dtype in dtypes:
        floating = dtype != "int8"
        for name in names:
            y, wanted = found[f"{dtype} {name}"], found[f"float32 {name}"]
            assert y.dtype == (dtype if floating and name != "of two" else "float32")
            tolerance = {"bfloat16": 8e-3, "int8": 1e-6}[dtype]
            np.testing.assert_allclose(np.float32(y), wanted, tolerance, tolerance / 4)


def test_derivatives_against_differences():
    """First and second order, forward and reverse, in every argument."""
    with jax.enable_x64(True):
        pools = {n: POOLS[n] for n in ("of two", "sketch", "ghosts", "places")}
        pools["root"] = functools.partial(POOLS["root"], vectorize=False)
        args = (np.float64(X[:2]), {n: np.float64(v[:2] if n in ("y", "logits") else v)
                                    for n, v in OTHERS.items()})  # fmt: skip
        f = lambda x, o: {n: p(x, o, axes=(1, 2), where=WHERE[:2]) for n, p in pools.items()}
        derivatives.check(f, args, rtol=2e-5, atol=2e-5)
        assert {v.dtype for v in jax.eval_shape(f, *args).values()} == {np.dtype("float64")}


def test_iterations_come_to_the_root():
    """Far off at first, as measured in the paper, and then to all digits."""
    x = np.random.default_rng(3).normal(size=(64, 16))
    values, vectors = np.linalg.eigh(np.cov(x.T, ddof=0))
    root = vectors * np.sqrt(values) @ vectors.T
    with jax.enable_x64(True):
        run = jax.jit(lambda x: [jaxpool.isqrt_covariance_pool(
            x, 0, iterations=n, epsilon=0, vectorize=False) for n in (1, 3, 5, 7, 12)])  # fmt: skip
        errors = [np.linalg.norm(y - root) / np.linalg.norm(root) for y in run(x)]
    assert errors[0] > 0.5
    assert all(b < a / 1.5 for a, b in itertools.pairwise(errors))
    assert errors[-1] < 1e-13


@jax.jit
def layouts(x, others, where):
    """The same elements in other layouts: channels first, batch axes last, one image at a time."""
    found = {}
    first = lambda v: jnp.moveaxis(v, -1, 1)
    last = lambda v: jnp.moveaxis(v, 0, 2).reshape(*v.shape[1:3], 2, 2, v.shape[-1])

    def each(change):
        return {n: change(v) if n in ("y", "logits") else v for n, v in others.items()}

    for name in ("covariance", "of two", "root", "sketch", "sketch of few", "ghosts", "places"):
        pool = EVERY[name]
        found[name] = []
        if name not in ("sketch of few", "root"):
            args = last(x), each(last)
            found[name].append(pool(*args, axes=(0, 1), where=last(where)))
        if name not in ("sketch of few", "places"):
            mapped = lambda x, where, y, logits: pool(
                x, {**others, "y": y, "logits": logits}, axes=(-2, -3), where=where)  # fmt: skip
            found[name].append(jax.vmap(mapped)(x, where, others["y"], others["logits"]))
        if name == "sketch of few":
            few = first(x)[:, :, :1, :3], first(where)[:, :, :1, :3]
            found[name].append(jaxpool.compact_bilinear_pool(
                few[0], (2, 3), sketch=SKETCH, channel_axis=1, where=few[1]))  # fmt: skip
        elif name != "ghosts":
            known = {} if name == "places" else {"channel_axis": 1}
            args = first(x), each(first)
            found[name].append(pool(*args, axes=(2, 3), where=first(where), **known))
    return found


def test_layouts_and_vmap():
    for name, versions in layouts(X, OTHERS, WHERE).items():
        wanted = found()[name][1]
        for number, y in enumerate(versions):
            y = y.reshape(wanted.shape)
            np.testing.assert_allclose(y, wanted, 1e-4, 2e-6, err_msg=f"{name} {number}")


def test_export_with_symbolic_sizes():
    """Of batch and images, and of channels where the result may have as many."""
    scope = jax.export.SymbolicScope(["h >= 2", "w >= 2"])
    shape = functools.partial(jax.export.symbolic_shape, scope=scope)

    def pools(x, y, logits, where, wide):
        others = OTHERS | {"y": y, "logits": logits}
        found = [POOLS[name](x, others, axes=(1, 2), where=where) for name in names]
        gradient = jax.grad(lambda x: jaxpool.isqrt_covariance_pool(x, (1, 2)).sum())(x)
        return found, gradient, jaxpool.covariance_pool(wide, 1)

    names = ("of two", "root", "sketch", "ghosts", "places")

    sizes = ("b, h, w, 6", "b, h, w, 2", "b, h, w, 5", "b, h, w, 1", "b, h, c")
    dtypes = [np.float32] * 3 + [np.bool_, np.float32]
    given = [jax.ShapeDtypeStruct(shape(s), d) for s, d in zip(sizes, dtypes, strict=True)]
    program = jax.export.export(jax.jit(pools))(*given)
    values, _, wide = program.call(X, OTHERS["y"], OTHERS["logits"], WHERE, X[..., 0])
    for name, y in zip(names, values, strict=True):
        np.testing.assert_allclose(y, found()[name][1], 2e-5, 2e-6, err_msg=name)
    assert wide.shape == (4, 5, 5)
    with pytest.raises(ValueError, match="`x` must have a known number of channels"):
        jax.eval_shape(lambda x: jaxpool.isqrt_covariance_pool(x, 1), given[-1])


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from primitives(inner)


@pytest.mark.parametrize("name", POOLS)
def test_no_gathers_and_no_array_of_elements_and_pairs(name):
    """Nor is anything turned, but a sketch; a residual of each pair of element and cluster is."""
    pool = functools.partial(POOLS[name], axes=(1, 2), where=WHERE)
    x = jax.ShapeDtypeStruct((4, 50, 40, CHANNELS), np.float32)
    others = OTHERS | {n: jax.ShapeDtypeStruct((4, 50, 40, OTHERS[n].shape[-1]), np.float32)
                       for n in ("y", "logits")}  # fmt: skip
    pool = functools.partial(POOLS[name], axes=(1, 2))
    forward = jax.make_jaxpr(pool)(x, others)
    both = jax.make_jaxpr(lambda x, o: jax.vjp(pool, x, o)[1](jnp.ones(forward.out_avals[0].shape)))
    names = set(primitives(both(x, others).jaxpr))
    assert not [n for n in names if "gather" in n or "scatter" in n]
    assert "transpose" not in set(primitives(forward.jaxpr)) or name == "sketch"
    largest = 4 * 50 * 40 * max(CHANNELS, CLUSTERS + GHOSTS)
    for equation in forward.jaxpr.eqns:
        assert all(v.aval.size <= largest for v in equation.outvars)


def test_programs_do_not_grow_with_channels_or_iterations():
    def root(iterations, x):
        return jaxpool.isqrt_covariance_pool(x, 0, iterations=iterations)

    few, more, many = (
        length(functools.partial(root, steps), (5, channels))
        for steps, channels in ((12, 10), (200, 10), (200, 1000))
    )
    assert few <= more <= 1.01 * few
    assert many <= 1.2 * few


def test_places_come_to_the_maximum():
    """In the limit, and where elements are infinite; -inf takes no part."""
    x = np.random.default_rng(0).normal(size=(9, 4, 3)).astype(np.float32)
    infinite = x.copy()
    infinite[2, 3, 0], infinite[:, :, 1], infinite[1:, :, 2] = np.inf, -np.inf, -np.inf

    @jax.jit
    def run(x, infinite, temperature):
        f = lambda x, t: jaxpool.spatial_softmax(x, axes=(0, 1), temperature=t)
        y, vjp = jax.vjp(f, x, temperature)
        z, back = jax.vjp(f, infinite, np.float32(1))
        return y, vjp(jnp.ones_like(y)), f(x, 1e-9), z, back(jnp.ones_like(z)), f(x[:1], 1.0)

    wanted = np.stack(np.unravel_index(x.reshape(36, 3).argmax(0), (9, 4)), -1)
    wanted = 2 * wanted / np.array([8, 3]) - 1
    for temperature in (1e-5, 1e-30, 0.0):
        y, gradients, by_number, z, back, of_one = run(x, infinite, np.float32(temperature))
        np.testing.assert_array_equal(y, np.float32(wanted))
        np.testing.assert_array_equal(by_number, np.float32(wanted))
        for g in jax.tree.leaves((gradients, back)):
            assert np.isfinite(g).all()
    np.testing.assert_allclose(z[:2], [[2 * 2 / 8 - 1, 1], [0, 0]], atol=1e-6)
    assert (z[2, 0], of_one[0, 0]) == (-1, 0)


def test_masks_of_channels_and_empty_values_of_places():
    where = np.random.default_rng(0).random(X.shape) < 0.3
    where[..., 1] = False
    run = jax.jit(lambda x: jaxpool.spatial_softmax(x, where=where, empty_value=7))
    y = run(X)
    assert (y[:, 1] == 7).all()
    rows, columns = np.linspace(-1, 1, 3), np.linspace(-1, 1, 5)
    at = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    for i, c in ((0, 0), (1, 2), (3, 5)):
        weights = np.where(where[i, ..., c], np.exp(np.float64(X[i, ..., c])), 0)
        wanted = (weights[..., None] * at).sum((0, 1)) / weights.sum()
        np.testing.assert_allclose(y[i, c], wanted, 1e-5, 1e-6)


def test_a_sketch_keeps_products_on_average():
    """Of any sketch, each channel has one place and one sign; it is a tree."""
    sketch = jaxpool.draw_sketch(jax.random.key(3), 40, 9)
    again = jaxpool.draw_sketch(jax.random.key(3), 40, 9)
    jax.tree.map(np.testing.assert_array_equal, sketch, again)
    assert (np.asarray(sketch.hashes[0]) != np.asarray(sketch.hashes[1])).any()
    assert set(np.ravel(sketch.hashes)) == set(range(9))
    assert set(np.ravel(sketch.signs)) == {-1, 1}
    assert jax.tree.map(jnp.shape, sketch) == jaxpool.Sketch((2, 40), (2, 40), 9)
    u, v = np.random.default_rng(0).normal(size=(2, 1, CHANNELS)).astype(np.float32)

    @jax.jit
    @jax.vmap
    def product(key):
        sketch = jaxpool.draw_sketch(key, CHANNELS, 64)
        a, b = (jaxpool.compact_bilinear_pool(w, 0, sketch=sketch) for w in (u, v))
        return a @ b

    products = product(jax.random.split(jax.random.key(0), 400))
    squared = np.vdot(u, v) ** 2
    assert abs(products.mean() - squared) < 4 * products.std() / 20


ODD = np.ones((4, 3), np.float32)
MISTAKES = [
    (jaxpool.covariance_pool, (ODD, 1), {}, "channel_axis` must be an axis of x that is not"),
    (jaxpool.covariance_pool, (ODD, 0), {"ddof": -1}, "ddof` must be an int >= 0"),
    (jaxpool.covariance_pool, (ODD, 2), {}, "axes` must lie in"),
    (jaxpool.covariance_pool, (ODD, 0), {"where": ODD > 0}, "where` must be the same for all ch"),
    (jaxpool.bilinear_pool, (ODD, 0), {"where": ODD > 0}, "where` must be the same for all channe"),
    (jaxpool.bilinear_pool, (ODD, 0), {"normalize": 1}, "normalize` must be True or False"),
    (jaxpool.bilinear_pool, (ODD, 0), {"y": ODD[:3]}, "y` must have the shape of x but along axis"),
    (jaxpool.bilinear_pool, (ODD, 0), {"y": [1]}, "y` must be a JAX or NumPy array"),
    (jaxpool.isqrt_covariance_pool, (ODD, 0), {"iterations": 0}, "iterations` must be an int >= 1"),
    (jaxpool.isqrt_covariance_pool, (ODD, 0), {"epsilon": -1.0}, "epsilon` must be a finite numb"),
    (jaxpool.isqrt_covariance_pool, (ODD, 0), {"epsilon": ODD}, "epsilon` must be a number or a sc"),
    (jaxpool.isqrt_covariance_pool, (ODD, 0), {"vectorize": 0}, "vectorize` must be True or False"),
    (jaxpool.isqrt_covariance_pool, (ODD, 0), {"where": ODD > 0}, "where` must be the same for al"),
    (jaxpool.compact_bilinear_pool, (ODD, 0), {"sketch": 3}, "sketch` must be a jaxpool.Sketch"),
    (jaxpool.compact_bilinear_pool, (ODD, 0), {"sketch": SKETCH}, "sketch` must be of 3 channels"),
    (jaxpool.draw_sketch, (jax.random.key(0), 0, 3), {}, "channels` must be an int >= 1"),
    (jaxpool.draw_sketch, (jax.random.key(0), 3, 0.5), {}, "output_size` must be an int >= 1"),
    (jaxpool.draw_sketch, (None, 3, 3), {}, "key` must be given"),
    (jaxpool.netvlad_pool, (ODD, ODD.T, ODD), {"axes": 0}, "centroids` must have shape .clusters"),
    (jaxpool.netvlad_pool, (ODD, ODD, ODD), {"axes": 0}, "logits` must broadcast to .4, 4"),
    (jaxpool.netvlad_pool, (ODD, ODD, ODD), {"axes": 0, "ghosts": -1}, "ghosts` must be an int >="),
    (jaxpool.netvlad_pool, (ODD, ODD, ODD), {"axes": 1}, "channel_axis` must be an axis of x that"),
    (jaxpool.netvlad_pool, (ODD, 3, ODD), {"axes": 0}, "centroids` must be a JAX or NumPy array"),
    (jaxpool.spatial_softmax, (ODD,), {"axes": (0, 0)}, "axes` must be an int or a sequence of"),
    (jaxpool.spatial_softmax, (ODD,), {"axes": 0, "temperature": 0}, "temperature` must be a finit"),
    (jaxpool.spatial_softmax, (ODD,), {"axes": 0, "temperature": ODD}, "temperature` must be a num"),
    (jaxpool.spatial_softmax, (ODD,), {"axes": 0, "empty_value": "x"}, "empty_value` must be a sc"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args", "options", "message"), MISTAKES)
def test_mistakes_are_told(function, args, options, message):
    with pytest.raises((TypeError, ValueError), match=f"^{function.__name__}: `{message}"):
        function(*args, **options)
