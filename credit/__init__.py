"""Credit: one table of steps in, one advantage a step out; every scheme a pure function."""

from credit.registry import SCHEMES, advantages
from credit.scheme import Scheme
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
from credit.steps import CreditError, Steps
from credit.tools.health import Health, health

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
