"""Features of a sparse autoencoder: planted ones are found, files that have none are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from interp_culture.errors import InputError
from interp_culture.steering import sae_features
from interp_culture.steering.vectors import SteeringVectors

D_MODEL, N_FEATURES, LAYER = 32, 400, 1


def decoder(seed: int = 0) -> torch.Tensor:
    return torch.randn(N_FEATURES, D_MODEL, generator=torch.Generator().manual_seed(seed))


def given(**rows: torch.Tensor) -> dict[str, SteeringVectors]:
    """Vectors of three layers, with these rows at LAYER."""
    vectors = {}
    for axis, row in rows.items():
        direction = torch.zeros(3, D_MODEL)
        direction[LAYER] = row
        vectors[axis] = SteeringVectors.from_tensors(axis, direction)
    return vectors


def written(folder: Path, **tensors: torch.Tensor) -> Path:
    path = folder / "sae.safetensors"
    save_file({name.replace("__", "."): t.contiguous() for name, t in tensors.items()}, path)
    return path


def test_planted_features_are_found_and_shared_with_their_sign(tmp_path: Path) -> None:
    rows = decoder()
    units = torch.nn.functional.normalize(rows, dim=-1)
    vectors = given(X=3 * units[5] + 0.1 * units[9], Y=units[7] - units[5], Z=rows[11])
    path = written(tmp_path, W_dec=rows, W_enc=rows.T)
    table = sae_features(vectors, path, LAYER, k=2).set_index(["axis", "feature"])
    for axis, feature in (("X", 5), ("Y", 5), ("Y", 7), ("Z", 11)):
        row = table.loc[(axis, feature)]
        v = vectors[axis].direction[LAYER]
        assert row.cosine == pytest.approx(float(units[feature] @ v / v.norm()), abs=1e-5)
        assert row.projection == pytest.approx(float(units[feature] @ v), abs=1e-4)
        assert row.beyond
    assert table.shared_with["X", 5] == "-Y"
    assert table.shared_with["Y", 5] == "-X"
    assert table.shared_with["Z", 11] == ""
    assert table.cosine["Y", 5] < 0
    assert 0 < table.null_mean.iloc[0] < table.null_high.iloc[0] < 1


def test_random_vectors_have_features_beyond_their_null_by_chance_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    vectors = given(**{f"r{place}": torch.randn(D_MODEL) for place in range(60)})
    table = sae_features(vectors, written(tmp_path, W_dec=decoder()), LAYER, k=1)
    assert table.beyond.mean() < 0.2
    assert table.cosine.abs().mean() == pytest.approx(table.null_mean.iloc[0], abs=0.02)
    again = sae_features(vectors, tmp_path / "sae.safetensors", LAYER, k=1)
    assert again.equals(table)


@pytest.mark.parametrize(
    ("tensors", "read"),
    [
        ({"W_dec": decoder()}, "W_dec [feature, d_model]"),
        ({"W_dec": decoder()[:D_MODEL]}, "W_dec [feature, d_model]"),
        ({"decoder__weight": decoder().T}, "decoder.weight [d_model, feature]"),
        ({"decoder__weight": decoder()}, "decoder.weight [feature, d_model]"),
        ({"W_dec": decoder(), "decoder__weight": decoder(1)}, "W_dec [feature, d_model]"),
        ({"W_dec": decoder().bfloat16()}, "W_dec [feature, d_model]"),
    ],
)
def test_the_formats_of_decoders(tmp_path: Path, tensors: dict, read: str) -> None:
    vectors = given(X=decoder()[9])
    (row,) = sae_features(vectors, written(tmp_path, **tensors), LAYER, k=1).itertuples()
    assert (row.feature, row.tensor) == (9, read)


def changed(place: Any, value: float) -> torch.Tensor:
    rows = decoder()
    rows[place] = value
    return rows


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"W_enc": decoder()}, r"neither W_dec nor decoder.weight is in it, but W_enc"),
        (
            {"W_dec": torch.ones(400, 16)},
            r"sae.safetensors: W_dec \[400, 16\] does not fit vectors of width 32; expected W_dec",
        ),
        ({"W_dec": decoder().T}, r"W_dec \[32, 400\] does not fit vectors of width 32"),
        ({"W_dec": torch.ones(0, D_MODEL)}, r"W_dec \[0, 32\] does not fit"),
        ({"W_dec": torch.ones(D_MODEL)}, r"W_dec \[32\] does not fit"),
        ({"decoder__weight": torch.ones(16, 400)}, r"decoder.weight \[16, 400\] does not fit"),
        ({"decoder__weight": decoder()[:D_MODEL]}, "is square"),
        (
            {"W_dec": changed((3, 4), float("nan"))},
            "1 rows hold NaN or infinity, the first of feat",
        ),
        ({"W_dec": changed(slice(6, 8), 0.0)}, "2 rows are 0, .*the first of feature 6"),
    ],
)
def test_files_without_a_usable_decoder_are_refused(
    tmp_path: Path, tensors: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sae_features(given(X=decoder()[9]), written(tmp_path, **tensors), LAYER)


def test_other_input_that_has_no_features(tmp_path: Path) -> None:
    path = written(tmp_path, W_dec=decoder())
    vectors = given(X=decoder()[9])
    text = tmp_path / "notes.txt"
    text.write_text("no tensors")
    calls: list[tuple[tuple, dict, str]] = [
        ((vectors, path, 7), {}, "layer 7 is out of range"),
        ((vectors, path, 0), {}, "the vector of X is 0 at layer 0"),
        ((vectors, path, LAYER, 0), {}, "k is 0"),
        ((vectors, path, LAYER), {"n_random": 0}, "n_random is 0"),
        ((vectors, tmp_path / "none", LAYER), {}, "no such file"),
        ((vectors, text, LAYER), {}, "not a complete .safetensors file"),
    ]
    for arguments, options, message in calls:
        with pytest.raises(InputError, match=message):
            sae_features(*arguments, **options)
