"""The trajectory graph: what is merged, what an edge says, and that pictures and exports come out."""

import networkx
import numpy as np
import pandas as pd
import pytest
from credit_tables import episode, random_table

from credit import CreditError, Steps, advantages
from credit.tools.graph import GOAL, strongest, trajectory_graph, write_graphml
from credit.tools.picture import draw_graph, layout


@pytest.fixture
def steps():
    parts = [
        episode("g", "X", "pqw", [0, 1], ["left", "take"], won=True),
        episode("g", "Y", "pqq", [0, 0], ["left", "wait"]),
        episode("g", "Z", "pr", [0], ["right"]),
        episode("h", "W", "pq", [0], ["left"]),
    ]
    return Steps.from_frame(pd.concat(parts, ignore_index=True))


def test_nodes_are_merged_and_edges_know_who_took_them(steps):
    graph = trajectory_graph(steps, np.arange(6.0), group="g")
    assert set(graph) == {"p", "q", "r", GOAL}
    assert graph.edges["p", "q", "left"] == {"action": "left", "count": 2, "episodes": ("X", "Y"), "advantage": 1.0}
    assert graph.edges["q", GOAL, "take"]["advantage"] == 1.0
    assert graph.edges["q", "q", "wait"]["episodes"] == ("Y",)
    assert graph.nodes["p"] == {
        "text": "p",
        "visits": 3,
        "episodes": 3,
        "is_start": True,
        "is_goal": False,
        "distance": 0,
        "label": "start",
    }
    assert [graph.nodes[n]["distance"] for n in ("q", "r", GOAL)] == [1, 1, 2]
    assert [graph.nodes[n]["label"] for n in ("q", "r", GOAL)] == ["left", "right", "goal"]


def test_the_row_order_does_not_matter(steps):
    order = [5, 2, 4, 0, 3, 1]
    shuffled = Steps.from_frame(steps.to_frame().iloc[order])
    one = trajectory_graph(steps, np.arange(6.0), group="g")
    other = trajectory_graph(shuffled, np.arange(6.0)[order], group="g")
    assert networkx.utils.graphs_equal(one, other)


def test_counts_add_up_on_any_table():
    steps = Steps.from_frame(random_table(3))
    for group in steps.labels["group"]:
        graph = trajectory_graph(steps, group=group)
        rows = int((steps.labels["group"][steps.group] == group).sum())
        assert sum(facts["count"] for *_, facts in graph.edges(data=True)) == rows
        assert sum(facts["visits"] for _, facts in graph.nodes(data=True)) == rows


def test_a_group_must_be_chosen_and_exist(steps):
    with pytest.raises(CreditError, match="2 groups: choose one"):
        trajectory_graph(steps)
    with pytest.raises(CreditError, match="no group 'k'"):
        trajectory_graph(steps, group="k")
    with pytest.raises(CreditError, match="the table has 6 steps"):
        trajectory_graph(steps, np.zeros(3), group="g")


def test_the_strongest_edges_are_kept_with_start_and_goal(steps):
    graph = trajectory_graph(steps, np.array([1.0, -9, 1, 0, 3, 0]), group="g")
    kept = strongest(graph, 1)
    assert list(kept.edges(keys=True)) == [("q", GOAL, "take")]
    assert set(kept) == {"p", "q", GOAL}
    assert strongest(graph, 99).number_of_edges() == graph.number_of_edges()


def test_layers_are_distances_and_no_two_nodes_share_a_place():
    steps = Steps.from_frame(random_table(5, groups=1, rollouts=5, longest=9, states=6))
    graph = trajectory_graph(steps)
    places = layout(graph)
    assert len(set(places.values())) == len(graph)
    for node, facts in graph.nodes(data=True):
        before = [other for other, f in graph.nodes(data=True) if f["distance"] < facts["distance"]]
        assert all(places[other][0] < places[node][0] for other in before)
    if GOAL in graph:
        assert places[GOAL][0] == max(x for x, _ in places.values())


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_pictures_are_drawn(steps, tmp_path, ending):
    graph = trajectory_graph(steps, advantages("gigpo", steps), group="g")
    path = tmp_path / f"graph.{ending}"
    draw_graph(graph, path, title="three episodes")
    assert path.stat().st_size > 2000
    if ending == "svg":
        text = path.read_text()
        assert "three episodes" in text and "goal" in text and "right" in text
        draw_graph(graph, tmp_path / "again.svg", title="three episodes")
        assert (tmp_path / "again.svg").read_text() == text


def test_graphml_is_read_back(steps, tmp_path):
    graph = trajectory_graph(steps, advantages("gigpo", steps), group="g")
    write_graphml(graph, tmp_path / "graph.graphml")
    read = networkx.read_graphml(tmp_path / "graph.graphml", force_multigraph=True)
    assert set(read) == set(graph)
    assert read.edges["p", "q", "left"]["episodes"] == "X,Y"
    assert read.edges["p", "q", "left"]["advantage"] == graph.edges["p", "q", "left"]["advantage"]
    assert read.nodes["p"]["is_start"] is True
