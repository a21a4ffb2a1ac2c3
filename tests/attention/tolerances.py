"""What the attention operators promise: the largest |o~ - o| / max|v| over a sequence, head and channel, by dtype."""

import torch

PROMISE = {
    torch.float32: 1e-5,
    torch.bfloat16: 1e-2,
    torch.float16: 2e-3,
    torch.float64: 1e-12,  # the C++ reference against the Python one
}

# |o~ - o| / |o| of a row, in L2 over its channels, that float32 reaches for normalised prf as well.
ROW_PROMISE = 1e-5

# Rounding that comes on top of an algorithm's certificate: of features, products and sums in float32, of the output in 16 bits.
ROUNDING = {
    torch.float32: 2e-6,
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
}
