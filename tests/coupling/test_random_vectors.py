"""Predicted effects of random vectors are those measured, and a check says where they are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import make_pair
from planted import planted_model, planted_scenarios

from interp_culture.coupling.random_vectors import NullAgreement, null_check, predicted_random
from interp_culture.coupling.responses import response_matrix
from interp_culture.coupling.steered import shifts, steered_readouts
from interp_culture.steering.extraction import extract

pytestmark = pytest.mark.filterwarnings("ignore::interp_culture.readout.validity.ReadoutWarning")
LAYERS = {"X": [1, 2], "Y": [2]}
RUN = {"readout": "continuation"}


def test_predicted_vectors_are_the_measured_ones_at_a_small_strength() -> None:
    model = make_pair("llama").model
    scenarios = planted_scenarios(2)
    vectors = extract(model, scenarios)
    alpha = 1e-3
    measured = steered_readouts(
        model, scenarios, vectors, LAYERS, alphas=[alpha, -alpha], n_random=4, **RUN
    )
    predicted = predicted_random(model, scenarios, vectors, LAYERS, alpha=alpha, n=4, **RUN)
    plain = measured[measured.method == "plain"]
    keys = ["steered", "draw", "id"]
    for value in ("shift", "logit_shift"):
        one, other = (
            shifts(table[table.method.isin(["plain", "random"])]).set_index(keys)[value]
            for table in (measured, pd.concat([plain, predicted]))
        )
        assert len(one) == 2 * 4 * len(scenarios)
        np.testing.assert_allclose(other[one.index], one, atol=0.03 * one.abs().max())
    # The rows serve as a null like measured ones.
    steered = measured[measured.method != "random"]
    with_null = [
        pd.concat([steered, null]) for null in (predicted, measured[measured.method == "random"])
    ]
    p_values = [response_matrix(table).p_null for table in with_null]
    np.testing.assert_allclose(*p_values, atol=0.05)


def test_the_check_agrees_where_effects_are_linear_and_says_where_not() -> None:
    model = planted_model()
    train, test = planted_scenarios().split(seed=42)
    vectors = extract(model, train)
    settings = {"n": 6, **RUN}
    small = null_check(model, test, vectors, LAYERS, alpha=0.05, **settings)
    assert len(small) == 2 * 2 * 6
    agreement = NullAgreement.of(small)
    assert agreement.holds
    assert agreement.slope == pytest.approx(1, abs=0.05)
    assert agreement.correlation > 0.99
    assert agreement.even < 0.3
    # A step many times the size of the stream, whose norm the final norm takes away.
    large = NullAgreement.of(null_check(model, test, vectors, LAYERS, alpha=50.0, **settings))
    assert not large.holds
    assert "do not agree" in str(large)
    assert not NullAgreement.of(small.assign(even=1.1 * small.measured)).holds
    doubled = small.assign(measured=2 * small.measured)
    assert NullAgreement.of(doubled).slope == pytest.approx(2 * agreement.slope)
    assert not NullAgreement.of(doubled).holds
    shuffled = small.assign(measured=small.measured.to_numpy()[::-1])
    assert not NullAgreement.of(shuffled).holds
