"use strict";

/* Windows over a grid, as jaxpool lays them. Nothing here knows of a page, so that Node runs it. */

/** The windows along one axis: window i has the elements i * stride - low + j * dilation. */
function axisWindows(length, window, stride, padding, dilation, ceilMode) {
  const span = (window - 1) * dilation + 1;
  let low, high, output;
  if (padding === "SAME" || padding === "SAME_LOWER") {
    output = Math.ceil(length / stride);
    const total = Math.max((output - 1) * stride + span - length, 0);
    low = padding === "SAME" ? Math.floor(total / 2) : Math.ceil(total / 2);
    high = total - low;
  } else {
    low = high = padding === "VALID" ? 0 : padding;
    const room = length + low + high - span;
    output = (ceilMode ? Math.ceil(room / stride) : Math.floor(room / stride)) + 1;
    // The last window of ceil mode has to start inside the input or the padding before it.
    if (ceilMode && (output - 1) * stride >= length + low) output -= 1;
  }
  if (output < 1) throw new RangeError("The window is larger than the padded input.");
  const starts = Array.from({ length: output }, (_, i) => i * stride - low);
  const taps = starts.map((start) => Array.from({ length: window }, (_, j) => start + j * dilation));
  const inside = taps.map((window) => window.filter((place) => place >= 0 && place < length));
  if (inside.some((window) => window.length === 0)) {
    throw new RangeError("A window lies wholly in the padding.");
  }
  // What a mean divides by if it counts padding: what ceil mode reaches beyond it is not counted.
  const padded = taps.map((window) => window.filter((place) => place < length + high).length);
  const end = Math.max(...taps.map((window) => window[window.length - 1])) + 1;
  return { low, high, output, taps, inside, padded, overhang: Math.max(end - length - high, 0) };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = (sorted.length - 1) / 2;
  return (sorted[Math.floor(half)] + sorted[Math.ceil(half)]) / 2;
}

function variance(values) {
  const middle = mean(values);
  return mean(values.map((value) => (value - middle) ** 2));
}

function softmaxMean(values) {
  const most = Math.max(...values);
  const weights = values.map((value) => Math.exp(value - most));
  return sum(values.map((value, i) => value * weights[i])) / sum(weights);
}

/** The logarithm of the mean of exponentials, as sharp as logsumexp_pool is unless told. */
function logMeanExp(values, sharpness = 10) {
  const most = Math.max(...values);
  const terms = values.map((value) => Math.exp(sharpness * (value - most)));
  return most + Math.log(mean(terms)) / sharpness;
}

/* Each has the elements inside the input, and how many elements are inside or in the padding. */
const POOLS = {
  max_pool: (values) => Math.max(...values),
  min_pool: (values) => Math.min(...values),
  sum_pool: (values) => sum(values),
  avg_pool: (values, padded) => sum(values) / padded,
  "avg_pool, count_include_pad=False": (values) => mean(values),
  lp_pool: (values) => Math.sqrt(sum(values.map((value) => value * value))),
  median_pool: (values) => median(values),
  variance_pool: (values) => variance(values),
  softmax_pool: (values) => softmaxMean(values),
  logsumexp_pool: (values) => logMeanExp(values),
};

/** Pools a grid: the geometry of both axes, and in each cell its value and its two counts. */
function poolGrid(grid, settings) {
  const { pool, window, stride, padding, dilation, ceilMode } = settings;
  const lengths = [grid.length, grid[0].length];
  const axes = lengths.map((length, a) =>
    axisWindows(
      length,
      window[a],
      stride[a],
      typeof padding === "string" ? padding : padding[a],
      dilation[a],
      ceilMode,
    ),
  );
  const [rows, columns] = axes;
  const cells = rows.inside.map((ys, i) =>
    columns.inside.map((xs, j) => {
      const values = ys.flatMap((y) => xs.map((x) => grid[y][x]));
      const padded = rows.padded[i] * columns.padded[j];
      return { value: POOLS[pool](values, padded), count: values.length, padded };
    }),
  );
  return { rows, columns, shape: [rows.output, columns.output], cells };
}

/** The same in Python. */
function asPython(settings) {
  const { pool, window, stride, padding, dilation, ceilMode } = settings;
  const [name, option] = pool.split(", ");
  const pair = (values) => `(${values.join(", ")})`;
  const written = [`x`, pair(window), `strides=${pair(stride)}`];
  if (padding !== "VALID") {
    written.push(`padding=${typeof padding === "string" ? `"${padding}"` : pair(padding)}`);
  }
  if (dilation.some((d) => d !== 1)) written.push(`dilation=${pair(dilation)}`);
  if (ceilMode) written.push("ceil_mode=True");
  if (option) written.push(option);
  return `jaxpool.${name}(${written.join(", ")}, axes=(0, 1))`;
}

if (typeof module !== "undefined") module.exports = { axisWindows, poolGrid, asPython, POOLS };
