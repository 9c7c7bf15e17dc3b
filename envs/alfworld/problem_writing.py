"""Writing the PDDL problem of a generated game, in the form of the official ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envs.alfworld.house_sampling import HousePlan
from envs.alfworld.house_tables import Tables, Target

_CONDITIONS = {"Clean": ("cleanable", "isClean"), "Heat": ("heatable", "isHot"), "Cool": ("coolable", "isCool")}


def write_problem(name: str, plan: HousePlan, task_type: str, target: Target, tables: Tables) -> str:
    """Write a house and a task as the text of a PDDL problem for the domain ``alfred``.

    Args:
        name: name of the problem, a PDDL symbol.
        plan: the house.
        task_type: ``Pick``, ``Look``, ``Clean``, ``Heat``, ``Cool`` or ``Pick2``.
        target: what the task is about.
        tables: the types and their properties.
    """
    parts = (
        f"(define (problem {name})\n(:domain alfred)\n(:objects",
        *_indented(_declarations(plan, tables)),
        "    )\n(:init",
        *_indented(f"({fact})" for fact in _facts(plan, tables)),
        f"    )\n(:goal\n{_goal(task_type, target)}\n)\n)\n",
    )
    return "\n".join(parts)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _declarations(plan: HousePlan, tables: Tables) -> Iterator[str]:
    yield "agent1 - agent"
    # The official problems declare the bare names of all object types as objects, and so do these.
    yield from (f"{kind} - object" for kind in tables.object_types)
    yield from (f"{kind}Type - otype" for kind in tables.object_types)
    yield from (f"{kind}Type - rtype" for kind in tables.receptacle_types)
    yield from (f"{thing.id} - object" for thing in plan.things)
    yield from (f"{receptacle.id} - receptacle" for receptacle in plan.receptacles)
    locations = dict.fromkeys((plan.start, *(receptacle.location for receptacle in plan.receptacles)))
    yield from (f"{location} - location" for location in locations)


def _facts(plan: HousePlan, tables: Tables) -> Iterator[str]:
    things, receptacles = plan.things, plan.receptacles
    yield from (f"receptacleType {receptacle.id} {receptacle.kind}Type" for receptacle in receptacles)
    yield from (f"objectType {thing.id} {thing.kind}Type" for thing in things)
    kinds = {thing.kind for thing in things}
    for holder in sorted({receptacle.kind for receptacle in receptacles}):
        allowed = tables.can_contain.get(holder, ())
        yield from (f"canContain {holder}Type {kind}Type" for kind in allowed if kind in kinds)
    for predicate, members in tables.properties.items():
        yield from (f"{predicate} {thing.id}" for thing in things if thing.kind in members)
    yield from (f"openable {receptacle.id}" for receptacle in receptacles if receptacle.openable)
    yield f"atLocation agent1 {plan.start}"
    yield from (f"isCool {thing.id}" for thing in things if thing.cool)
    yield from (f"inReceptacle {thing.id} {receptacle.id}" for thing in things for receptacle in thing.inside)
    yield from (f"receptacleAtLocation {receptacle.id} {receptacle.location}" for receptacle in receptacles)
    yield from (f"objectAtLocation {thing.id} {thing.inside[0].location}" for thing in things)


def _goal(task_type: str, target: Target) -> str:
    if task_type == "Look":
        return _LOOK.format(object=target.object, lamp=target.place)
    if task_type == "Pick2":
        return _PLACE_TWO.format(object=target.object, place=target.place)
    if task_type == "Pick":
        return _PLACE.format(object=target.object, place=target.place)
    ability, condition = _CONDITIONS[task_type]
    return _TREAT_AND_PLACE.format(object=target.object, place=target.place, ability=ability, condition=condition)


_PLACE = """    (and (exists (?r - receptacle) (exists (?o - object) (and
        (inReceptacle ?o ?r) (objectType ?o {object}Type) (receptacleType ?r {place}Type)))))"""

_TREAT_AND_PLACE = """    (and (exists (?r - receptacle) (exists (?o - object) (and
        ({ability} ?o) (objectType ?o {object}Type) (receptacleType ?r {place}Type)
        ({condition} ?o) (inReceptacle ?o ?r)))))"""

_PLACE_TWO = """    (and (exists (?r - receptacle) (exists (?o1 - object) (and
        (objectType ?o1 {object}Type) (receptacleType ?r {place}Type) (inReceptacle ?o1 ?r)
        (exists (?o2 - object) (and
            (not (= ?o1 ?o2)) (objectType ?o2 {object}Type) (receptacleType ?r {place}Type)
            (inReceptacle ?o2 ?r)))))))"""

_LOOK = """    (and
        (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and
            (objectType ?ot {lamp}Type) (toggleable ?ot) (isToggled ?ot)
            (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
        (exists (?o - object ?a - agent) (and (objectType ?o {object}Type) (holds ?a ?o))))"""
