#!/usr/bin/env python3
"""Prints the expected numbers of learner/src/optimizer/tests.rs::matches_the_reference_numbers.

The recurrence of torch.optim.AdamW (decoupled decay, no amsgrad) on Python floats, which are f64. Written apart from the Rust
code: moments are the explicit weighted sums over past gradients instead of running averages.
"""

BETA1, BETA2, EPSILON, DECAY = 0.9, 0.95, 1e-8, 0.1
RATES = [0.01, 0.02, 0.005, 0.0, 0.01]
# A 2 x 3 matrix, which decays, and a vector of 2, which does not.
MATRIX = [0.5, -1.0, 2.0, 0.0, -0.25, 1.5]
VECTOR = [1.0, -3.0]


def gradient(step, index):
    """A few digits, exact to write down in both languages: no zero, changing sign, three magnitudes."""
    return ((step * 7 + index * 5) % 11 - 5.5) * 10.0 ** (index % 3 - 1)


def run(values, offset, decay):
    out = []
    for i, p in enumerate(values):
        past = []
        for n, rate in enumerate(RATES, start=1):
            past.append(gradient(n, offset + i))
            m = sum((1 - BETA1) * BETA1 ** (n - k) * g for k, g in enumerate(past, start=1))
            v = sum((1 - BETA2) * BETA2 ** (n - k) * g * g for k, g in enumerate(past, start=1))
            m_hat, v_hat = m / (1 - BETA1**n), v / (1 - BETA2**n)
            p = p - rate * decay * p - rate * m_hat / (v_hat**0.5 + EPSILON)
        out.append(p)
    return out


print("matrix", run(MATRIX, 0, DECAY))
print("vector", run(VECTOR, len(MATRIX), 0.0))
