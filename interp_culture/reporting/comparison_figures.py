"""Tables of a comparison -> plotly figures: one colour a model, the same in every figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from interp_culture.reporting.figure_style import (
    CYCLE,
    INK,
    LIGHT_GREY,
    bars,
    faded,
    finish,
)
from interp_culture.reporting.map_points import SYMBOLS, add_countries

# One dash a steered axis; the colour is the model's.
DASHES = ["solid", "dot", "dash", "dashdot"]
# Height of one interval in pixels, for labels of one and of two lines.
ROW = 26
TWO_LINES = 40


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """One colour per model, in the order of the comparison.

    >>> model_colours(["smollm2", "qwen"])["smollm2"]
    '#0072B2'
    """
    return {model: CYCLE[number % len(CYCLE)] for number, model in enumerate(models)}


def panels_figure(table: pd.DataFrame, value: str, colours: dict[str, str]) -> go.Figure:
    """Values with their intervals, one below the other, in panels that share their scale.

    Args:
        table: panel, label, effect, low, high, sure (hollow where False), and optionally null_low
            and null_high (a grey band).
        value: what the effects are, with the unit.
        colours: by label; other labels are drawn in ink.

    >>> table = pd.DataFrame({"panel": "X steered", "label": ["one", "other"], "effect": [0.1, 0]})
    >>> table = table.assign(low=-0.1, high=0.2, sure=False)
    >>> figure = panels_figure(table, "change of P+", {"one": "#000"})
    >>> [trace.marker.symbol for trace in figure.data]
    [('circle-open',), ('circle-open',)]
    """
    panels = list(dict.fromkeys(table.panel))
    sizes = [table[table.panel == panel].label.nunique() for panel in panels]
    row = TWO_LINES if table.label.str.contains("<br>").any() else ROW
    height = row * sum(sizes) + 60 * len(panels) + 40
    figure = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes="all",
        subplot_titles=panels,
        row_heights=sizes,
        vertical_spacing=min(0.5 / len(panels), 56 / height),
    )
    for number, panel in enumerate(panels, start=1):
        here = {"row": number, "col": 1}
        _add_panel(figure, table[table.panel == panel], colours, here)
        figure.add_vline(x=0, line={"color": INK, "width": 1}, **here)
    figure.update_annotations(font_size=13, x=0, xanchor="left")
    figure.update_xaxes(showticklabels=True)
    figure.update_xaxes(title=value, row=len(panels), col=1)
    return finish(figure, height).update_layout(showlegend=False)


def _add_panel(
    figure: go.Figure, rows: pd.DataFrame, colours: dict[str, str], here: dict[str, int]
) -> None:
    for row in rows.to_dict("records"):
        label = row["label"]
        if not np.isnan(row.get("null_low", np.nan)):
            figure.add_scatter(
                x=[row["null_low"], row["null_high"]],
                y=[label, label],
                mode="lines",
                line={"color": LIGHT_GREY, "width": 9},
                hoverinfo="skip",
                **here,
            )
        symbol = "circle" if row["sure"] else "circle-open"
        figure.add_scatter(
            x=[row["effect"]],
            y=[label],
            mode="markers",
            marker={"size": 10, "color": colours.get(label, INK), "symbol": [symbol]},
            error_x=bars(pd.DataFrame([row]), "effect", "low", "high"),
            hovertemplate="%{y}: %{x:+.4f}<extra></extra>",
            **here,
        )
    # The first label at the top; the margin keeps the markers off the frame.
    figure.update_yaxes(range=[rows.label.nunique() - 0.4, -0.6], **here)


def models_map_figure(
    countries: pd.DataFrame, places: pd.DataFrame, targets: list[str], models: Sequence[str]
) -> go.Figure:
    """All models on the cultural map, each with its interval and a path per steered axis.

    Args:
        countries: iso3 (index), country, x, y (map units).
        places: model, steered, alpha, x, y, x_low, x_high, y_low, y_high (map units), as in the
            table `places` of a comparison.
        targets: iso3 of the countries whose names are written.
        models: the order of the colours.

    >>> plain = {"model": "one", "steered": "", "alpha": 0.0, "x": 0.2, "y": 1.0}
    >>> neutral = plain | {"steered": "neutral", "y": 1.8}
    >>> places = pd.DataFrame([plain, neutral])
    >>> places = places.assign(x_low=0.1, x_high=0.3, y_low=0.9, y_high=1.1)
    >>> figure = models_map_figure(ic.survey.countries(), places, ["SWE"], ["one"])
    >>> [trace.name for trace in figure.data if trace.name]
    ['no preference (all scores 0.5)', 'one']
    """
    figure = go.Figure()
    add_countries(figure, countries, targets)
    neutral = places[places.steered == "neutral"].iloc[:1]
    figure.add_scatter(
        x=neutral.x,
        y=neutral.y,
        mode="markers",
        name="no preference (all scores 0.5)",
        marker={"color": INK, "size": 10, "symbol": "x"},
        hovertemplate="no preference: %{x:.2f}, %{y:.2f}<extra></extra>",
    )
    for number, (model, colour) in enumerate(model_colours(models).items()):
        of_model = places[places.model == model]
        plain = of_model[of_model.steered == ""]
        _add_paths(figure, plain, of_model[of_model.alpha != 0], model, colour)
        figure.add_scatter(
            x=plain.x,
            y=plain.y,
            mode="markers",
            name=model,
            marker={
                "color": colour,
                "size": 12,
                # Once all colours are used, they come again with the next symbol.
                "symbol": SYMBOLS[number // len(CYCLE) % len(SYMBOLS)],
            },
            error_x=bars(plain, "x"),
            error_y=bars(plain, "y"),
            hovertemplate=f"{model}: %{{x:.2f}}, %{{y:.2f}}<extra></extra>",
        )
    figure.update_xaxes(title="survival → self-expression (map units)")
    figure.update_yaxes(title="traditional → secular-rational (map units)")
    return finish(figure, 620)


def _add_paths(
    figure: go.Figure, plain: pd.DataFrame, steered: pd.DataFrame, model: str, colour: str
) -> None:
    """A line with arrows for each steered axis, through the plain model, in the order of alpha."""
    for number, axis in enumerate(sorted(steered.steered.unique())):
        # The plain model has alpha 0, so that sorting puts it between the two signs.
        path = pd.concat([steered[steered.steered == axis], plain]).sort_values("alpha")
        figure.add_scatter(
            x=path.x,
            y=path.y,
            mode="lines+markers",
            showlegend=False,
            line={"color": colour, "width": 2, "dash": DASHES[number % len(DASHES)]},
            marker={"size": 10, "symbol": "arrow", "angleref": "previous", "color": colour},
            customdata=path.alpha,
            hovertemplate=f"{model}, {axis} at alpha %{{customdata:+g}}: %{{x:.2f}}, %{{y:.2f}}"
            "<extra></extra>",
        )


def depth_figure(profile: pd.DataFrame, models: Sequence[str]) -> go.Figure:
    """The effect of one steered layer over relative depth, one line a model, one panel an axis.

    Args:
        profile: model, steered, depth, differential, differential_low, differential_high, chosen
            (filled markers), as in the table `profile` of a comparison.
        models: the order of the colours.

    >>> profile = ic.study.layer_profile(sweep, n_layers=4).assign(model="one", chosen=True)
    >>> figure = depth_figure(profile, ["one"])
    >>> [title.text for title in figure.layout.annotations]
    ['X steered, X read', 'Y steered, Y read']
    """
    axes = sorted(profile.steered.unique())
    figure = make_subplots(
        rows=len(axes),
        cols=1,
        shared_xaxes=True,
        subplot_titles=[f"{axis} steered, {axis} read" for axis in axes],
        vertical_spacing=0.3 / max(2, len(axes)),
    )
    for row, axis in enumerate(axes, start=1):
        for model, colour in model_colours(models).items():
            lines = profile[(profile.steered == axis) & (profile.model == model)]
            here = {"row": row, "col": 1}
            _add_depth_line(figure, lines.sort_values("depth"), model, colour, here)
    figure.update_annotations(font_size=13, x=0, xanchor="left")
    figure.update_yaxes(title="mean |ΔP+|", rangemode="tozero")
    figure.update_xaxes(title="relative depth of the steered layer", row=len(axes), col=1)
    figure = finish(figure, 240 * len(axes) + 100)
    # legend_y is a share of the plot's height, which grows with the number of axes.
    return figure.update_layout(legend_y=-0.32 / len(axes))


def _add_depth_line(
    figure: go.Figure, line: pd.DataFrame, model: str, colour: str, here: dict[str, int]
) -> None:
    first = here["row"] == 1
    band = line.dropna(subset=["differential_low"])
    figure.add_scatter(
        # Forward along the lower ends and back along the upper ones, which closes the area.
        x=[*band.depth, *band.depth[::-1]],
        y=[*band.differential_low, *band.differential_high[::-1]],
        mode="lines",
        fill="toself",
        line={"width": 0},
        fillcolor=faded(colour, 0.15),
        legendgroup=model,
        showlegend=False,
        hoverinfo="skip",
        **here,
    )
    figure.add_scatter(
        x=line.depth,
        y=line.differential,
        mode="lines+markers",
        name=model,
        legendgroup=model,
        showlegend=first,
        line={"color": colour, "width": 2},
        marker={
            "size": np.where(line.chosen, 9, 4),
            "color": np.where(line.chosen, colour, "#ffffff"),
            "line": {"color": colour, "width": 1.5},
        },
        customdata=line.layer,
        hovertemplate=f"{model}, layer %{{customdata}}: %{{y:.4f}}<extra></extra>",
        **here,
    )
