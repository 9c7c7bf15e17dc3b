"""A picture of a trajectory graph: layers by distance from the start, edges coloured by their mean advantage."""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from credit.tools.graph import visible

if TYPE_CHECKING:
    import networkx
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Patch

    Place = tuple[float, float]

WIDE, HIGH = 2.5, 0.62  # inches that a layer, and a node in it, take
LETTERS = 20  # of a line of a node's label
SWEEPS = 12
LEGEND = "box: the action that led there × steps that left it; arrow: as thick as it was often taken"


def draw_graph(graph: networkx.MultiDiGraph, path: Path, *, title: str = "") -> None:
    """Draw a graph to an SVG, PNG or PDF file.

    A node says which action led there and how many steps left it. An edge is as thick as it was often taken, and
    coloured by its mean advantage: blue above 0, orange below, grey at 0 (or without advantages).

    Args:
        graph: as :func:`credit.tools.graph.trajectory_graph` makes it.
        path: its ending decides the format.
        title: written above.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    places = layout(graph)
    across, down = (max(place[axis] for place in places.values()) + 1 for axis in (0, 1))
    figure = Figure(figsize=(WIDE * across + 1.6, HIGH * down + 0.9))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 1 - 1.3 / figure.get_figwidth(), 1 - 0.6 / figure.get_figheight()))
    axes.set_xlim(-0.5, across - 0.5)
    axes.set_ylim(down - 0.1, -0.6)
    axes.axis("off")
    axes.set_title(visible(title), loc="left", fontsize=10, parse_math=False)
    axes.text(0, 0, LEGEND, transform=axes.transAxes, fontsize=7.5, color="#555555")
    values = [facts.get("advantage", 0.0) for *_, facts in graph.edges(data=True)]
    bound = max(map(abs, values), default=0.0) or 1.0
    colours = ScalarMappable(
        Normalize(-bound, bound), LinearSegmentedColormap.from_list("credit", ["#b35806", "#c9c9c9", "#1f5fa8"])
    )
    boxes = _nodes(axes, graph, places)
    _edges(axes, graph, places, boxes, colours)
    if any("advantage" in facts for *_, facts in graph.edges(data=True)):
        bar = axes.inset_axes((1.01, 0.2, 0.16 / figure.get_figwidth(), 0.6))
        figure.colorbar(colours, cax=bar).set_label("mean advantage", fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "credit", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)


def layout(graph: networkx.MultiDiGraph) -> dict[Any, Place]:
    """Place every node: its layer, and its row in it, so that edges between layers cross little.

    A layer is a distance from the start; the goal stands behind all others. Within a layer nodes are sorted again
    and again by the mean row of their neighbours in other layers (Sugiyama's method). Layers are centred.
    """
    layers: dict[int, list[Any]] = defaultdict(list)
    deepest = max(facts["distance"] for _, facts in graph.nodes(data=True) if not facts["is_goal"])
    for node, facts in graph.nodes(data=True):
        layers[deepest + 1 if facts["is_goal"] else facts["distance"]].append(node)
    neighbours = {node: [*graph.predecessors(node), *graph.successors(node)] for node in graph}
    row = {node: float(place) for nodes in layers.values() for place, node in enumerate(nodes)}
    for sweep in range(SWEEPS):
        for layer in sorted(layers, reverse=bool(sweep % 2)):
            wish = {
                node: float(np.mean([row[other] for other in neighbours[node] if other != node] or [row[node]]))
                for node in layers[layer]
            }
            layers[layer].sort(key=lambda node: (wish[node], row[node]))
            middle = (len(layers[layer]) - 1) / 2
            row.update({node: place - middle for place, node in enumerate(layers[layer])})
    top = min(row.values())
    column = {layer: place for place, layer in enumerate(sorted(layers))}
    return {node: (float(column[layer]), row[node] - top) for layer, nodes in layers.items() for node in nodes}


def _nodes(axes: Axes, graph: networkx.MultiDiGraph, places: dict[Any, Place]) -> dict[Any, Patch]:
    """Write every node's label in a box that fits it, and return the boxes, where arrows begin and end."""
    from matplotlib.patches import Rectangle

    labels = {}
    for node, facts in graph.nodes(data=True):
        loops = sum(edge["count"] for edge in (graph.get_edge_data(node, node) or {}).values())
        text = textwrap.fill(visible(facts["label"]), LETTERS, max_lines=2, placeholder="…")
        if not facts["is_goal"]:
            text += f"  ×{facts['visits']}" + (f" ({loops} stay)" if loops else "")
        labels[node] = axes.text(
            *places[node], text, ha="center", va="center", fontsize=7.5, zorder=4, parse_math=False
        )
    boxes = {}
    for node, label in labels.items():
        extent = label.get_window_extent().padded(5).transformed(axes.transData.inverted())
        special = graph.nodes[node]["is_goal"] or graph.nodes[node]["is_start"]
        boxes[node] = axes.add_patch(
            Rectangle(
                (extent.x0, extent.y0),
                extent.width,
                extent.height,
                facecolor="#ffe9a8" if special else "white",
                edgecolor="#555555",
                linewidth=0.8,
                zorder=3,
            )
        )
    return boxes


def _edges(
    axes: Axes,
    graph: networkx.MultiDiGraph,
    places: dict[Any, Place],
    boxes: dict[Any, Patch],
    colours: ScalarMappable,
) -> None:
    """Draw the weakest edges first, so that what matters lies on top."""
    from matplotlib.patches import FancyArrowPatch

    ordered = sorted(graph.edges(data=True), key=lambda edge: (abs(edge[2].get("advantage", 0.0)), edge[2]["count"]))
    parallel: Counter[Any] = Counter()
    for source, target, facts in ordered:
        if source == target:
            continue
        parallel[source, target] += 1
        same_layer = places[source][0] == places[target][0]
        bend = (0.30 if same_layer else 0.12) + 0.10 * (parallel[source, target] - 1)
        axes.add_patch(
            FancyArrowPatch(
                places[source],
                places[target],
                patchA=boxes[source],
                patchB=boxes[target],
                shrinkA=0,
                shrinkB=1,
                # always to the same hand, so that the way back runs beside the way there
                connectionstyle=f"arc3,rad={bend}",
                arrowstyle="-|>",
                mutation_scale=8 + facts["count"] ** 0.5,
                linewidth=0.7 + 0.8 * facts["count"] ** 0.5,
                color=colours.to_rgba(facts.get("advantage", 0.0)),
                zorder=1,
            )
        )
