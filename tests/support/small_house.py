"""A house small enough to work out by hand, in PDDL that both engines play, with every quirk of the real ones."""

from __future__ import annotations

import gzip
import json
import lzma
import zipfile
from pathlib import Path

from envs.alfworld.games import Game

RECEPTACLES = {  # id -> (type, location)
    "CounterTop_bar_1": ("CounterTop", "loc_bar_1"),
    "Cabinet_bar_1": ("Cabinet", "loc_bar_1"),
    "Cabinet_bar_2": ("Cabinet", "loc_bar_2"),
    "Fridge_bar_1": ("Fridge", "loc_bar_2"),
    "Sink_bar_1_bar_SinkBasin": ("SinkBasin", "loc_bar_3"),
    "Microwave_bar_1": ("Microwave", "loc_bar_4"),
    "DiningTable_bar_1": ("DiningTable", "loc_bar_5"),
    "Shelf_bar_1": ("Shelf", "loc_bar_5"),
}
OBJECTS = {  # id -> (type, receptacles, location of the object, which need not be that of the receptacle)
    "Apple_bar_1": ("Apple", ("CounterTop_bar_1", "Fridge_bar_1"), "loc_bar_1"),
    "Apple_bar_2": ("Apple", ("Fridge_bar_1",), "loc_bar_2"),
    "Bread_bar_1": ("Bread", ("Cabinet_bar_1",), "loc_bar_1"),
    "Knife_bar_1": ("Knife", ("CounterTop_bar_1",), "loc_bar_1"),
    "Cup_bar_1": ("Cup", ("DiningTable_bar_1",), "loc_bar_5"),
    "Spoon_bar_1": ("Spoon", ("DiningTable_bar_1",), "loc_bar_3"),
    "DeskLamp_bar_1": ("DeskLamp", ("DiningTable_bar_1",), "loc_bar_5"),
    "Book_bar_1": ("Book", ("Shelf_bar_1",), "loc_bar_5"),
    "Window_bar_1": ("Window", (), "loc_bar_4"),
    "Egg_bar_1_bar_EggCracked_0": ("", ("CounterTop_bar_1",), "loc_bar_1"),
}
FIXED = ("DeskLamp_bar_1", "Window_bar_1", "Egg_bar_1_bar_EggCracked_0")
OPENABLE = ("Cabinet_bar_1", "Cabinet_bar_2", "Fridge_bar_1", "Microwave_bar_1")
CAN_CONTAIN = {
    "CounterTop": ("Apple", "Bread", "Knife", "Cup", "Spoon"),
    "Cabinet": ("Bread", "Cup"),
    "Fridge": ("Apple", "Bread"),
    "SinkBasin": ("Apple", "Knife", "Cup", "Spoon"),
    "Microwave": ("Apple", "Bread", "Cup"),
    "DiningTable": ("Apple", "Book", "Bread", "Cup", "Knife", "Spoon"),
    "Shelf": ("Book", "Cup"),
}
PROPERTIES = {
    "cleanable": ("Apple_bar_1", "Apple_bar_2", "Cup_bar_1", "Knife_bar_1", "Spoon_bar_1"),
    "heatable": ("Apple_bar_1", "Apple_bar_2", "Bread_bar_1", "Cup_bar_1"),
    "coolable": ("Apple_bar_1", "Apple_bar_2", "Bread_bar_1", "Cup_bar_1"),
    "sliceable": ("Apple_bar_1", "Apple_bar_2", "Bread_bar_1"),
    "toggleable": ("DeskLamp_bar_1",),
    "isReceptacleObject": ("Cup_bar_1",),
    "isCool": ("Apple_bar_2",),
}
_PLACE = """(and (exists (?r - receptacle) (exists (?o - object) (and {extra}
    (objectType ?o {what}Type) (receptacleType ?r {where}Type) (inReceptacle ?o ?r)))))"""
GOALS = {
    "Pick": _PLACE.format(extra="", what="Spoon", where="CounterTop"),
    "Clean": _PLACE.format(extra="(cleanable ?o) (isClean ?o)", what="Knife", where="DiningTable"),
    "Heat": _PLACE.format(extra="(heatable ?o) (isHot ?o)", what="Apple", where="DiningTable"),
    "Cool": _PLACE.format(extra="(coolable ?o) (isCool ?o)", what="Bread", where="CounterTop"),
    "Pick2": """(and (exists (?r - receptacle) (exists (?o1 - object) (and
        (objectType ?o1 AppleType) (receptacleType ?r CounterTopType) (inReceptacle ?o1 ?r)
        (exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 AppleType)
            (receptacleType ?r CounterTopType) (inReceptacle ?o2 ?r)))))))""",
    "Look": """(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and
        (objectType ?ot DeskLampType) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l)
        (atLocation ?a ?l) (inReceptacle ?ot ?r)))
        (exists (?o - object ?a - agent) (and (objectType ?o BookType) (holds ?a ?o))))""",
}
WALKTHROUGHS = {
    "Pick": ("go to diningtable 1", "take spoon 1 from diningtable 1", "go to countertop 1",
             "move spoon 1 to countertop 1"),
    "Clean": ("go to countertop 1", "take knife 1 from countertop 1", "go to sinkbasin 1",
              "clean knife 1 with sinkbasin 1", "go to diningtable 1", "move knife 1 to diningtable 1"),
    "Heat": ("go to countertop 1", "take apple 2 from countertop 1", "go to microwave 1",
             "heat apple 2 with microwave 1", "go to diningtable 1", "move apple 2 to diningtable 1"),
    "Cool": ("go to cabinet 2", "open cabinet 2", "take bread 1 from cabinet 2", "go to fridge 1",
             "cool bread 1 with fridge 1", "go to countertop 1", "move bread 1 to countertop 1"),
    "Pick2": ("go to fridge 1", "open fridge 1", "take apple 1 from fridge 1", "go to countertop 1",
              "move apple 1 to countertop 1"),
    "Look": ("go to shelf 1", "use desklamp 1", "take book 1 from shelf 1"),
}  # fmt: skip
FOLDERS = {
    "Pick": "pick_and_place_simple",
    "Clean": "pick_clean_then_place_in_recep",
    "Heat": "pick_heat_then_place_in_recep",
    "Cool": "pick_cool_then_place_in_recep",
    "Pick2": "pick_two_obj_and_place",
    "Look": "look_at_obj_in_light",
}


def small_problem(goal: str, drop: str = "", add: str = "") -> str:
    """Return the problem text with this goal formula; without the line ``drop``, with the fact ``add``."""
    facts = ["(atLocation agent1 loc_bar_0)"]
    for key, (kind, place) in RECEPTACLES.items():
        facts += [f"(receptacleType {key} {kind}Type)", f"(receptacleAtLocation {key} {place})"]
    for key, (kind, receptacles, place) in OBJECTS.items():
        facts += [f"(objectType {key} {kind}Type)"] if kind else []
        facts += [f"(inReceptacle {key} {receptacle})" for receptacle in receptacles]
        facts += [f"(objectAtLocation {key} {place})"]
    facts += [f"(pickupable {key})" for key in OBJECTS if key not in FIXED]
    facts += [f"(openable {key})" for key in OPENABLE]
    facts += [f"(canContain {r}Type {o}Type)" for r, kinds in CAN_CONTAIN.items() for o in kinds]
    facts += [f"({name} {key})" for name, keys in PROPERTIES.items() for key in keys]
    facts += ["(inReceptacleObject Spoon_bar_1 Cup_bar_1)", *([add] if add else [])]
    things = ["agent1 - agent"]
    things += [f"{key} - receptacle" for key in RECEPTACLES] + [f"{key} - object" for key in OBJECTS]
    things += [f"{kind}Type - rtype" for kind in sorted({kind for kind, _ in RECEPTACLES.values()})]
    things += [f"{kind}Type - otype" for kind in sorted({kind for kind, _, _ in OBJECTS.values()} - {""})]
    things += [f"loc_bar_{i} - location" for i in range(6)]
    init = "\n        ".join(fact for fact in facts if fact != drop)
    return (
        "\n(define (problem plan_small)\n(:domain alfred)\n(:objects\n"
        + "\n        ".join(things)
        + f"\n        )\n(:init\n        {init}\n        )\n(:goal {goal})\n)\n"
    )


def small_game(kind: str = "Pick", split: str = "valid_seen", trial: str = "trial_1") -> Game:
    """Return the small house with a task of this type."""
    return Game(
        name=f"{split}/{FOLDERS[kind]}-Small-None-House-1/{trial}",
        split=split,
        task_type=kind,
        sentence=f"do the {kind.lower()} task.",
        problem=small_problem(GOALS[kind]),
        walkthrough=WALKTHROUGHS[kind],
    )


def official_text(game: Game) -> str:
    """Return the game in the format of the official game files (as far as readers look at it)."""
    grammar = json.dumps({"task": [{"rhs": f"Your task is to: {game.sentence}"}]})
    return json.dumps(
        {
            "pddl_domain": "",
            "grammar": f'grammar :: """\n{grammar}\n"""',
            "pddl_problem": game.problem,
            "solvable": True,
            "walkthrough": list(game.walkthrough),
        }
    )


def write_tree(folder: Path, games: list[Game]) -> Path:
    """Write games below ``folder`` in the official layout; return the folder ``json_2.1.1``."""
    root = folder / "json_2.1.1"
    for game in games:
        path = root / game.name / "game.tw-pddl"
        path.parent.mkdir(parents=True)
        path.write_text(official_text(game))
        (path.parent / "traj_data.json").write_text("{}")
    return root


def as_zip(tree: Path, target: Path) -> Path:
    """Pack a tree into a zip archive, in descending order; return its path."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tree.rglob("*"), reverse=True):
            archive.write(path, path.relative_to(tree.parent))
    return target


def compact_line(game: Game) -> str:
    """Return the game as a line of a compact file."""
    split, _, key = game.name.partition("/")
    row = {"split": split, "id": key, "task": game.sentence, "pddl_problem": game.problem}
    return json.dumps({**row, "walkthrough": game.walkthrough})


def as_compact(target: Path, games: list[Game]) -> Path:
    """Write games one a line into a compressed file; return its path."""
    data = "".join(f"{compact_line(game)}\n" for game in games).encode()
    target.write_bytes(lzma.compress(data) if target.suffix == ".xz" else gzip.compress(data))
    return target
