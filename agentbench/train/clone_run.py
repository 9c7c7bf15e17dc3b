"""A clone in a folder: progress, measures of what is held out, checkpoints and exact resume, the best policy kept."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch

from agentbench.evaluation.held_out import say_notes, write_clone_record
from agentbench.runs.episodes import Episode
from agentbench.runs.lines import METRICS_FILE, add_lines
from agentbench.train.checkpoint import load_checkpoint, save_checkpoint
from agentbench.train.clone import Cloner, log_likelihood, mean_loss, pieces_of
from agentbench.train.clone_config import CHECKPOINTS, STATE, CloneRun, Prepared, prepare
from agentbench.train.config import TrainConfig
from agentbench.train.distributed import ALONE
from agentbench.train.rollouts import Rollouts
from agentbench.train.run import cut_metrics
from agentbench.train.telemetry import episode_metrics
from agentbench.train.update import NonFiniteError
from envs.base.digest import sealed
from envs.base.errors import UserError
from envs.base.files import replaced_folder, write_text
from policies.contract import CountsSequences, TrainablePolicy
from policies.language.room import check_disk
from policies.trainable import read_policy, save_policy

BEST = "best"

COPIES = 8
"""Of what is saved of the weights, at most on the disk at once: two checkpoints with two moments, two policies."""


def clone_run(
    config: CloneRun,
    out: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[int, int, str], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[float]:
    """Clone into a folder: checkpoints while it continues, the best policy at the end.

    Args:
        config: what to do.
        out: folder of the policy.
        resume: continue with a clone that was cut short; it ends with the same weights.
        on_progress: called after each pass over a piece with the steps learned from, those of all, and a note.
        say: takes lines about what was chosen and measured.

    Returns:
        the mean loss of each pass, in nats a token.

    Raises:
        UserError: the clone cannot begin, the folder holds another one that is not finished, or the loss is no number.
    """
    begun = (out / CHECKPOINTS / STATE).exists()
    if begun and not resume:
        raise UserError(
            f"{out} holds a clone that is not finished: add --resume to continue with it, or choose another --out"
        )
    prepared = prepare(config, out if begun else None)
    saved = sum(each.nbytes for each in prepared.policy.module.state_dict().values())
    check_disk(COPIES * saved, "cloning (checkpoints with two moments a weight, the best policy)", out)
    say_notes(prepared.notes)
    for line in described(prepared):
        say(line)
    try:
        return _Run(prepared, out, on_progress or (lambda *_: None), say).run()
    except NonFiniteError as error:
        raise UserError(
            f"{error}: cloning stopped, the last checkpoint is whole. Try a lower learning_rate or max_grad_norm, or "
            "precision = float32"
        ) from error
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {error.strerror or error}; the last checkpoint is whole: make room and run the "
            "same command with --resume"
        ) from error


class _Run:
    """One clone under way in one folder."""

    def __init__(
        self, prepared: Prepared, out: Path, on_progress: Callable[[int, int, str], None], say: Callable[[str], None]
    ) -> None:
        self.prepared, self.out, self.on_progress, self.say = prepared, out, on_progress, say
        self.config, self.chosen, self.policy = prepared.config, prepared.chosen, prepared.policy
        torch.set_num_threads(self.chosen.threads)
        self.cloner = Cloner(self.policy, prepared.traces, self.chosen.settings)
        self.best: list[float] | None = None
        self.rollouts: Rollouts | None = None

    def run(self) -> list[float]:
        """Learn to the end, from where the newest checkpoint has gone back to."""
        self._resume()
        cloner, plan = self.cloner, self.cloner.plan
        total = sum(len(rows) for _, rows in plan)
        done = sum(len(rows) for _, rows in plan[: cloner.step])
        self.on_progress(done, total, "")
        try:
            while cloner.step < len(plan):
                started = time.perf_counter()

                def tell(steps: int) -> None:
                    nonlocal done
                    done += steps
                    self.on_progress(done, total, self._note)

                row = cloner.update(tell)
                seconds = time.perf_counter() - started
                tokens = _tokens(self.policy, [self.prepared.traces[each] for each in plan[cloner.step - 1][1]])
                row |= {"tokens": tokens, "tokens_per_second": round(tokens / seconds, 1), "seconds": round(seconds, 3)}
                row["memory_mb"] = round(psutil.Process().memory_info().rss / 2**20, 1)
                self._note = f"loss {row['loss']:.3f}, {row['tokens_per_second']:.0f} tokens/s"
                if self._is_measured():
                    row |= self._measure()
                add_lines(self.out / METRICS_FILE, [row])
                # After the first update too: of a large model, ten of them may take minutes.
                if (cloner.step == 1 or cloner.step % self.config.checkpoint_every == 0) and cloner.step < len(plan):
                    self._save()
        finally:
            if self.rollouts is not None:
                self.rollouts.close()
        self._finish()
        return cloner.losses

    _note = ""

    def _is_measured(self) -> bool:
        step, plan = self.cloner.step, self.cloner.plan
        if not self.prepared.held_out and self.config.eval_split is None:
            return False
        if step == len(plan):
            return True
        every = self.config.eval_every
        return step % every == 0 if every is not None else plan[step][0] != plan[step - 1][0]

    def _measure(self) -> dict[str, Any]:
        """Measure the held-out episodes and play the held-out tasks; keep the policy if it is the best so far."""
        row: dict[str, Any] = {}
        rank = [0.0, 0.0]
        if self.prepared.held_out:
            row["held_out/loss"] = mean_loss(self.policy, self.prepared.held_out, self.chosen.settings)
            rank[1] = -row["held_out/loss"]
        if self.config.eval_split is not None:
            found = episode_metrics(self._play())
            row |= {f"eval/{name}": value for name, value in found.items()}
            rank[0] = found.get("success", 0.0)
        if self.best is None or rank > self.best:
            self.best = rank
            with replaced_folder(self.out / BEST) as temporary:
                save_policy(self.policy, temporary)
        said = [f"held-out loss {row['held_out/loss']:.3f}"] if self.prepared.held_out else []
        said += [f"held-out success {100 * row['eval/success']:.1f} %"] if "eval/success" in row else []
        self.say(f"update {self.cloner.step} of {len(self.cloner.plan)}: {', '.join(said)}")
        return row

    def _play(self) -> list[Episode]:
        config = self.config
        if self.rollouts is None:
            assert config.eval_split is not None
            played = TrainConfig(
                env=self.prepared.env,
                env_options=config.env_options,
                split=config.eval_split,
                eval_split=config.eval_split,
                eval_tasks=config.eval_tasks,
                seed=config.seed,
            )
            self.rollouts = Rollouts(played, ALONE)
        return self.rollouts.evaluate(self.policy.with_temperature(config.eval_temperature))

    def _resume(self) -> None:
        folder, run = self.out / CHECKPOINTS, self.prepared.run_digest
        folder.mkdir(parents=True, exist_ok=True)
        state = load_checkpoint(folder, self.policy, self.cloner.optimizer, run)
        if state is not None:
            self.cloner.step, self.cloner.sums, self.best = state["step"], state["sums"], state["best"]
        else:
            record = {"config": asdict(self.config), "chosen": asdict(self.chosen), "run": run}
            write_text(folder / STATE, json.dumps(sealed(record), indent=2) + "\n")
        cut_metrics(self.out, self.cloner.step)

    def _save(self) -> None:
        counters = {"step": self.cloner.step, "sums": self.cloner.sums, "best": self.best}
        counters["run"] = self.prepared.run_digest
        save_checkpoint(self.out / CHECKPOINTS, self.policy, self.cloner.optimizer, counters, keep=1)

    def _finish(self) -> None:
        """Write the best policy, with what it learned from, and remove what was only needed to continue."""
        if self.best is not None:
            self.policy.module.load_state_dict(read_policy(self.out / BEST)[2])
        save_policy(self.policy, self.out)
        how = {"config": asdict(self.config), "chosen": asdict(self.chosen)}
        write_clone_record(
            self.out, Path(self.config.source), self.prepared.env, self.config.policy, self.prepared.learned, how
        )
        shutil.rmtree(self.out / CHECKPOINTS)
        shutil.rmtree(self.out / BEST, ignore_errors=True)


def described(prepared: Prepared) -> list[str]:
    """Say what a clone will do: how much it learns from, and what it takes in memory."""
    chosen, settings = prepared.chosen, prepared.chosen.settings
    tokens = _tokens(prepared.policy, prepared.traces)
    updates = len(Cloner(prepared.policy, prepared.traces, settings).plan)
    lines = [
        f"{len(prepared.learned)} episodes, {len(prepared.traces)} steps, {tokens:,} tokens a pass; {settings.passes} "
        f"passes, {updates} updates of {settings.batch_size} or more steps"
        + (f"; {len(prepared.held_out)} steps held out" if prepared.held_out else "")
    ]
    if chosen.parts_mb:
        parts = ", ".join(f"{name} {value / 1000:.2f}" for name, value in chosen.parts_mb.items())
        above = chosen.recompute_above
        again = {None: "", 0: "; activations are computed again"}.get(
            above, f"; of episodes above {above} tokens activations are computed again"
        )
        peak = f"peak memory about {chosen.peak_mb / 1000:.1f} GB ({parts})"
        lines.append(f"passes of {settings.token_budget:,} tokens{again}; {peak}")
    measured = ", ".join(f"{name} {value:.2f} s" for name, value in chosen.seconds.items())
    measured = f" ({measured} a short pass)" if measured else ""
    lines.append(f"computing in {settings.precision}{measured}, {chosen.threads} threads")
    return lines


def estimate(prepared: Prepared) -> float:
    """Return the seconds that the whole clone will take, by one pass over one piece; nothing is changed."""
    policy, settings = prepared.policy, prepared.chosen.settings
    part = pieces_of(policy, prepared.traces, settings.token_budget)[0]
    traces = [prepared.traces[row] for row in part]
    started = time.perf_counter()
    log_likelihood(policy, traces, settings).backward()  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - started
    policy.module.zero_grad(set_to_none=True)
    return seconds * settings.passes * _tokens(policy, prepared.traces) / _tokens(policy, traces)


def _tokens(policy: TrainablePolicy, traces: Sequence[Any]) -> int:
    """Return the tokens that go through the model; of a policy without sequences those of its answers."""
    if isinstance(policy, CountsSequences):
        return sum(policy.sequence_lengths(traces))
    return sum(trace.tokens for trace in traces)
