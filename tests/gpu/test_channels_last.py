"""On a GPU convolutions read channels last, which changes nothing but the speed."""

from __future__ import annotations

import pytest
import torch

from hierdiff_core.embedding import Conditioning
from tests.gpu.conftest import Load, predict

pytestmark = pytest.mark.gpu


def test_weights_lie_channels_last_and_predict_what_contiguous_ones_do(
    load: Load, conditioning: Conditioning
) -> None:
    decoder, contiguous = load(), load()
    networks = (decoder.pipeline.unet, decoder.pipeline.movq)
    kernels = [each for network in networks for each in network.parameters() if each.dim() == 4]
    assert kernels
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)
    for network in (contiguous.pipeline.unet, contiguous.pipeline.movq):
        network.to(memory_format=torch.contiguous_format)
    found, wanted = (predict(each, conditioning, 4) for each in (decoder, contiguous))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    latents = found[:, : decoder.latent_shape[0]]
    one, other = (each.decode(latents, "abcd").astype(int) for each in (decoder, contiguous))
    assert abs(one - other).max() <= 1  # of 255
