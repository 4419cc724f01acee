"""Small faults, as (file of the library, text there, what it becomes, what goes wrong then).

The text stands in the file once; `test_public_api.py` looks. See `tests/mutants.py`.
"""

FAULTS = [
    # ---- _lowering.py
    (
        "_lowering.py",
        "return known and w.window == w.stride > 1 and w.dilation == 1 and not w.padded",
        "return known and w.window == w.stride > 1 and not w.padded",
        "on CPUs, sums of dilated windows whose stride equals their size add up consecutive blocks, as if not dilated",
    ),
    (
        "_lowering.py",
        "reach = size * window.dilation",
        "reach = size",
        "folds of large dilated windows (Monoid, by doubling: more than 4 and more than 2*s*log2(k) taps) ignore the dilation",
    ),
    (
        "_lowering.py",
        "y = lax.slice_in_dim(y, 0, w.output, 1, axis)",
        "y = lax.slice_in_dim(y, 0, None, 1, axis)",
        "sums along a symbolic axis in ceil mode keep the cell that PyTorch's last-window rule drops (export fails or has one cell too many); known lengths are fine",
    ),
    (
        "_lowering.py",
        "x = pad(axis, (before, after), x, value)",
        "x = pad(axis, (before, after), x, 0)",
        "in what is lowered for GPUs, padding takes part in a maximum as 0 instead of -inf; CPUs are fine",
    ),
    # ---- _lowering_primitives.py
    (
        "_lowering_primitives.py",
        "found.append(operand if axis in (None, at) else jnp.moveaxis(operand, axis, at))",
        "found.append(operand)",
        "vmap of max pools with x and mask (or taps and tangents) batched along different axes mixes up the axes",
    ),
    (
        "_lowering_primitives.py",
        "operands, at = _batched(operands, axes, 3)",
        "operands, at = _batched(operands, axes, 2)",
        "jacrev of a max pool (vmap over cotangents, x not batched) fails: the transpose takes its shape from an x of batch size 1; jacfwd is fine",
    ),
    (
        "_lowering_primitives.py",
        "found = _map_p.bind(cotangent, *fixed, how=how, backward=not backward)",
        "found = _map_p.bind(cotangent, *fixed, how=how, backward=True)",
        "the transpose of the transpose is the transpose again: reverse over reverse (a gradient of a gradient) of max pools fails",
    ),
    (
        "_lowering_primitives.py",
        'for _platform in ("cpu", "tpu", "default"):',
        'for _platform in ("cpu", "default"):',
        "for TPUs max pools are lowered as for GPUs, without XLA's own reduce-window and select-and-scatter",
    ),
    # ---- _lowering_max.py
    (
        "_lowering_max.py",
        "tap = -(xp.minimum(w.starts(xp), 0) // w.dilation)",
        "tap = -xp.minimum(w.starts(xp), 0)",
        "the first tap inside the input forgets the dilation: with dilation 2 and padding 2, a later tap displaces a larger earlier one at the left border",
    ),
    (
        "_lowering_max.py",
        "here = along(jnp.asarray(place >= window.low), axis, x.ndim)",
        "here = along(jnp.asarray(place > window.low), axis, x.ndim)",
        "in windows of more than 9 elements (CPU, axis by axis) the first element of the input counts as padding on the left, so any later one displaces it",
    ),
    (
        "_lowering_max.py",
        "with_taps(x, valid, offsets, y, taps, windows, style),\n",
        "y,\n",
        "second derivatives lose the path through the value: the Hessian of sum(max_pool(x)**2) is 0; first derivatives are right",
    ),
    (
        "_lowering_max.py",
        "return jnp.where(offset == lowest, lowest, x + offset)",
        "return x + offset",
        "in morphology an offset of -inf no longer leaves out an element that is inf or NaN: the result is NaN",
    ),
    (
        "_lowering_max.py",
        "kinds = (np.dtype(kind) for kind in (np.uint8, np.uint16, np.uint32))",
        "kinds = (np.dtype(kind) for kind in (np.uint16, np.uint32))",
        "taps take two bytes: the backward pass of a max pool keeps two bytes per output and not one as documented",
    ),
    # ---- _lowering_tangent.py
    (
        "_lowering_tangent.py",
        "count * here[1]",
        "here[1]",
        "the gradient of maxima of several axes at once (e.g. 3x3, stride 2) forgets that along the last axis no tap may begin at an element, and hands it a gradient of another tap",
    ),
    (
        "_lowering_tangent.py",
        "yield widths, match, lax.sub(part, spread(start))",
        "yield widths, match, lax.sub(part, spread(first))",
        "in long windows (17 or more taps along an axis on CPUs) whose last run of taps overlaps the one before, the gradient of a maximum in that run goes to a wrong element",
    ),
    (
        "_lowering_tangent.py",
        "part = lax.select(match, tangent, zeros)",
        "part = tangent * match.astype(tangent.dtype)",
        "an inf or NaN that is handed back to one cell of a max pool reaches elements that it did not pick, as NaN (inf * 0)",
    ),
    (
        "_lowering_tangent.py",
        "lax.shift_right_logical(sets, tap)",
        "lax.shift_right_arithmetic(sets, tap)",
        "of top-k means over windows of exactly 8, 16 or 32 elements whose last element is chosen, the gradient also goes to elements at which no tap begins (size no multiple of the stride)",
    ),
    # ---- _lowering_sum.py
    (
        "_lowering_sum.py",
        "found = is_window & is_element & (rows[:, 1] > 0)",
        "found = is_window & is_element",
        "gradients of soft pools and norms with a stride that does not divide the window (3x3, stride 2) also go to elements outside the window",
    ),
    (
        "_lowering_sum.py",
        "return lax.scan(step, term(taps[0]), jnp.asarray(taps[1:], np.int32))[0]",
        "return lax.scan(step, term(taps[0]), jnp.asarray(taps[:-1], np.int32))[0]",
        "sums of functions over windows of more than 64 elements count the first element twice and leave out the last",
    ),
    (
        "_lowering_sum.py",
        "slope = _dense_sum(_slope(function, i), windows, True, 0, x, cells, valid)",
        "slope = _dense_sum(_slope(function, i), windows, True, 0, x, cells, None)",
        "derivatives in what a cell has (a learned sharpness, the mean of a cell) count masked-out elements; values and derivatives in x alone are right",
    ),
    (
        "_lowering_sum.py",
        "if xp is jnp or not inside.all():",
        "if xp is np and not inside.all():",
        "where sizes are symbolic, soft pools and norms count padding as elements of value 0",
    ),
    # ---- _lowering_taps.py
    (
        "_lowering_taps.py",
        "is_tap[: w.span : w.dilation] = True",
        "is_tap[: w.window] = True",
        "derivatives in x of filtered sums (and values of those of more than 64 taps) lose taps if the window is dilated",
    ),
    (
        "_lowering_taps.py",
        "condition = laid(functools.reduce(operator.and_, conditions))",
        "condition = laid(conditions[0])",
        "scans over windows padded along two axes and without a mask (rank_stochastic_pool) let in the padding of all axes but the first",
    ),
    (
        "_lowering_taps.py",
        "places = (np.arange(len(taps), dtype=np.int32), np.asarray(taps, np.int32))",
        "places = (np.arange(1, len(taps) + 1, dtype=np.int32), np.asarray(taps, np.int32))",
        "scans that run in a loop count elements from 1: stochastic pools of large windows (and global ones) return the element after the one that was drawn",
    ),
    # ---- _lowering_order.py
    (
        "_lowering_order.py",
        "    x = jnp.where(x != x, np.array(np.nan, x.dtype), x)\n",
        "",
        "a NaN whose sign bit is set (as 0/0 gives on x86) sorts below everything, so the median or quantile of whole axes and of intervals is a number and not NaN",
    ),
    (
        "_lowering_order.py",
        "return jnp.where((fraction == 0) | (low == high), low, value)",
        "return jnp.where(low == high, low, value)",
        "an interpolated quantile that is at an element exactly is NaN if the next element, or the filler of what is masked out, is infinite (0 * inf)",
    ),
    (
        "_lowering_order.py",
        "for start in range(0, len(low), 32):",
        "for start in range(0, min(len(low), 32), 32):",
        "quantiles of windows of 32 or more elements are off in cells where more than 31 of them are masked out",
    ),
    (
        "_lowering_order.py",
        "larger = lax.gt(a, b)",
        "larger = lax.ge(a, b)",
        "in the derivative of a rank mean of windows the last of equal elements ranks first, so ties get each other's weights",
    ),
    (
        "_lowering_order.py",
        "return lax.select(nan, not_a_number, lax.select(lax.eq(y, zero), zero, y))",
        "return lax.select(nan, not_a_number, y)",
        "a windowed median of -0.0 comes out as -0.0, and no longer agrees bit for bit with that of the other forms, which give 0.0",
    ),
    # ---- _lowering_weighted.py
    (
        "_lowering_weighted.py",
        "after = lax.rev(part(n - 1 - right, n - 1), (axis,))",
        "after = lax.rev(part(n - right, n), (axis,))",
        "reflect padding repeats the edge at the right border (NumPy's symmetric); the left one is right",
    ),
    (
        "_lowering_weighted.py",
        "return correlate(padded(x, windows, mode), kernel",
        'return correlate(padded(x, windows, "constant"), kernel',
        "blurs with kernels of more than 64 taps ignore the padding mode and pad with zeros",
    ),
    (
        "_lowering_weighted.py",
        "x = padded(x, windows, mode)\n    windows = tuple(",
        'x = padded(x, windows, "constant")\n    windows = tuple(',
        "derivatives in x of a blur are those of zero padding in every padding mode; values are right",
    ),
    # ---- _lowering_intervals.py
    (
        "_lowering_intervals.py",
        "if place >= sure_to:",
        "if place > sure_to:",
        "with traced bounds the element at the least possible stop is always in: an empty interval 0:0 has element 0, and drawn cells are one element too long",
    ),
    (
        "_lowering_intervals.py",
        "take = (y > x) | (y != y)",
        "take = (y >= x) | (y != y)",
        "in adaptive bins and intervals the gradient and the index of a maximum are those of the last of equal elements",
    ),
    (
        "_lowering_intervals.py",
        'if valid is None and not (geometry.exact and form == "elements"):',
        "if valid is None and not geometry.exact:",
        "along axes of more than 192 elements and 8 cells, one of nothing but -inf has its index (and, of irregular intervals, its gradient) at a wrong element outside the cell",
    ),
    (
        "_lowering_intervals.py",
        "later = jnp.arange(1, most + 1, dtype=np.int32)",
        "later = jnp.arange(1, most, dtype=np.int32)",
        "windows at drawn places never move by the largest possible shift: fractional pools of long axes take a wrong window, s3_pool with stride 2 always keeps the first",
    ),
    # ---- _geometry.py
    (
        "_geometry.py",
        "bound = (length + low - 1) // stride + 1",
        "bound = (length + low) // stride + 1",
        "ceil mode of a symbolic length has one window too many where it would start exactly at the end of the input",
    ),
    (
        "_geometry.py",
        "isinstance(p, int) and p < self.window for p",
        "isinstance(p, int) and p <= self.window for p",
        "padding as wide as the window is no longer refused, though the first window lies wholly in padding (max gives -inf)",
    ),
    (
        "_geometry.py",
        "start >= stop for (_, start), (stop, _)",
        "start > stop for (_, start), (stop, _)",
        "intervals like 2:2 are not known to be empty, so their cells do not get empty_value (max gives -inf)",
    ),
    (
        "_geometry.py",
        "return xp.minimum(-(-room // self.dilation), self.window)",
        "return xp.minimum(room // self.dilation, self.window)",
        "the divisor that counts padding rounds down: the last dilated windows are divided by one element too few",
    ),
    # ---- _window.py
    (
        "_window.py",
        "if inside is not None and not include_pad:",
        "if inside is not None:",
        "with a mask, declared padding no longer counts in the divisor of avg_pool(count_include_pad=True)",
    ),
    (
        "_window.py",
        "((w.low, w.high),)",
        "((w.high, w.low),)",
        "soft pools of windows of more than 9 elements, which go axis by axis, swap left and right padding (SAME with an even window)",
    ),
    (
        "_window.py",
        "            x = jnp.where(where, x, np.zeros((), x.dtype))\n        return _lowering.window_sum(",
        "            x = x * where.astype(x.dtype)\n        return _lowering.window_sum(",
        "NaN and inf that are masked out make a windowed sum or mean NaN",
    ),
    (
        "_window.py",
        "not isinstance(w.length, int) and not w.always_meets_input",
        "isinstance(w.length, int) and not w.always_meets_input",
        "where sizes are symbolic, windows that lie wholly in padding do not get empty_value (max gives -inf, mean NaN)",
    ),
    # ---- _global.py
    (
        "_global.py",
        "hits &= where",
        "hits &= True",
        "if all valid elements are -inf, a global maximum has its index and gradient at a masked-out element",
    ),
    (
        "_global.py",
        "for axis in reversed(axes):\n            carrier",
        "for axis in axes:\n            carrier",
        "a fold (Monoid) over several whole axes goes in column-major order, which a non-commutative operation sees",
    ),
    (
        "_global.py",
        "picked = positions(x.shape, axes) == _argmax(x, where, axes)",
        "picked = x == y",
        "the gradient of a global maximum goes to each of equal maxima in full, and to none of NaNs",
    ),
    (
        "_global.py",
        "x = lax.select((odd > even) | (odd != odd), odd, even)",
        "x = lax.select((odd >= even) | (odd != odd), odd, even)",
        "of 0.0 and -0.0 a global maximum is the last and not the first, so the sign of zero is not that of the element with the gradient",
    ),
    # ---- _intervals.py
    (
        "_intervals.py",
        "place = picked.astype(np.int32) + along(part.astype(np.int32), axis, x.ndim)",
        "place = picked.astype(np.int32)",
        "indices of adaptive maxima count from the start of the repeating part where sizes have a common divisor",
    ),
    (
        "_intervals.py",
        "                stop = jnp.minimum(stop, np.int32(geometry.length))\n",
        "",
        "means over intervals with traced stops beyond x divide by elements that are not there",
    ),
    (
        "_intervals.py",
        "for number, (axis, geometry, bounds) in enumerate(reversed(self._changed)):",
        "for number, (axis, geometry, bounds) in enumerate(self._changed):",
        "in bins and intervals of two axes the gradient of tied maxima goes to the first in column-major order, and not to the one of the index",
    ),
    (
        "_intervals.py",
        "found.sort(key=lambda entry: entry[0])",
        "pass",
        "Intervals whose axes are not named in ascending order have wrong indices, ties and order statistics",
    ),
    # ---- _groups.py
    (
        "_groups.py",
        "if n % self.size:",
        "if False:",
        "a group size that does not divide the channels is no error: the remaining channels are dropped in silence",
    ),
    (
        "_groups.py",
        "return (self.axis % ndim,)",
        "return (self.axis,)",
        "a mask of size 1 along a channel axis counted from the back (the default) is not spread over it: channel pools with where[..., None] fail",
    ),
    (
        "_groups.py",
        'return _grouped("maxout", x, size, Max(), axis, where, empty_value)',
        'return _grouped("maxout", x, size, Max(), axis, where, 0)',
        "maxout ignores empty_value",
    ),
    # ---- _pool.py
    (
        "_pool.py",
        "[i for i in range(x.ndim) if i not in pooled]",
        "range(len(shape))",
        "on a mesh of explicit axes the result of a global pool is sharded as the first axes of x are, and not as the kept ones",
    ),
    (
        "_pool.py",
        "(found == everything) & (found > 0)",
        "found == everything",
        'pool_mask(mode="all") calls an empty interval valid',
    ),
    (
        "_pool.py",
        "return jax.tree.map(lambda x: jnp.where(where, x, np.zeros((), x.dtype)), x)",
        "return x",
        "a masked-out NaN or inf has gradient NaN instead of 0 in soft pools and norms (global, intervals, large windows)",
    ),
    (
        "_pool.py",
        "return np.promote_types(dtype, np.float32) if floating else np.dtype(np.float32)",
        "return dtype if floating else np.dtype(np.float32)",
        "bfloat16 and float16 are accumulated in their own dtype: a float16 mean of 32 x 32 values of 100 overflows",
    ),
    # ---- _arguments.py
    (
        "_arguments.py",
        "if order != list(range(len(axes))):",
        "if False:",
        "a filter of the window's shape is not turned if axes are named in descending order: it lies transposed",
    ),
    (
        "_arguments.py",
        "all(0 <= i <= shape[axis] for i in bound)",
        "all(0 <= i for i in bound)",
        "int bounds of Intervals beyond x are no error: they are cut in silence",
    ),
    (
        "_arguments.py",
        "holds = whole and int(info.min) <= value <= int(info.max)",
        "holds = whole",
        "an empty_value outside the range of an int dtype (300 for uint8) is no error and wraps",
    ),
    (
        "_arguments.py",
        "if len(set(found)) != len(found):",
        "if False:",
        "an axis named twice, once from the front and once from the back (axes=(0, -3)), is no error",
    ),
    # ---- _boxes.py
    (
        "_boxes.py",
        "        if not aligned:\n",
        "        if False:\n",
        "with aligned=False boxes narrower than a pixel are no longer taken as 1 wide and high",
    ),
    (
        "_boxes.py",
        "- (-(cell + 1) * rest // n)",
        "+ (cell + 1) * rest // n",
        "cells of roi_max_pool and position_sensitive_roi_pool end at the floor and not at the ceil of their end, if the size is no multiple of the number of cells",
    ),
    (
        "_boxes.py",
        "filled = size > 0",
        "filled = size >= 0",
        "precise_roi_pool of a box without area gives NaN instead of 0",
    ),
    (
        "_boxes.py",
        "jnp.clip(level, 0, count - 1)",
        "jnp.clip(level, 0, count)",
        "boxes too large for all maps of a pyramid go to a map that does not exist: their gradient in the features is lost",
    ),
    # ---- _sampling.py
    (
        "_sampling.py",
        "return (t < -1) | (t > length)",
        "return (t < 0) | (t > length)",
        "samples up to a pixel outside the top or left edge of the map count as 0 and not as the edge",
    ),
    (
        "_sampling.py",
        "here = dirty & ((fixed == infinity) | (fixed != fixed))",
        "here = dirty & (fixed == infinity)",
        "NaN in the map counts as 0 in precise_roi_pool and position_sensitive_roi_pool (and in all RoI means on TPUs)",
    ),
    (
        "_sampling.py",
        "take = inside[..., None] & ((element > best) | (element != element))",
        "take = inside[..., None] & ((element >= best) | (element != element))",
        "the gradient of roi_max_pool goes to the last of equal maxima",
    ),
    (
        "_sampling.py",
        "tangent = jnp.where(place >= 0, tangent, np.zeros((), tangent.dtype))",
        "tangent = jnp.where(place >= -1, tangent, np.zeros((), tangent.dtype))",
        "cells of roi_max_pool outside the map hand their gradient to pixel 0",
    ),
    (
        "_sampling.py",
        "    (picked,) = jax.linear_transpose(add_up, like)(rows.T)\n    return picked.T.reshape(place.shape)",
        "    return jnp.take_along_axis(rows, places.T, 0).reshape(place.shape)",
        "values and gradients are right, but what is lowered for GPUs has a scatter in the gradient of roi_max_pool and of roi_align by maxima",
    ),
    # --- _max.py
    (
        "_max.py",
        "else ~x",
        "else -x",
        "ints are reversed by -x: the smallest int overflows, and of unsigned ints and bools 0 no longer is the smallest (min_pool of uint8 [0, 1] gives 1)",
    ),
    (
        "_max.py",
        "np.uint8 if jnp.issubdtype(dtype, jnp.unsignedinteger) else np.int8",
        "np.uint8",
        "int4 and int2 are compared as uint8, so that negative ones count as larger than positive ones",
    ),
    (
        "_max.py",
        "        Min(implementation),\n",
        "        Min(),\n",
        'min_pool does not pass on its implementation: an unknown name raises nothing, and "reduce_window" is not XLA\'s form',
    ),
    # --- _mean.py
    (
        "_mean.py",
        "count = domain.sum(weights) + (count - inside)",
        "count = domain.sum(weights)",
        "with float weights the padding is left out of the divisor, although count_include_pad is True",
    ),
    (
        "_mean.py",
        "np.uint64 if unsigned else np.int64",
        "np.int64",
        "sums of unsigned ints come out as signed ints (uint8 gives int32, not uint32)",
    ),
    (
        "_mean.py",
        "        Mean(count_include_pad, divisor_override),\n",
        "        Mean(count_include_pad),\n",
        "avg_pool ignores divisor_override, and does not refuse a wrong one",
    ),
    # --- _power.py
    (
        "_power.py",
        "return absolute(*primals), jnp.sign(primals[0]) * tangents[0]",
        "return absolute(*primals), jnp.where(primals[0] < 0, -tangents[0], tangents[0])",
        "the derivative of |x| at 0 is 1 and not 0: gradients of lp_pool with p=1 or inf at elements that are 0",
    ),
    (
        "_power.py",
        "jnp.where((largest > 0) & jnp.isfinite(largest), largest, one)",
        "jnp.where(largest > 0, largest, one)",
        "an infinite element is divided by itself where p is no small whole number: the norm for p=2.5 is NaN and not inf",
    ),
    (
        "_power.py",
        "x = jnp.where(where, x, zero)  #",
        "pass  #",
        "for p=inf the slope of |x| is taken at masked-out NaNs: their gradient is NaN and not 0",
    ),
    # --- _power_mean.py
    (
        "_power_mean.py",
        "jnp.where(x <= least, least, x)",
        "jnp.where(x < least, least, x)",
        "an element that equals eps has a gradient, although those up to eps have 0",
    ),
    (
        "_power_mean.py",
        "dx * (y / (np.array(p, x.dtype) * x))",
        "dx * (jax.lax.stop_gradient(y) / (np.array(p, x.dtype) * x))",
        "second derivatives of power means with a whole p above 2 (gem_pool's default) lack a term",
    ),
    (
        "_power_mean.py",
        'laid_parameter("p", self.p, x, domain)  #',
        "pass  #",
        "the error for an array p that does not broadcast speaks of `sharpness`",
    ),
    # --- _soft.py
    (
        "_soft.py",
        "            sharpness = jax.lax.stop_gradient(sharpness)\n",
        "            pass\n",
        'a learned sharpness gets a gradient with gradient="semi", where weights are to be constants',
    ),
    (
        "_soft.py",
        "-domain.max(-x, where)",
        "-domain.max(-x)",
        "with a sharpness of -inf the mask is forgotten: the minimum is that of all elements",
    ),
    (
        "_soft.py",
        "near = sharpness + (least - constant)",
        "near = least",
        "a traced sharpness nearer to 0 than 2**-10 has no gradient, and never learns to leave",
    ),
    (
        "_soft.py",
        "jnp.square(y - mean), spatial, keepdims=True, where=valid)",
        "jnp.square(y - mean), spatial, keepdims=True)",
        "the variance of LIP's instance normalization counts masked-out places (LearnedImportancePool with a mask and a kernel that is not 0)",
    ),
    # --- _softmean.py
    (
        "_softmean.py",
        "where, sharpness = None, 1\n    return logits",
        "where = None\n    return logits",
        "where a large window is pooled axis by axis, logsumexp applies the sharpness again on the second axis",
    ),
    (
        "_softmean.py",
        "sharpness * tangents[0] + _finite(logit) * tangents[3]",
        "sharpness * tangents[0]",
        "the derivative of the weights in the sharpness is dropped",
    ),
    (
        "_softmean.py",
        "-largest(-constant, where))",
        "-largest(-constant, None))",
        "for a negative sharpness in an array the shift looks at masked-out elements: a masked NaN makes the cell NaN",
    ),
    # --- _order.py
    (
        "_order.py",
        '"nearest": xp.round}',
        '"nearest": lambda p: xp.floor(p + 0.5)}',
        'interpolation="nearest" takes the upper of two elements as close, not that of even place',
    ),
    (
        "_order.py",
        'self.interpolation not in ("linear", "midpoint")',
        'self.interpolation not in ("linear",)',
        'interpolation="midpoint" of ints keeps their dtype: half of the midpoints cannot be held, and the result is not float32',
    ),
    (
        "_order.py",
        "xp.maximum(xp.round(k * n), 1)",
        "xp.round(k * n)",
        "a fraction k of a small cell rounds to no element at all: 0/0",
    ),
    (
        "_order.py",
        "        if mask is None:\n            return y\n",
        "        if True:\n            return y\n",
        "k_max_pool ignores empty_value: 0 where fewer than k elements take part",
    ),
    # --- _mixed.py
    (
        "_mixed.py",
        "part * left + (1 - part) * right",
        "part * right + (1 - part) * left",
        "a tree's gate opens the wrong child: sigmoid weighs the right one (not seen with gates of 0)",
    ),
    (
        "_mixed.py",
        "largest = jnp.where((alpha == 0) & jnp.isinf(largest), zero, largest)",
        "largest = jnp.where((alpha == 1) & jnp.isinf(largest), zero, largest)",
        "with an alpha in an array, an infinite maximum is not kept apart where alpha is 0 (0 times inf is NaN), and is lost where it is 1",
    ),
    (
        "_mixed.py",
        "return Mixed(alpha, self.count_include_pad)(x, domain, where)",
        "return Mixed(alpha)(x, domain, where)",
        "gated_pool ignores count_include_pad=False",
    ),
    # --- _detail.py
    (
        "_detail.py",
        "Mean(count_include_pad=False)(x, domain, where)",
        "Mean()(x, domain, where)",
        "the reference of detail_preserving_pool counts padding as zeros",
    ),
    (
        "_detail.py",
        "lax.stop_gradient(domain.max(x, where))",
        "lax.stop_gradient(domain.max(x))",
        "the shift of ada_pool's softmax is by a maximum that includes masked-out elements: a large one makes all weights 0 and the result NaN",
    ),
    (
        "_detail.py",
        "y = beta * alike + (1 - beta) * _quotient(soft, x, domain, where)",
        "y = (1 - beta) * alike + beta * _quotient(soft, x, domain, where)",
        "beta is the part of the softmax mean, not of the Dice mean (not seen at the default of a half)",
    ),
    (
        "_detail.py",
        "            if self.symmetric:\n",
        "            if not self.symmetric:\n",
        "for lam above 2 or traced, the largest distance of a symmetric pool leaves out elements below the reference, whose weights are then cut",
    ),
    # --- _random.py
    (
        "_random.py",
        "(weight > 0) & (before <= threshold)",
        "before <= threshold",
        "stochastic_pool draws the last element of a cell in which none is positive, where the result is to be 0",
    ),
    (
        "_random.py",
        "(place < number)",
        "(place > number)",
        "of equal elements the last has the lower rank: the gradient of rank_stochastic_pool goes to the wrong one",
    ),
    (
        "_random.py",
        "jax.random.bernoulli(self.key, 1 - rate, x.shape)",
        "jax.random.bernoulli(self.key, rate, x.shape)",
        "max_pool_dropout keeps elements with probability rate, drops them with 1 - rate (not seen at the default of a half)",
    ),
    (
        "_random.py",
        "key_of_axis = jax.random.fold_in(key, number)",
        "key_of_axis = key",
        "s3_pool uses one key for all axes: rows and columns of a square are always drawn alike",
    ),
    # --- _monoid.py
    (
        "_monoid.py",
        "return np.promote_types(dtype, np.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype",
        "return dtype",
        "`lift` and `combine` see float16 and bfloat16 as they are, not in float32",
    ),
    (
        "_monoid.py",
        "jnp.issubdtype(dtype, jnp.floating) else None",
        "jnp.issubdtype(dtype, jnp.floating) else dtype",
        "the float result that `lift` or `finish` makes of ints is cast back to ints",
    ),
    # --- _argmax.py
    (
        "_argmax.py",
        "np.prod(sizes, dtype=object) > 2**31 - 1",
        "np.prod(sizes, dtype=object) > 2**32 - 1",
        "pooled axes of 2**31 to 2**32 - 1 elements, whose indices overflow int32, are not refused",
    ),
    (
        "_argmax.py",
        "kept = [i for i in range(x.ndim) if values.ndim == x.ndim or i not in axes]",
        "kept = list(range(x.ndim))",
        "on a mesh with explicit axes, a global pool without keepdims fails: indices are given the axes that are gone",
    ),
    (
        "_argmax.py",
        'global_arguments("global_min_pool_with_argmin", axes, keepdims)',
        'global_arguments("global_min_pool_with_argmin", axes, False)',
        "global_min_pool_with_argmin ignores keepdims",
    ),
    # --- _unpool.py
    (
        "_unpool.py",
        "(indices >= 0) & (indices < size)",
        "indices < size",
        "an index of -1, which marks an empty cell, counts from the end: its value lands on the last position",
    ),
    (
        "_unpool.py",
        "abs(size - usual) >= step",
        "abs(size - usual) > step",
        "an output_shape that is a whole stride from the default size is accepted",
    ),
    (
        "_unpool.py",
        "dtype = np.promote_types(dtype, np.float32)",
        "dtype = y.dtype",
        'mode="add" adds float16 and bfloat16 up in their own dtype: 2048 + 1 + 1 stays 2048 in float16',
    ),
    (
        "_unpool.py",
        "y = jnp.where(y == 0, np.zeros((), y.dtype), y)",
        "y = jnp.asarray(y)",
        'in mode="max" 0.0 is larger than -0.0: of the two at one position not the first wins, in value and gradient',
    ),
    (
        "_unpool.py",
        "_reordered(position, plane[::-1])",
        "_reordered(position, plane)",
        "indices from onnx_column_major are read with rows and columns swapped (seen where the plane is not square)",
    ),
    # --- _adaptive.py
    (
        "_adaptive.py",
        'Window(window_shape, 1, "SAME", axes=axes)',
        'Window(window_shape, 1, "SAME_LOWER", axes=axes)',
        "sppf has the odd pad of even windows on the left",
    ),
    (
        "_adaptive.py",
        "valid = None if mask is None else pool_mask(mask, domain)",
        "valid = mask",
        "the later maxima of sppf take the mask of x, not that of the maxima before: valid maxima at masked-out places are left out",
    ),
    (
        "_adaptive.py",
        "first = min(*places, max(_channel_axis(places, x.ndim), 0))",
        "first = min(places)",
        "spatial_pyramid_pool takes channels before the pooled axes for batch: they are not part of the vector",
    ),
    (
        "_adaptive.py",
        'run("adaptive_min_pool", x, domain, Min(), where, empty_value)',
        'run("adaptive_min_pool", x, domain, Min(), where, 0)',
        "adaptive_min_pool does not pass on empty_value",
    ),
    # --- _fractional.py
    (
        "_fractional.py",
        "stops.append(xp.minimum(entry[1:] + int(overlapping), length))",
        "stops.append(xp.minimum(entry[1:], length))",
        "overlapping=True has no effect on given boundaries",
    ),
    (
        "_fractional.py",
        "(known >= 0) & (known < 1)",
        "(known >= 0) & (known <= 1)",
        "a sample of exactly 1, which is out of range, is accepted",
    ),
    (
        "_fractional.py",
        "tuple(int(length * r)",
        "tuple(round(length * r)",
        "output_ratio rounds the number of cells to the nearest, not down (7 * 0.5 gives 4)",
    ),
    (
        "_fractional.py",
        "if cells + k - 1 > length:",
        "if cells + k > length:",
        "windows that just fit are refused: as many cells as there are places",
    ),
    # --- _matrix.py
    (
        "_matrix.py",
        "key=lambda p: -p[0]",
        "key=lambda p: p[0]",
        'the first axis is taken first: in the semiring "max" the gradient of equal maxima goes to the first in column-major order',
    ),
    (
        "_matrix.py",
        "finite = jnp.all(jnp.isfinite(x))",
        "finite = ~jnp.any(jnp.isnan(x))",
        "infinities take the product of matrices, where 0 times inf makes NaN of rows that leave them out",
    ),
    (
        "_matrix.py",
        "jnp.where(positive, jnp.sqrt(jnp.where(positive, square, np.ones((), x.dtype))), 0)",
        "jnp.sqrt(square)",
        "the gradient of regional_max_pool is NaN where a region's vector of maxima is 0",
    ),
    (
        "_matrix.py",
        "(more if n == long else 0)",
        "(more if n == short else 0)",
        "on oblong maps the additional regions lie along the shorter axis",
    ),
    # --- _blur.py
    (
        "_blur.py",
        "n, widths = shape[axis], ((size - 1) // 2, size // 2)",
        "n, widths = shape[axis], (size // 2, (size - 1) // 2)",
        "the odd element of padding of filters of even size is before x, not after",
    ),
    (
        "_blur.py",
        "counted = present + (whole - blurred(ones, magnitudes))",
        "counted = present",
        'with a mask and padding_mode="constant", padding no longer counts as zeros: borders grow',
    ),
    (
        "_blur.py",
        "magnitudes = [jnp.abs(taps) for taps in weights]",
        "magnitudes = weights",
        "with a mask, weights of a kernel with negative ones grow by their signed sums, not by their magnitudes",
    ),
    (
        "_blur.py",
        "mask = None if mask is None else pool_mask(mask, domain)",
        'mask = None if mask is None else pool_mask(mask, domain, "all")',
        "max_blur_pool leaves out the maxima of windows that are masked out in part",
    ),
    # --- _morphology.py
    (
        "_morphology.py",
        '(False, "SAME_LOWER", back)',
        '(False, "SAME", back)',
        "opening and closing by a window of even size move the image by one element",
    ),
    (
        "_morphology.py",
        "tuple(jnp.flip(along, 0) for along in structure)",
        "tuple(structure)",
        "opening and closing do not reflect a separable structure for the way back (seen where it is not symmetric)",
    ),
    (
        "_morphology.py",
        "lead, order = len(windows), sorted(range(len(windows)), key=lambda i: windows[i][0])",
        "lead, order = len(windows), range(len(windows))",
        "a structure's axes are swapped where `axes` are not in ascending order",
    ),
    (
        "_morphology.py",
        "take = exceeds(new, y) | (picked < 0)",
        "take = exceeds(new, y)",
        "in structured windows of more than 25 elements the maximum is never below 0: cells of negative sums give 0",
    ),
    # --- _regions.py
    (
        "_regions.py",
        "((bottom - top)[:, None, None] * moves[..., 1])",
        "((right - left)[:, None, None] * moves[..., 1])",
        "vertical offsets of deformable_roi_pool are in parts of the box's width, not of its height (seen where it is not square)",
    ),
    (
        "_regions.py",
        "None, ys, xs, reduction)",
        "None, ys, xs)",
        'roi_align ignores reduction="max"',
    ),
    (
        "_regions.py",
        "[level]\n        ys, xs = _boxes.sample_places(boxes, scale, cells, ratio, aligned)",
        "[level]\n        ys, xs = _boxes.sample_places(boxes, scale, cells, ratio, True)",
        "multi_scale_roi_align ignores aligned=False",
    ),
    (
        "_regions.py",
        "if (x.shape[-1], x.dtype) != (like.shape[-1], like.dtype):",
        "if x.shape[-1] != like.shape[-1]:",
        "feature maps of different dtypes are not refused",
    ),
    # --- linen.py
    (
        "linen.py",
        'if key is None and not options["deterministic"] and self.has_rng("pool"):',
        'if not options["deterministic"] and self.has_rng("pool"):',
        "a key that the caller gives is replaced by one of the stream `pool`",
    ),
    (
        "linen.py",
        "order = sorted(range(len(own)), key=lambda i: own[i])",
        "order = list(range(len(own)))",
        "learned filters with features are laid wrong where channels are before the pooled axes, or axes are not in ascending order",
    ),
    (
        "linen.py",
        'per: Per = "map"',
        'per: Per = "cell"',
        "RandomMixedPool draws for each cell by default, where the function draws for each map",
    ),
    (
        "linen.py",
        "return self._function(x, where=where, gate=gate, **self._options())",
        "return self._function(x, where=None, gate=gate, **self._options())",
        "GatedPool does not pass the mask on",
    ),
    (
        "linen.py",
        "self.param(name, start, shape + self._channels, self.param_dtype)",
        "self.param(name, start, shape + self._channels, jnp.float32)",
        "learned layers ignore param_dtype",
    ),
    # --- nnx.py
    (
        "nnx.py",
        "if isinstance(layer, _GlobalPool) and not layer.keepdims:",
        "if isinstance(layer, _GlobalPool):",
        "with keepdims=True, one parameter for each channel is laid along the wrong axis where channels are before the pooled axes",
    ),
    (
        "nnx.py",
        "return tuple(_as_tuple(v) for v in value) if isinstance(value, list | tuple) else value",
        "return tuple(value) if isinstance(value, list | tuple) else value",
        "lists in lists, such as padding=[[1, 1], [0, 0]], stay lists, which nnx.jit cannot hash",
    ),
    (
        "nnx.py",
        "        for name, (shape, start) in self._first().items():\n"
        "            key = None if rngs is None else rngs.params()\n",
        "        key = None if rngs is None else rngs.params()\n"
        "        for name, (shape, start) in self._first().items():\n",
        "all parameters of a layer start from one key: alpha and lam of LearnedDetailPreservingPool are equal",
    ),
    (
        "nnx.py",
        "return jnp.pad(x, widths, layer.padding_mode)",
        'return jnp.pad(x, widths, "reflect")',
        "PredictedBlurPool predicts from x with reflected borders, whatever padding_mode is",
    ),
    (
        "nnx.py",
        "canonical_level: int = 4",
        "canonical_level: int = 3",
        "MultiScaleRoiAlign has another default than the function: boxes go to a map one level finer",
    ),
    (
        "_program.py",
        "self.key = (type(value), said)",
        "self.key = value",
        "0.0, -0.0, 0 and False are one value: the program of the first is used for all",
    ),
    (
        "_program.py",
        "static_argnums=(0, 1, 2), inline=True",
        "static_argnums=(0, 1, 2), inline=False",
        "a call is left in the programs of users",
    ),
    (
        "_program.py",
        "    function(*args, **kwargs)  # says what came",
        "    # says what came",
        "errors show a tracer in place of what was passed",
    ),
    (
        "_program.py",
        "    raise mistake",
        "    return function(*args, **kwargs)",
        "a mistake that is made in programs only is hidden",
    ),
    (
        "_program.py",
        "    except TypeError:  # arrays among",
        "    except KeyError:  # arrays among",
        "a reduction that cannot be hashed is refused",
    ),
]
