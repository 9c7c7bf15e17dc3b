"""Credit: one table of steps in, one advantage a step out; every scheme a pure function."""

from credit.bi_level_gae import bi_level_gae
from credit.bnpo import bnpo
from credit.dr_grpo import dr_grpo
from credit.drmas import drmas
from credit.empg import empg
from credit.gae import gae
from credit.gdpo import gdpo
from credit.gigpo import gigpo
from credit.graph_value import graph_value
from credit.graphgpo import graphgpo
from credit.grpo import grpo
from credit.health import Health, health
from credit.hgpo import hgpo
from credit.hiper import hiper
from credit.igpo import igpo
from credit.loop import loop
from credit.mapo import mapo
from credit.mars import mars
from credit.matchtir import matchtir
from credit.mcgrpo import mcgrpo
from credit.mgrpo import mgrpo
from credit.ngrpo import ngrpo
from credit.ocar import ocar
from credit.registry import SCHEMES, advantages
from credit.reinforce_plus_plus import reinforce_plus_plus
from credit.rloo import rloo
from credit.rtmc import rtmc
from credit.salt import salt
from credit.scheme import Scheme
from credit.seeupo import seeupo
from credit.steps import CreditError, Steps
from credit.tempo import tempo
from credit.turn_ppo import turn_ppo

__all__ = [
    "SCHEMES",
    "CreditError",
    "Health",
    "Scheme",
    "Steps",
    "advantages",
    "bi_level_gae",
    "bnpo",
    "dr_grpo",
    "drmas",
    "empg",
    "gae",
    "gdpo",
    "gigpo",
    "graph_value",
    "graphgpo",
    "grpo",
    "health",
    "hgpo",
    "hiper",
    "igpo",
    "loop",
    "mapo",
    "mars",
    "matchtir",
    "mcgrpo",
    "mgrpo",
    "ngrpo",
    "ocar",
    "reinforce_plus_plus",
    "rloo",
    "rtmc",
    "salt",
    "seeupo",
    "tempo",
    "turn_ppo",
]
