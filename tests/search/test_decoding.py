import numpy as np
import pytest
import torch
from reference_search import next_log_probs
from tiny_models import ARCHITECTURES, tiny_model

from arcfold.jobs.files import InputError
from arcfold.search.cpu_cache import CpuDecoder
from arcfold.search.decoding import Decoder, causal_segment, open_decoder
from arcfold.search.gpu_cache import GpuDecoder

KINDS = [CpuDecoder, GpuDecoder]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_segments_of_one_pass_do_not_see_each_other(architecture: str, kv_heads: int, kind: type[Decoder]) -> None:
    model = tiny_model(architecture, kv_heads=kv_heads)
    texts = [[1, 2, 3, 4], [2, 2], [4, 1, 0, 3, 3, 2]]
    with open_decoder(model, 10, kind, None) as decoder:
        segments = []
        for text in texts:
            cache, first, last = decoder.allocate(10), decoder.rule.first(text[0]), range(len(text) - 1, len(text))
            segments.append(causal_segment(cache, text, first, last, None, decoder.rule))
        found = decoder.log_probs(segments)
    for row, text in zip(found, texts, strict=True):
        torch.testing.assert_close(row, torch.tensor(next_log_probs(model, [text])[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_builds_on_the_places_it_is_told(kind: type[Decoder]) -> None:
    model = tiny_model("qwen3", kv_heads=1)
    with open_decoder(model, 10, kind, None) as decoder:
        cache = decoder.allocate(8)
        decoder.log_probs([causal_segment(cache, [1, 2, 3], 0, range(2, 3), None, decoder.rule)])
        decoder.log_probs([causal_segment(cache, [0, 0], 3, range(1), None, decoder.rule)])  # not seen by what follows
        found = decoder.log_probs([causal_segment(cache, [4, 1], 3, range(2), np.arange(3), decoder.rule)])
    for row, text in zip(found, [[1, 2, 3, 4], [1, 2, 3, 4, 1]], strict=True):
        torch.testing.assert_close(row, torch.tensor(next_log_probs(model, [text])[0]), atol=1e-5, rtol=0)


def test_the_cache_of_slots_grows_and_moves_together_without_changing_what_it_keeps() -> None:
    with open_decoder(tiny_model("qwen3"), 10, GpuDecoder, 0) as decoder:
        first, second = decoder.allocate(3), decoder.allocate(2)
        assert (first.base, second.base, decoder.used) == (1, 4, 6)
        written = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
        decoder.keys[1][:, :6] = written
        decoder.grow(9)
        live = torch.zeros(9, dtype=torch.bool)
        live[[0, 2, 4, 5]] = True
        moved = decoder.compact(live)
        assert moved[[0, 2, 4, 5]].tolist() == [0, 1, 2, 3]
        assert decoder.used == 4
        assert torch.equal(decoder.keys[1][:, :4], written[:, [0, 2, 4, 5]])


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("llama")
    before = next_log_probs(model, [[1, 2, 3]])[0]
    with pytest.raises(RuntimeError, match="inside"), open_decoder(model, 10, CpuDecoder, None):
        raise RuntimeError("inside")
    assert next_log_probs(model, [[1, 2, 3]])[0] == before


def test_a_sliding_window_that_matters_is_refused() -> None:
    model = tiny_model("mistral", sliding_window=8)
    with open_decoder(model, 8, CpuDecoder, None):
        pass
    with (
        pytest.raises(InputError, match="sliding_window is 8 and texts have up to 9 tokens"),
        open_decoder(model, 9, CpuDecoder, None),
    ):
        pass


def test_embeddings_that_depend_on_the_batch_are_refused() -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model = tiny_model("llama", rope_parameters=_Hashable(rope))
    with pytest.raises(InputError, match="rope_type 'dynamic'"), open_decoder(model, 9, CpuDecoder, None):
        pass


def test_training_mode_is_refused() -> None:
    model = tiny_model("llama", seed=1)
    model.train()
    with pytest.raises(ValueError, match="training mode"), open_decoder(model, 9, CpuDecoder, None):
        pass
    model.eval()


class _Hashable(dict):  # type: ignore[type-arg]
    """A dict that may be an argument of a cached function."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))
