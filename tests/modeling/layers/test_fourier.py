import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from catseg.modeling.layers.fourier import kernel_spectrum, maps_of, padded_size, spectrum


@given(
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    kernel=st.sampled_from([1, 3, 5]),
    channels=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_products_of_spectra_are_centred_convolutions(
    rows: int, columns: int, kernel: int, channels: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(rows)
    maps, weight = (
        torch.randn(2, rows, columns, channels, dtype=dtype),
        torch.randn(4, channels, kernel, kernel).to(dtype),
    )
    padded = padded_size((rows, columns), kernel)
    product = spectrum(maps, padded) @ kernel_spectrum(weight, padded)
    expected = F.conv2d(maps.permute(0, 3, 1, 2), weight, padding=kernel // 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(maps_of(product, padded, (rows, columns)), expected, rtol=1e-4, atol=1e-5)
