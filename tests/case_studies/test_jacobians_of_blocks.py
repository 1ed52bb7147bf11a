import numpy as np
import torch

from case_studies._small_gpt import untrained
from case_studies.jacobians_of_blocks import along_depth
from hooks.contract import check_replay


def test_the_map_over_depth_replays_the_stream_and_its_readout_is_what_the_model_says():
    texts = np.arange(24).reshape(2, 12)
    model = untrained(0, layers=2, units=16, context=12)
    maps, stream = along_depth(model, texts)
    with torch.no_grad():
        expected = model(torch.as_tensor(texts)).logits[:, -1]
    for run, dynamics in enumerate(maps):
        assert check_replay(dynamics, stream.select(text=run)) < 1e-12
        last = torch.as_tensor(stream.states[run : run + 1, -1].copy())
        torch.testing.assert_close(dynamics.readout(last)[0].float(), expected[run], rtol=0, atol=1e-5)  # float32
    assert next(model.parameters()).dtype == torch.float32
