"""The further schemes once more, as slow loops over rows written straight from their equations.

A table is a list of dictionaries, one a step. Every function returns one advantage a row, in the list's order.
"""

from __future__ import annotations

import math
from statistics import median

import numpy as np
from credit_oracles import grpo, normalized, outcome_of, returns_of


def of_same(rows, row, *columns):
    return [r for r in rows if all(r[c] == row[c] for c in columns)]


def episode_of(rows, row):
    return sorted(of_same(rows, row, "episode"), key=lambda r: r["step"])


def firsts(rows):
    return [r for r in rows if r["step"] == 0]


def ngrpo(rows, max_reward, virtual, std):
    out = []
    for row in rows:
        samples = [outcome_of(rows, r) for r in firsts(of_same(rows, row, "group"))]
        if len(samples) > 1:
            samples += [max_reward] * virtual
        out.append(normalized(outcome_of(rows, row), samples, std=std))
    return out


def mcgrpo(rows, rescale=True):
    def deviations(row):
        outcomes = [outcome_of(rows, r) for r in firsts(of_same(rows, row, "group"))]
        middle = median(outcomes)
        mad = median(abs(x - middle) for x in outcomes)
        return [(x - middle) / (mad + 1e-3 if mad > 1e-12 else 1) for x in (outcome_of(rows, row), *outcomes)]

    out = []
    for row in rows:
        own, *all_of_them = deviations(row)
        used = sum(abs(x) > 1e-9 for x in all_of_them)
        factor = len(all_of_them) / used if rescale and used else 1
        out.append(0.0 if abs(own) < 1e-9 else own * factor)
    return out


def gdpo(rows, components, weights, whitened):
    def of_component(row, name):
        def total(r):
            return sum(x[name] for x in episode_of(rows, r))

        return normalized(total(row), [total(r) for r in firsts(of_same(rows, row, "group"))])

    sums = [sum(w * of_component(r, c) for c, w in zip(components, weights, strict=True)) for r in rows]
    if not whitened:
        return sums
    samples = [s for s, r in zip(sums, rows, strict=True) if r["step"] == 0]
    if len(samples) < 2:
        return [0.0] * len(rows)
    return [(s - np.mean(samples)) / math.sqrt(np.var(samples, ddof=1) + 1e-8) for s in sums]


def bnpo(rows, low, high):
    from scipy.stats import beta

    def scaled(r):
        return (outcome_of(rows, r) - low) / (high - low)

    def rate(row):
        return float(np.mean([scaled(r) for r in firsts(of_same(rows, row, "group"))]))

    groups = {r["group"]: r for r in rows if len(firsts(of_same(rows, r, "group"))) > 1}
    rates = [rate(r) for r in groups.values()]
    a = b = 1.0
    if len(rates) > 1 and (v := float(np.var(rates, ddof=1))) > 1e-12:
        m = float(np.mean(rates))
        n = m * (1 - m) / v - 1
        a, b = max(1.0, 1 + n * m / 3), max(1.0, 1 + n * (1 - m) / 3)
    out = []
    for row in rows:
        if row["group"] not in groups:
            out.append(0.0)
            continue
        deviation = scaled(row) - rate(row)
        density = float(beta.pdf(rate(row), a, b))
        out.append(0.0 if abs(deviation) < 1e-12 else deviation * (min(1 / density, 1e6) if density else 1e6))
    return out


def gae(rows, gamma, lam, after="zero", reward="reward"):
    def advantage(steps, t):
        row = steps[t]
        last = t + 1 == len(steps)
        following = (row["value"] if row["truncated"] and after == "value" else 0.0) if last else steps[t + 1]["value"]
        delta = row[reward] + gamma * following - row["value"]
        return delta + (0.0 if last else gamma * lam * advantage(steps, t + 1))

    return [advantage(episode_of(rows, r), r["step"]) for r in rows]


def whitened(values, weights):
    total = sum(weights)
    if total <= 1:
        return [0.0] * len(values)
    mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
    var = sum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / (total - 1)
    return [(v - mean) / math.sqrt(var + 1e-8) for v in values]


def hiper(rows, stream, gamma, lam_turn, lam_segment, keep, mode, consistency, bootstrap):
    """All three streams, turn by turn from the end."""
    out = []
    for row in rows:
        steps = episode_of(rows, row)
        begins = [t for t, r in enumerate(steps) if t == 0 or r["switch"]]
        reward = []
        for t, r in enumerate(steps):
            gain = r["reward"]
            if not r["switch"]:
                gain += keep if mode == "fixed" else (keep / len(steps) if len(steps) > 1 else 0)
                if t and r["subgoal"] != steps[t - 1]["subgoal"]:
                    gain += consistency
            reward.append(gain)
        t = row["step"]
        out.append(
            _low(steps, reward, begins, t, gamma, lam_turn, bootstrap)
            if stream == "low"
            else _high(steps, reward, begins, t, gamma, lam_segment, bootstrap)
            if stream == "high"
            else _segment_return(steps, reward, begins, t, gamma, bootstrap) - row["value_term"]
        )
    return out


def _segment_end(steps, begins, t):
    return min([b for b in begins if b > t], default=len(steps))


def _low(steps, reward, begins, t, gamma, lam, bootstrap):
    end, value = _segment_end(steps, begins, t), steps[t]["value_low"]
    if t + 1 < end:
        delta = reward[t] + gamma * steps[t + 1]["value_low"] - value
        return delta + gamma * lam * _low(steps, reward, begins, t + 1, gamma, lam, bootstrap)
    if end < len(steps):
        return reward[t] + gamma * steps[end]["value_high"] - value
    return reward[t] + gamma * (value if bootstrap and not steps[t]["terminated"] else 0) - value


def _segment_return(steps, reward, begins, t, gamma, bootstrap):
    end = _segment_end(steps, begins, t)
    start = max(b for b in begins if b <= t)
    if end < len(steps):
        after = steps[end]["value_high"]
    else:
        after = steps[start]["value_high"] if bootstrap and not steps[-1]["terminated"] else 0
    return sum(gamma ** (k - t) * reward[k] for k in range(t, end)) + gamma ** (end - t) * after


def _high(steps, reward, begins, t, gamma, lam, bootstrap):
    if t not in begins:
        return 0.0
    end = _segment_end(steps, begins, t)
    own = _segment_return(steps, reward, begins, t, gamma, bootstrap) - steps[t]["value_high"]
    if end == len(steps):
        return own
    return own + gamma ** (end - t) * lam * _high(steps, reward, begins, end, gamma, lam, bootstrap)


def graphgpo(rows, gamma, relative, std):
    episode = grpo(rows, std=std)

    def target(r):
        return "GOAL" if r["terminated"] and r["reward"] > 0 else r["next_state"]

    def distances(group):
        """Distance to the goal by relaxing every edge until nothing changes (Bellman and Ford)."""
        nodes = {n for r in group for n in (r["state"], target(r))}
        d = {n: 0.0 if n == "GOAL" else math.inf for n in nodes}
        for _ in nodes:
            for r in group:
                d[r["state"]] = min(d[r["state"]], d[target(r)] + 1)
        farthest = max([x for x in d.values() if x < math.inf], default=0.0)
        return {n: x if x < math.inf else farthest + 1 for n, x in d.items()}

    d = {r["group"]: distances(of_same(rows, r, "group")) for r in rows}

    def path(r):
        near = d[r["group"]]
        return 10 * gamma ** (near[target(r)] - (near[r["state"]] - 1 if relative else 0))

    return [
        a + normalized(path(r), [path(x) for x in of_same(rows, r, "group", "state")], std=std)
        for a, r in zip(episode, rows, strict=True)
    ]


def graph_value(rows, gamma):
    """Sweep over V until it stands still (Gauss and Seidel)."""
    value = {(r["group"], r["state"]): 0.0 for r in rows}

    def after(r):
        steps = episode_of(rows, r)
        return value[r["group"], steps[r["step"] + 1]["state"]] if r["step"] + 1 < len(steps) else outcome_of(rows, r)

    for _ in range(3000):
        change = 0.0
        for key in list(value):
            leaving = [r for r in rows if (r["group"], r["state"]) == key]
            new = sum(gamma * after(r) for r in leaving) / len(leaving)
            change = max(change, abs(new - value[key]))
            value[key] = new
        if change < 1e-13:
            break
    return [gamma * after(r) - value[r["group"], r["state"]] for r in rows]


def rtmc(rows, once):
    def mean(peers):
        if once:
            peers = list({r["episode"]: r for r in peers}.values())
        return sum(outcome_of(rows, r) for r in peers) / len(peers)

    return [mean(of_same(rows, r, "group", "state", "action")) - mean(of_same(rows, r, "group", "state")) for r in rows]


def tempo(rows, std, columns):
    def prefix(r, length):
        return [tuple(x[c] for c in columns) for x in episode_of(rows, r)[:length]]

    out = []
    for row in rows:
        peers = firsts(of_same(rows, row, "group"))
        outcomes = [outcome_of(rows, r) for r in peers]

        def value(length, row=row, peers=peers):
            wanted = prefix(row, length)
            same = [outcome_of(rows, r) for r in peers if prefix(r, length) == wanted]
            return sum(same) / len(same)

        mean = sum(outcomes) / len(outcomes)
        x = outcome_of(rows, row) - mean + value(row["step"] + 1) - value(row["step"])
        if std:
            sd = float(np.std(outcomes, ddof=1)) if len(outcomes) > 1 else 0.0
            x = x / (sd + 1e-6) if sd > 1e-12 else 0.0
        out.append(x)
    return out


def matchtir(rows, gamma, share):
    returned = returns_of(rows, gamma)
    outcome = grpo(rows)
    out = []
    for row, own, a in zip(rows, returned, outcome, strict=True):
        peers = [
            D for D, r in zip(returned, rows, strict=True) if (r["group"], r["step"]) == (row["group"], row["step"])
        ]
        out.append(share * normalized(own, peers) + (1 - share) * a)
    return out


def seeupo(rows, clamp, low, high):
    centred = []
    for row in rows:
        peers = [outcome_of(rows, r) for r in of_same(rows, row, "group", "step")]
        centred.append(normalized(outcome_of(rows, row), peers, std=False))
    out = []
    for row, own in zip(rows, centred, strict=True):
        turn = [c for c, r in zip(centred, rows, strict=True) if r["step"] == row["step"]]
        sd = float(np.std(turn, ddof=1)) if len(turn) > 1 else 0.0
        x = (own - np.mean(turn)) / (sd if sd > 1e-6 else 1.0)
        carried = 1.0
        for later in reversed(episode_of(rows, row)[row["step"] + 1 :]):
            carried = min(max(carried * min(max(math.exp(later["log_ratio"]), low), high), low), high)
        out.append(min(max(x, -clamp), clamp) * carried)
    return out


def empg(rows, k, k_future, zeta):
    base = grpo(rows)
    entropies = [r["entropy"] for r in rows]
    low, high = min(entropies), max(entropies)

    def scaled(r):
        return (r["entropy"] - low) / (high - low + 1e-8)

    g = [math.exp(-k * scaled(r)) for r in rows]
    out = []
    for row, a, own in zip(rows, base, g, strict=True):
        later = episode_of(rows, row)[row["step"] + 1 :]
        bonus = zeta * math.exp(-k_future * scaled(later[0])) if later else 0.0
        out.append(a * own / (sum(g) / len(g) + 1e-8) + bonus)
    return [x - sum(out) / len(out) for x in out]


def igpo(rows, gamma, std):
    def gain(r):
        return outcome_of(rows, r) if r["step"] + 1 == len(episode_of(rows, r)) else r["info_gain"]

    gains = [{**r, "normal": normalized(gain(r), [gain(x) for x in of_same(rows, r, "group")], std=std)} for r in rows]
    return returns_of(gains, gamma, key="normal")


def ocar(rows, tau, reference):
    out = []
    for row, a in zip(rows, grpo(rows), strict=True):
        steps = episode_of(rows, row)
        s = [r["surprise"] - (r["surprise_ref"] if reference else 0) for r in steps]
        sd, weight = float(np.std(s)), 1.0
        if len(steps) > 1 and sd >= 1e-10 and a:
            z = [(x - np.mean(s)) / max(sd, 0.1) for x in s]
            power = [math.exp(-math.copysign(1, a) * x / tau) for x in z]
            weight = len(steps) * power[row["step"]] / sum(power)
        out.append(a * min(max(weight, 0.1), len(steps), 10.0))
    return out


def agent_wise(rows, trajectory, value):
    """GRPO by group and agent, with one sample for each different ``trajectory(row)``."""
    out = []
    for row in rows:
        samples = {trajectory(r): value(r) for r in of_same(rows, row, "group", "agent")}
        out.append(normalized(value(row), list(samples.values())))
    return out


def drmas(rows):
    return agent_wise(rows, lambda r: r["episode"], lambda r: outcome_of(rows, r))


def mgrpo(rows, own):
    def stretch(r):
        """First step of the agent's uninterrupted stretch; the main agent's steps are one trajectory."""
        steps = episode_of(rows, r)
        if r["agent"] == steps[0]["agent"]:
            return (r["episode"], "main")
        t = r["step"]
        while steps[t - 1]["agent"] == r["agent"]:
            t -= 1
        return (r["episode"], t)

    def value(r):
        if not own:
            return outcome_of(rows, r)
        return sum(x["reward"] for x in episode_of(rows, r) if stretch(x) == stretch(r) and x["agent"] == r["agent"])

    return agent_wise(rows, stretch, value)


def mars(rows, gamma, by_group, unique):
    key = ("group", "agent") if by_group else ("agent",)

    def centred(r):
        peers = [x["reward"] for x in of_same(rows, r, *key)]
        return r["reward"] - sum(peers) / len(peers)

    def returned(r):
        turns = [x for x in episode_of(rows, r) if x["agent"] == r["agent"] and x["step"] >= r["step"]]
        return sum(gamma**k * centred(x) for k, x in enumerate(turns))

    out = []
    for row in rows:
        values = [returned(r) for r in of_same(rows, row, *key)]
        if unique:
            values = list({round(v, 9): v for v in values}.values())
        out.append(normalized(returned(row), values))
    return out


# -- trees: rows of one group with the same node are one step ------------------------------------------------


def path_of(rows, episode):
    return [
        (r["group"], r["node"]) for r in sorted((r for r in rows if r["episode"] == episode), key=lambda r: r["step"])
    ]


def forest_of(rows):
    """Every node's children, and the episodes through it, both as lists; and each episode's outcome and root."""
    episodes = list(dict.fromkeys(r["episode"] for r in rows))
    children, through, root, outcome, leaf = {}, {}, {}, {}, {}
    for each in episodes:
        path = path_of(rows, each)
        root[each], leaf[path[-1]] = path[0], each
        outcome[each] = sum(r["reward"] for r in rows if r["episode"] == each)
        for above, node in zip([None, *path], path, strict=False):
            through.setdefault(node, []).append(each)
            if node not in children.setdefault(above, []):
                children[above].append(node)
    return children, through, root, outcome, leaf


def tree_grpo(rows, std=True, raw=False, backup="leaves", gamma=1.0, power=0.0):
    children, through, root, outcome, leaf = forest_of(rows)
    group_of = {r["episode"]: r["group"] for r in rows}

    def compared(episode, of):
        samples = [outcome[other] for other in outcome if of[other] == of[episode]]
        if len(samples) == 1:
            return outcome[episode] / ((1 + 1e-6) if std else 1) if raw else 0.0
        return normalized(outcome[episode], samples, std=std)

    advantage = {each: compared(each, root) + compared(each, group_of) for each in outcome}

    def worth(node):
        if node in leaf:
            return advantage[leaf[node]]
        below = [worth(child) for child in children[node]]
        return gamma * sum(below) / len(below)

    out = []
    for row in rows:
        node = (row["group"], row["node"])
        mean = sum(advantage[each] for each in through[node]) / len(through[node])
        out.append((mean if backup == "leaves" else worth(node)) * len(through[node]) ** power)
    return out


def spo(rows, std=False, ddof=0):
    children, _, root, outcome, leaf = forest_of(rows)
    parent = {child: above for above, below in children.items() for child in below}
    roots = {}
    for node in root.values():
        if node not in roots.setdefault(node[0], []):
            roots[node[0]].append(node)

    def below(node):  # what a node goes on with: a fork's segments, or the next step of its own
        return children.get(node, [])

    def worth(node):
        if node in leaf:
            return outcome[leaf[node]]
        return sum(worth(child) for child in below(node)) / len(below(node))

    def head_of(node):
        while parent[node] is not None and len(below(parent[node])) == 1:
            node = parent[node]
        return node

    out = []
    for row in rows:
        head = head_of((row["group"], row["node"]))
        sisters = roots[head[0]] if parent[head] is None else below(parent[head])
        values = [worth(sister) for sister in sisters]
        if len(values) < 2:
            out.append(0.0)
            continue
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - ddof))
        difference = worth(head) - mean
        if abs(difference) < 1e-12:
            out.append(0.0)
        else:
            out.append(difference / (deviation + 1e-8) if std else difference)
    return out


def pivot_retry(rows, std=True):
    outcome = {r["episode"]: outcome_of(rows, r) for r in rows}
    group_of = {r["episode"]: r["group"] for r in rows}
    owner = {(r["group"], r["node"]): r["episode"] for r in rows if r["own"]}
    out = []
    for row in rows:
        samples = [outcome[each] for each in outcome if group_of[each] == row["group"]]
        out.append(normalized(outcome[owner[row["group"], row["node"]]], samples, std=std))
    return out
