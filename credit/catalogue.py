"""The catalogue: every scheme of the project, in the order of the documentation.

A scheme is a module in ``credit/schemes/`` and one line here: the registry, ``from credit import NAME``, the command
line and the documentation follow from it.
"""

# ruff: noqa: I001, PLC0414 (the order is the catalogue's; `import NAME as NAME` hands the name on, types and all)

# the four that the project is about
from credit.schemes.salt import salt as salt
from credit.schemes.gigpo import gigpo as gigpo
from credit.schemes.hgpo import hgpo as hgpo
from credit.schemes.mapo import mapo as mapo

# outcome baselines: one number an episode
from credit.schemes.grpo import grpo as grpo
from credit.schemes.dr_grpo import dr_grpo as dr_grpo
from credit.schemes.rloo import rloo as rloo
from credit.schemes.reinforce_plus_plus import reinforce_plus_plus as reinforce_plus_plus
from credit.schemes.loop import loop as loop
from credit.schemes.ngrpo import ngrpo as ngrpo
from credit.schemes.mcgrpo import mcgrpo as mcgrpo
from credit.schemes.gdpo import gdpo as gdpo
from credit.schemes.bnpo import bnpo as bnpo
from credit.schemes.opo import opo as opo
from credit.schemes.gpg import gpg as gpg
from credit.schemes.grpo_passk import grpo_passk as grpo_passk
from credit.schemes.max_rl import max_rl as max_rl
from credit.schemes.single_stream import single_stream as single_stream
from credit.schemes.rae import rae as rae

# a critic's value
from credit.schemes.gae import gae as gae
from credit.schemes.turn_ppo import turn_ppo as turn_ppo
from credit.schemes.bi_level_gae import bi_level_gae as bi_level_gae
from credit.schemes.hiper import hiper as hiper
from credit.schemes.vineppo import vineppo as vineppo

# the group's trajectory graph
from credit.schemes.graphgpo import graphgpo as graphgpo
from credit.schemes.graph_value import graph_value as graph_value
from credit.schemes.rtmc import rtmc as rtmc
from credit.schemes.tempo import tempo as tempo

# trees of episodes that share beginnings
from credit.schemes.tree_grpo import tree_grpo as tree_grpo
from credit.schemes.spo import spo as spo
from credit.schemes.pivot_retry import pivot_retry as pivot_retry

# turns
from credit.schemes.matchtir import matchtir as matchtir
from credit.schemes.turn_credit import turn_credit as turn_credit
from credit.schemes.pure import pure as pure
from credit.schemes.seeupo import seeupo as seeupo

# measurements of the policy, and judgements of its actions
from credit.schemes.empg import empg as empg
from credit.schemes.igpo import igpo as igpo
from credit.schemes.ocar import ocar as ocar
from credit.schemes.agentopsd import agentopsd as agentopsd
from credit.schemes.progress_advantage import progress_advantage as progress_advantage
from credit.schemes.vpr import vpr as vpr

# several agents
from credit.schemes.drmas import drmas as drmas
from credit.schemes.mgrpo import mgrpo as mgrpo
from credit.schemes.mars import mars as mars
