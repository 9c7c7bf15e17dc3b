"""All credit schemes by name."""

from __future__ import annotations

from typing import Any

from credit.plugins import SchemeTable
from credit.scheme import Scheme, describe, unknown
from credit.schemes.bi_level_gae import bi_level_gae
from credit.schemes.bnpo import bnpo
from credit.schemes.dr_grpo import dr_grpo
from credit.schemes.drmas import drmas
from credit.schemes.empg import empg
from credit.schemes.gae import gae
from credit.schemes.gdpo import gdpo
from credit.schemes.gigpo import gigpo
from credit.schemes.graph_value import graph_value
from credit.schemes.graphgpo import graphgpo
from credit.schemes.grpo import grpo
from credit.schemes.hgpo import hgpo
from credit.schemes.hiper import hiper
from credit.schemes.igpo import igpo
from credit.schemes.loop import loop
from credit.schemes.mapo import mapo
from credit.schemes.mars import mars
from credit.schemes.matchtir import matchtir
from credit.schemes.mcgrpo import mcgrpo
from credit.schemes.mgrpo import mgrpo
from credit.schemes.ngrpo import ngrpo
from credit.schemes.ocar import ocar
from credit.schemes.reinforce_plus_plus import reinforce_plus_plus
from credit.schemes.rloo import rloo
from credit.schemes.rtmc import rtmc
from credit.schemes.salt import salt
from credit.schemes.seeupo import seeupo
from credit.schemes.tempo import tempo
from credit.schemes.turn_ppo import turn_ppo
from credit.steps import FloatArray, Steps

_OWN = {
    function.__name__: describe(function)
    for function in (
        # the four that the project is about
        salt,
        gigpo,
        hgpo,
        mapo,
        # outcome baselines: one number an episode
        grpo,
        dr_grpo,
        rloo,
        reinforce_plus_plus,
        loop,
        ngrpo,
        mcgrpo,
        gdpo,
        bnpo,
        # a critic's value
        gae,
        turn_ppo,
        bi_level_gae,
        hiper,
        # the group's trajectory graph
        graphgpo,
        graph_value,
        rtmc,
        tempo,
        # turns
        matchtir,
        seeupo,
        # measurements of the policy
        empg,
        igpo,
        ocar,
        # several agents
        drmas,
        mgrpo,
        mars,
    )
}

SCHEMES = SchemeTable(_OWN)
"""Every scheme, in the order of the documentation; then those of plug-ins (:mod:`credit.plugins`)."""


def advantages(name: str, steps: Steps, **options: Any) -> FloatArray:
    """Compute the advantage of every step under a scheme.

    Args:
        name: a key of :data:`SCHEMES`.
        steps: the step table.
        options: the scheme's own options; ``SCHEMES[name].options`` lists them.

    Returns:
        float64 of shape ``(len(steps),)``, in the table's row order.

    Raises:
        CreditError: unknown scheme or option (with the nearest name), a value that an option cannot have, a
            column that the scheme needs and the table lacks.
    """
    return find(name).function(steps, **options)


def find(name: str) -> Scheme:
    """Return the scheme called ``name``, or raise :class:`CreditError` with the nearest names."""
    if name not in SCHEMES:
        raise unknown("scheme", name, SCHEMES)
    return SCHEMES[name]
