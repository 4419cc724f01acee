"""The benchmarks run, and record what they should. Nothing here looks at a time."""

import contextlib
import dataclasses
import importlib.util
import io
import json
import math
import pathlib
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

pytest.importorskip("rich")
from benchmarks import __main__ as bench
from benchmarks import (
    aot,
    attention,
    chart,
    compare,
    descriptors,
    elements,
    hlo,
    operators,
    page,
    pods,
    programs,
    report,
    segments,
    sharding,
    spectral,
    timing,
    vmapped,
    wavelet_polyphase,
)
from tests.cases import CASES
from tests.compiling import as_users
from tests.lowering.test_program_size import LIKE_OTHERS

TESTS_OF = ()  # of benchmarks/

FIELDS = {
    "op", "case", "dtype", "mode", "implementation", "version", "median_us", "p10_us", "p90_us",
    "ratios", "compile_ms", "temp_bytes", "floor_bytes", "bandwidth_fraction", "bandwidth_gb_s",
    "self_check", "device", "jax", "commit", "memory", "inline",
}  # fmt: skip
BY_NAME = {case.name: case for case in CASES}
find_spec = importlib.util.find_spec


@pytest.fixture(autouse=True, scope="module")
def _promotion():
    """As users of the peers have it; some do not work under strict promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def without(*modules):
    """A `find_spec` that does not find some modules."""
    return lambda name: None if name in modules else find_spec(name)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What a run of one small case prints, and the folder of its files."""
    folder, printed = tmp_path_factory.mktemp("run"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(importlib.util, "find_spec", without("equinox"))
        bench.main(
            "--cases=vgg_pool --modes=fwd,vjp,compile --peers=reduce_window,jnp,equinox --repeats=1"
            f" --copy-mebibytes=1 --out={folder / 'run.jsonl'} --plot={folder / 'run.png'}".split()
        )
    return folder, printed.getvalue()


def test_rows_have_every_field(run):
    rows = report.read(run[0] / "run.jsonl")
    assert len(rows) == 3 * 3
    for row in rows:
        assert set(row) == FIELDS
        assert row["median_us"] > 0
        assert row["compile_ms"] > 0
        assert row["p10_us"] <= row["median_us"] <= row["p90_us"]
        own = row["implementation"] == "jaxpool"
        assert set(row["ratios"]) == ({"reduce_window", "jnp"} if own else {"jaxpool"})
        assert (row["bandwidth_fraction"] is None) == (row["mode"] == "compile")
    x, y = 2 * 8 * 8 * 3, 2 * 4 * 4 * 3
    floors = {row["mode"]: row["floor_bytes"] for row in rows}
    assert floors == {"fwd": 4 * (x + y), "vjp": 4 * 2 * (x + y), "compile": 4 * 2 * (x + y)}


def test_run_prints_a_table_its_check_and_who_is_missing(run):
    folder, text = run
    assert "Peer equinox is left out: not installed (pip install equinox)." in text
    assert "| max_pool | vgg_pool | float32 | fwd " in text
    assert "Two identical programs, before and after: " in text
    assert "geomean" in text
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")


def test_report_and_compare_read_what_was_written(run, capsys):
    path = str(run[0] / "run.jsonl")
    report.main([path])
    assert capsys.readouterr().out.strip() in run[1]
    compare.main([path, path])
    _, rows, overall = capsys.readouterr().out.split("Above 1")[-1].partition("Over all rows")
    assert overall.count("1.00") == 2 * 3  # geomean and worst of three implementations
    assert rows


def test_compare_refuses_runs_without_a_common_row(run, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(SystemExit, match="no row in common"):
        compare.main([str(run[0] / "run.jsonl"), str(tmp_path / "empty.jsonl")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--ops=mean", "--ops: must be of max_pool"),
        ("--modes=both", "--modes: must be of fwd"),
        ("--cases=alexnet", "'alexnet' is no name and no tag"),
        ("--peers=keras", "--peers: peer must be one of flax"),
        ("--cases=vgg_pool --dtypes=int8 --modes=vjp", "integers have no derivative"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(SystemExit, match=message):
        bench.main(arguments.split())


PEERS = [p for p in programs.PACKAGES if p not in programs.missing(list(programs.PACKAGES))]


JOBS = [
    (op, case)
    for op in programs.OPS
    for case in ("audio_1d", "channels_first", "vgg_pool", "ceil_tail", "no_batch_axes")
    if op.startswith("global_") == (case == "no_batch_axes")
    if case == "channels_first" or not op.startswith("adaptive_")
]


# Each with a case whose layout most peers do not know, and with another one in turns.
OFTEN = [(op, case) for op, case in JOBS if case in ("channels_first", "no_batch_axes")]
OFTEN += [
    (op, ("audio_1d", "vgg_pool", "ceil_tail")[i % 3])
    for i, op in enumerate(o for o in programs.OPS if not o.startswith(("global_", "adaptive_")))
]


def ready(implementation, op, case):
    """A program that has run, at once and not operation by operation."""
    program = programs.build(implementation, op, case, "float32", "fwd")
    if implementation != "torch":
        program = dataclasses.replace(program, function=jax.jit(program.function))
    return bench.Ready(program, "eager")


@pytest.mark.parametrize(
    ("op", "case"),
    [pytest.param(*j, marks=() if j in OFTEN else pytest.mark.exhaustive) for j in JOBS],
)
def test_peers_do_the_same_job(op, case):
    """Ratios compare like with like: a peer that has the operator gives jaxpool's values."""
    case = BY_NAME[case]
    own = ready("jaxpool", op, case)
    compared = 0
    for peer in PEERS:
        try:
            other = ready(peer, op, case)
        except programs.Unsupported:
            continue
        bench.check_same(own, other, "float32")
        compared += 1
    if not compared and op.startswith("adaptive_"):
        pytest.importorskip("torch", reason="torch is the one peer that has these")
    # Only torch has indices; ranks are written out by hand where nothing is padded.
    padded = programs.Geometry(case).padded
    assert compared or op == "max_pool_with_argmax" or (op == "rank_pool" and padded)


def test_a_peer_with_other_values_is_refused():
    case = BY_NAME["vgg_pool"]
    own, other = (ready("jaxpool", op, case) for op in ("max_pool", "avg_pool"))
    with pytest.raises(programs.Unsupported, match="other values"):
        bench.check_same(own, other, "float32")


def test_calls_take_turns_in_blocks():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    found = timing.measure(calls, repeats=4, blocks=2, shortest=0)
    block = ["a"] * 4 + ["b"] * 4  # two off the clock, two on it
    assert order == ["a", "a", "b", "b", *block, *block]
    assert [len(block) for block in found["a"].blocks] == [2, 2]


def test_ratio_is_taken_within_blocks():
    slow_then_fast = timing.Samples([[4.0, 4.0], [1.0, 1.0]])
    twice_as_slow = timing.Samples([[8.0, 8.0], [2.0, 2.0]])
    assert slow_then_fast.ratio(twice_as_slow) == 2
    assert math.isclose(report.geomean([2, 8]), 4)


def test_the_page_gets_its_tables(run):
    table = page.tables(report.read(run[0] / "run.jsonl"))
    assert "| vgg_pool |" in table
    assert "reduce_window /" in table
    marked = "before\n<!-- table: cpu -->\nold\n<!-- end of table -->\nafter\n"
    text = page.with_table(marked, "cpu", table)
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert page.with_table(text, "cpu", table) == text
    with pytest.raises(SystemExit, match="no place for a table 'tpu'"):
        page.with_table(marked, "tpu", table)


def test_recorded_rows_are_what_the_page_shows():
    shown = page.PAGE.read_text()
    recorded = sorted((page.ROOT / "recorded").glob("*.jsonl"))
    assert {file.stem for file in recorded} == set(page.RUNS)
    for file in recorded:
        assert page.with_table(shown, file.stem, page.tables(report.read(file))) == shown, file.stem


# --- compiling for what is not there ----------------------------------------------------------


@pytest.mark.parametrize("target", ["tpu:v5e:2x2", "gpu:h100"])
def test_aot_says_what_to_install(target, monkeypatch, capsys):
    missing = ("libtpu", "jax_plugins.xla_cuda12", "nvidia.cuda_nvcc")
    monkeypatch.setattr(importlib.util, "find_spec", without(*missing))
    aot.main(["--target", target])
    text = capsys.readouterr().out
    assert text.startswith(f"Skipped: {target} needs ")
    assert f"jax=={jax.__version__}" in text or f"jax[tpu]=={jax.__version__}" in text


def test_aot_compiles_and_reports(capsys, tmp_path):
    arguments = (
        "--target=cpu --cases=vgg_pool --batch=4 --dtypes=float32 --peers=reduce_window,none"
    )
    aot.main([*arguments.split(), f"--out={tmp_path / 'aot.jsonl'}"])
    own, plain, none, *_ = rows = report.read(tmp_path / "aot.jsonl")
    assert len(rows) == 2 * 3
    assert own["shape"] == [4, 8, 8, 3]
    assert own["floor"] == plain["floor"] == 4 * 4 * 3 * (8 * 8 + 4 * 4)
    assert plain["kernels"] == 1
    assert plain["traffic"] == pytest.approx(plain["floor"], rel=0.01)
    assert "error" in none
    assert "| max_pool | vgg_pool | 4x8x8x3 |" in capsys.readouterr().out


def test_aot_compiles_elements(tmp_path, monkeypatch):
    """Of small arrays here, in both modes, and with a gradient in each float."""
    ids, tokens = ((12,), "int32"), (2, 3, 12)
    small = {"segment_sum": ((12, 5), (ids,)),
             "attention, 64 queries": (tokens, (((4, 12), None), (tokens, None), (tokens, None)))}  # fmt: skip
    cases = {name: (elements.CASES[name][0], *own) for name, own in small.items()}
    monkeypatch.setattr(elements, "CASES", cases)
    file = tmp_path / "aot.jsonl"
    aot.main(f"--target=cpu --elements --dtypes=float32 --out={file}".split())
    rows = report.read(file)
    values = [12 * 5 + 12 + 1024 * 5, 3 * 72 + 48 + 96]
    assert [row["floor"] for row in rows[::2]] == [4 * n for n in values]
    assert [row["floor"] for row in rows[1::2]] == [4 * (values[0] + 60), 4 * (values[1] + 264)]


def test_aot_refuses_unknown_targets(capsys):
    with pytest.raises(SystemExit):
        aot.main(["--target=gpu:h300"])
    assert "--target must be one of" in capsys.readouterr().err


HLO = """\
HloModule jit_f

%fused (p: f32[8,128]) -> f32[8,128] {
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %inner = f32[8,128]{1,0:T(8,128)} negate(%p)
}

ENTRY %main (x: f32[8,128], i: u8[8,128]) -> (f32[8,128], f32[4]) {
  %x = f32[8,128]{1,0:T(8,128)} parameter(0)
  %i = u8[8,128]{1,0} parameter(1)
  %cut = f32[4]{0} constant({1, 2, 3, 4})
  %near = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x)
  %here = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%near)
  %twice = f32[8,128]{1,0:T(8,128)} fusion(%here, %here, %i), kind=kLoop, calls=%fused, \
backend_config={"estimated_cycles":"12"}
  %moved = f32[8,128]{1,0} collective-permute(%twice), source_target_pairs={{0,1}}
  ROOT %both = (f32[8,128]{1,0}, f32[4]{0}) tuple(%moved, %cut)
}
"""


def test_hlo_counts_kernels_and_what_they_move_in_main_memory():
    facts = hlo.read(HLO)
    array = 4 * 8 * 128
    assert facts.kernels == 3
    # The copy reads x; the fusion reads i and writes; the permutation reads and writes.
    assert facts.traffic == array + (array // 4 + array) + 2 * array
    assert facts.cycles == 12
    assert facts.collectives == {"collective-permute": 1}
    assert not facts.scatter
    assert not facts.loops


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("bf16[2,3]{1,0}", 12),
        ("pred[]", 1),
        ("f8e4m3fn[4]{0}", 4),
        ("(s32[2]{0}, f64[3]{0})", 32),
        ("f32[2,2]{1,0:T(8,128)S(1)}", 0),
        ("token[]", 0),
    ],
)
def test_bytes_of_shapes(shape, expected):
    assert hlo.main_memory_bytes(shape) == expected


def test_hlo_finds_scatter_of_a_real_program():
    x = np.zeros((1, 8, 8, 1), np.float32)
    f = programs.build("reduce_window", "max_pool", BY_NAME["vgg_pool"], "float32", "grad")
    assert hlo.read(as_users(f.function).lower(*f.arguments).compile().as_text()).scatter
    assert not hlo.read(as_users(jnp.sin).lower(x).compile().as_text()).scatter


def test_layouts_go_there_and_back():
    for name in ("vgg_pool", "channels_first", "vit_tokens", "no_batch_axes", "volumetric_3d"):
        case = BY_NAME[name]
        layout = programs.Layout(case, channels_last=False)
        x = np.arange(math.prod(case.shape)).reshape(case.shape)
        there = layout.there(x)
        assert there.ndim == 2 + len(case.pooled)
        np.testing.assert_array_equal(layout.back(there, case.shape), x)


def test_segments_prints_a_row_for_each_function_and_mode(capsys, monkeypatch):
    monkeypatch.setattr(timing, "bandwidth", lambda: 1e10)  # which takes seconds to measure
    assert len([*segments.groups(128)]) == 10
    segments.main(["--repeats=1", "--shrink=128", "--only=max_pool, s"])
    segments.main(["--repeats=1", "--shrink=128", "--only=prefix_max"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("|")[1:-1] for line in lines if "forward" in line]
    assert len(rows) == 4
    for name, mode, milliseconds, _, peers in rows:
        assert float(milliseconds) > 0, (name, mode)
        assert "jax.ops" in peers or "by hand" in peers


def test_attention_prints_a_row_for_each_mode(capsys):
    assert len([*attention.groups(64, "one query")]) == 2
    attention.main(["--repeats=1", "--shrink=64", "--only=one query, m"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [mode.strip() for _, mode, *_ in rows] == ["forward", "forward + backward"]
    assert all(float(row[2]) > 0 and "jax.nn" in row[3] for row in rows)


def test_descriptors_prints_a_row_for_each_function_and_mode(capsys):
    assert len([*descriptors.groups(64)]) == 7
    descriptors.main(["--repeats=1", "--shrink=64", "--only=covariance_pool, v"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "forward" in line]
    assert len(rows) == 2
    assert all("jnp by hand" in row for row in rows)


def test_spectral_prints_a_row_for_each_mode(capsys):
    spectral.main(["--repeats=1", "--shrink=8", "--only=56 x 56"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "forward" in line]
    assert ["SciPy" in row for row in rows] == [True, False]
    assert all("jnp.fft by hand" in row for row in rows)


def test_wavelets_and_phases_print_a_row_for_each_mode(capsys):
    assert len([*wavelet_polyphase.groups()]) == 7
    wavelet_polyphase.main(["--repeats=1", "--shrink=16", "--only=polyphase"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "forward" in line]
    assert len(rows) == 2
    assert all("norms and selection" in row for row in rows)
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32)
    by_hand, own = wavelet_polyphase.haar(x), jaxpool.wavelet_pool(x, bands="all")
    np.testing.assert_allclose(by_hand, own, rtol=1e-5, atol=1e-6)


def test_sharding_counts_what_is_exchanged():
    text = """
      %a = f32[2,3]{1,0} all-reduce(f32[2,3] %b), to_apply=%add
      %c = (f32[4]{0}, f32[4]{0}) collective-permute-start(f32[4] %d)
      %e = f32[4]{0} collective-permute-done(%c)
      %f = pred[] all-reduce(pred[] %g), to_apply=%and
      %h = bf16[5]{0} add(bf16[5] %all-reduce.1, bf16[5] %i)
    """
    exchange = sharding.Exchange.of(text)
    assert exchange.counts == {"all-reduce": 2, "collective-permute": 1}
    assert exchange.size == 24 + 32 + 1


def test_sharding_table_and_page(tmp_path, monkeypatch):
    rows = [
        {"op": "a", "split": "batch", "mode": "auto", "counts": {}, "bytes": 0},
        {"op": "a", "split": "batch", "mode": "shard_map", "error": "TypeError: no"},
        {"op": "a", "split": "rows", "mode": "auto", "counts": {"collective-permute": 2},
         "bytes": 1234},
        {"op": "a", "split": "rows", "mode": "explicit", "counts": {"collective-permute": 2},
         "bytes": 1234},
    ]  # fmt: skip
    lines = sharding.table(rows).splitlines()
    assert lines == ["| | batch | rows |", "|---|---|---|",
                     "| `a` | 0<br>shard_map: raises | 2 permute, 1.2 kB |"]  # fmt: skip
    recorded, page = tmp_path / "rows.jsonl", tmp_path / "page.md"
    recorded.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page.write_text(f"before\n{sharding.BEGIN}old\n{sharding.END}after\n")
    monkeypatch.setattr(sharding, "RECORDED", recorded)
    monkeypatch.setattr(sharding, "PAGE", page)
    sharding.main(["--page"])
    assert page.read_text().splitlines() == [
        "before", sharding.BEGIN.strip(), "", *lines, "", sharding.END.strip(), "after"
    ]  # fmt: skip


def test_sharding_page_has_what_is_recorded():
    rows = [json.loads(line) for line in sharding.RECORDED.read_text().splitlines()]
    assert sharding.table(rows) in sharding.PAGE.read_text()
    assert not [row for row in rows if row["split"] == "batch" and row.get("bytes", 0) > 2]


def test_vmapped_measures_all_functions(capsys, tmp_path):
    assert set(vmapped.functions()) <= set(vmapped.forms())
    vmapped.main(
        f"--ops=global_max_pool,pool_mask --batch=2 --repeats=1 --out={tmp_path / 'rows'}".split()
    )
    rows = report.read(tmp_path / "rows")
    assert [(r["op"], r["mode"]) for r in rows] == [
        ("global_max_pool", "fwd"), ("global_max_pool", "vjp"), ("pool_mask", "fwd")]  # fmt: skip
    assert all(row["vmap_us"] > 0 and row["batched_us"] > 0 for row in rows)
    assert "| pool_mask" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive if name in LIKE_OTHERS else ())
        for name in vmapped.forms()
    ],
)
def test_vmap_keeps_conditionals(name):
    """Of one whose predicate differs between images, both branches would run for each."""
    form = vmapped.forms()[name]
    x = jax.ShapeDtypeStruct((2, *vmapped.IMAGE), np.float32)
    before = str(jax.make_jaxpr(form)(x.update(shape=vmapped.IMAGE)))
    after = str(jax.make_jaxpr(jax.vmap(form))(x))
    assert after.count("cond[") == before.count("cond[")


README = pathlib.Path(__file__).resolve().parent.parent / "README.md"


def test_the_chart_of_the_readme_is_that_of_the_recorded_rows():
    assert chart.README.read_text() == chart.draw("windows")


@pytest.mark.parametrize("name", chart.CHARTS)
def test_bars_of_charts_are_as_long_as_their_ratios(name):
    """On a log scale, from 1: to the right if jaxpool is faster, to the left if not."""
    found = chart.bars(*chart.CHARTS[name])
    root = ElementTree.fromstring(chart.draw(name))
    keys = ("10", "10")  # the legend's
    rects = [e for e in root.iter("{http://www.w3.org/2000/svg}rect")
             if (e.get("width"), e.get("height")) != keys or e.get("y") != "29"]  # fmt: skip
    assert len(rects) == len(found)
    lengths, edges = [], []
    for bar, rect in zip(found, rects, strict=True):
        logs = [math.log(ratio) for ratio in bar.ratios]
        mean = sum(logs) / len(logs)
        lengths.append(float(rect.get("width")) / abs(mean))
        edges.append(float(rect.get("x")) + (0 if mean > 0 else float(rect.get("width"))))
    assert max(edges) - min(edges) < 0.2
    assert max(lengths) < 1.03 * min(lengths)


def test_numbers_of_the_pitch_are_those_of_the_recorded_rows():
    """Geometric means over the cases of float32 maxima with their gradients."""
    means = {}
    for peer in ("flax", "torch"):
        ratios = [
            row["ratios"][peer]
            for row in report.read(chart.ROOT / "recorded" / "cpu_max.jsonl")
            if row["mode"] == "vjp" and row["implementation"] == "jaxpool"
        ]
        means[peer] = math.exp(sum(map(math.log, ratios)) / len(ratios))
    pitch = " ".join(README.read_text().split())
    assert (
        f"takes Flax {means['flax']:.2g} times as long and PyTorch {means['torch']:.2g} times as long"
        f" (geometric means over {len(ratios)} cases)"
    ) in pitch


def test_what_a_pod_moves():
    """Of a stem in 8 parts, by hand: 16 examples for a device, of which it has 14 rows of 128 each."""
    stem, v5e = pods.STAGES[0], pods.MACHINES[0]
    row = 112 * 64 * 2
    found = pods.moved(stem, v5e, 8)
    assert found.memory == 2 * 16 * (112 * row + 56 * row // 2)
    assert found.exchanged == 2 * 16 * 8 * row  # a row forward, and one of gradients backward
    assert found.seconds == found.memory / 819e9
    assert pods.moved(stem, v5e, 1).exchanged == 0
    assert pods.moved(pods.STAGES[2], v5e, 8).exchanged == 0  # side by side
    assert "| v5e:16x16 | ResNet-50, 3x3/2 maximum        | 14 along rows" in pods.table()
    assert pods.table() in page.SCALE.read_text()


def test_operators_are_compiled_with_derivatives(capsys):
    """As for accelerators, here for the CPU."""
    aot.main(["--target=cpu", "--operators=pool_mask,global_sum_pool", "--ranks=1", "--dtypes=bfloat16",
              "--modes=fwd,vjp,jvp"])  # fmt: skip
    lines = [line for line in capsys.readouterr().out.splitlines() if " axes" in line]
    modes = [[cell.strip() for cell in line.split("|")][5] for line in lines]
    assert modes == ["fwd", "fwd", "vjp", "jvp"]
    assert "none: " not in "".join(lines)
    found, floor = operators.program(("global_sum_pool", 1), "bfloat16", "vjp")
    assert floor == 2 * (4 * 256 * 128 + 4 * 128 + 4 * 256 * 128)
    assert found.arguments[0].shape == (4, 256, 128)
