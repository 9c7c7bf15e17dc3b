"""The trajectory graph of one group, to look at, export and check: states are nodes, what was done there are edges.

Nodes are anchor states, merged over all episodes of the group. Edges are the different actions that led from one
state to another, each with how often it was taken, by which episodes, and with what mean advantage. Whatever a
scheme says of a step can so be seen on the map of where the episodes went. Schemes themselves work on arrays
(:mod:`credit.transitions`); this form is for people and for other tools.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from credit.steps import CreditError, FloatArray, Steps
from credit.transitions import Success, succeeded

if TYPE_CHECKING:
    import networkx

GOAL = "goal"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


def trajectory_graph(
    steps: Steps, advantage: FloatArray | None = None, *, group: Any = None, success: Success = "rewarded"
) -> networkx.MultiDiGraph:
    """Make the graph of one group.

    Args:
        steps: the step table; needs state, action, next_state and terminated.
        advantage: of every step, shape ``(len(steps),)``, in the table's row order.
        group: id of the group, as in the table that the steps were made from; may be left out if there is one.
        success: which episodes' last step enters the node ``"goal"`` (see :mod:`credit.transitions`).

    Returns:
        A directed multigraph. A node is a state's id and has ``text`` (the state), ``label`` (the action that most
        often led there), ``visits`` and ``episodes`` (steps and different episodes that left it), ``distance``
        (least number of steps from a start), ``is_start`` and ``is_goal``. An edge has the action's id as key, and
        ``action`` (its text), ``count``, ``episodes`` (ids, in order) and, where there is one, ``advantage`` (mean).

    Raises:
        CreditError: no such group, or several and none chosen; a missing column.
    """
    if advantage is not None and advantage.shape != (len(steps),):
        raise CreditError(f"the advantage has shape {advantage.shape}, the table has {len(steps)} steps")
    rows = _rows(steps, advantage, success)
    if group is None and rows["group"].nunique() > 1:
        raise CreditError(f"the table has {rows['group'].nunique()} groups: choose one of them, by group=…")
    rows = rows if group is None else rows[rows["group"] == group]
    if rows.empty:
        raise CreditError(f"the table has no group {group!r}" if group is not None else "the table has no steps")
    return _built(rows)


def strongest(graph: networkx.MultiDiGraph, edges: int) -> networkx.MultiDiGraph:
    """Return the part of a graph with the most credit, for pictures of large ones.

    Args:
        graph: as :func:`trajectory_graph` makes it.
        edges: how many edges to keep: those with the largest absolute advantage times count (count alone in a
            graph without advantages). Nodes that lose all their edges go, but for starts and the goal.
    """
    import networkx

    def credit(edge: tuple[Any, Any, Any, dict[str, Any]]) -> tuple[float, int]:
        return (abs(edge[3].get("advantage", 1.0)) * edge[3]["count"], edge[3]["count"])

    ranked = sorted(graph.edges(keys=True, data=True), key=credit, reverse=True)
    ends = {node for source, target, *_ in ranked[:edges] for node in (source, target)}
    kept = networkx.MultiDiGraph()
    kept.add_nodes_from(
        (node, facts) for node, facts in graph.nodes(data=True) if node in ends or facts["is_start"] or facts["is_goal"]
    )
    kept.add_edges_from(ranked[:edges])
    return kept


def write_graphml(graph: networkx.MultiDiGraph, path: Path) -> None:
    """Write a graph in GraphML, which Gephi, yEd and networkx read; lists of episodes become one text."""
    import networkx

    plain = networkx.MultiDiGraph()
    plain.add_nodes_from((visible(str(node)), _plain(facts)) for node, facts in graph.nodes(data=True))
    for source, target, key, facts in graph.edges(keys=True, data=True):
        told = {**facts, "episodes": ",".join(map(str, facts["episodes"]))}
        plain.add_edge(visible(str(source)), visible(str(target)), key=visible(str(key)), **_plain(told))
    networkx.write_graphml(plain, path)


def visible(text: str) -> str:
    r"""Return a text with escapes (``\x1b``) for the control characters, which XML and fonts do not have."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: visible(value) if isinstance(value, str) else value for name, value in facts.items()}


def _rows(steps: Steps, advantage: FloatArray | None, success: Success) -> pd.DataFrame:
    """The table with the ids it was made from, sorted; the goal in the place of where a success ended."""
    ordered = steps.in_order()
    table = pd.DataFrame({name: _named(ordered, name) for name in ("group", "episode", "state", "action")})
    following = pd.Series(_named(ordered, "next_state"), dtype=object)
    table["next_state"] = following.where(~succeeded(ordered, success), GOAL)
    table["step"] = ordered.step
    if advantage is not None:
        table["advantage"] = steps.to_order(advantage)
    return table


def _named(steps: Steps, column: str) -> np.ndarray:
    codes = steps.column(column)
    book = steps.labels.get("state" if column == "next_state" else column)
    return codes if book is None else book[codes]


def _built(rows: pd.DataFrame) -> networkx.MultiDiGraph:
    import networkx

    graph = networkx.MultiDiGraph()
    starts = set(rows.loc[rows["step"] == 0, "state"])
    visits, visitors = rows["state"].value_counts(), rows.groupby("state")["episode"].nunique()
    for state in pd.unique(pd.concat([rows["state"], rows["next_state"]])):
        graph.add_node(
            state,
            text=str(state),
            visits=int(visits.get(state, 0)),
            episodes=int(visitors.get(state, 0)),
            is_start=state in starts,
            is_goal=state == GOAL,
        )
    for (source, target, action), taken in rows.groupby(["state", "next_state", "action"], sort=False):
        facts: dict[str, Any] = {
            "action": str(action),
            "count": len(taken),
            "episodes": tuple(pd.unique(taken["episode"]).tolist()),
        }
        if "advantage" in taken:
            facts["advantage"] = float(taken["advantage"].mean())
        graph.add_edge(source, target, key=action, **facts)
    distance = networkx.multi_source_dijkstra_path_length(graph, starts, weight=None)
    for node, facts in graph.nodes(data=True):
        facts["distance"] = int(distance[node])
        facts["label"] = _label(graph, node)
    return graph


def _label(graph: networkx.MultiDiGraph, node: Any) -> str:
    """What to call a node: the action that led there most often (the first in the alphabet of several)."""
    if graph.nodes[node]["is_goal"]:
        return GOAL
    if graph.nodes[node]["is_start"]:
        return "start"
    led: Counter[str] = Counter()
    for source, _, facts in graph.in_edges(node, data=True):
        led[facts["action"]] += facts["count"] * (source != node)
    return min(led, key=lambda action: (-led[action], action))
