"""What the attention operators promise: the largest |o~ - o| / max|v| over a sequence, head and channel, by dtype."""

import torch

PROMISE = {
    torch.float32: 1e-5,
    torch.bfloat16: 1e-2,
    torch.float16: 2e-3,
    torch.float64: 1e-12,  # the C++ reference against the Python one
}

# Rounding of float32 features, products and sums that comes on top of an algorithm's certificate.
ROUNDING = 2e-6
