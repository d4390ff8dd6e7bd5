"""Right and wrong answers to the exercises of chapter 15."""

from tests.answers import Answer

BEST = "best = scores.max(dim=0).values  # (S,)"
LOST = "lost = best - scores[-1]"
MEAN = "lost[best > chance].mean()  # the mean of nothing is nan"
GOOD = "as_good = (score >= score[:, None]) & (loss <= loss[:, None])  # [i, j]: j against i"
BETTER = "better = (score > score[:, None]) | (loss < loss[:, None])"
KEPT = "return ~(beaten | score.isnan() | loss.isnan())"
CHANGE = "change = after[name] - weight"
TEST = "if change.ndim == 2 and change.any():"
SQUARE = "torch.linalg.svdvals(change).square()"
RANK = "int((held < share).sum()) + 1"
COUNT = "count = percent * n * batch_size // 100 - used_old  # old rows of this batch"
OLD = "[old[(used_old + i) % len(old)] for i in range(count)]"
NEW = "[new[(used_new + i) % len(new)] for i in range(batch_size - count)]"
USED = "used_old, used_new = used_old + count, used_new + batch_size - count"
TUNED = "tuned = W + scaling * lora_B @ lora_A"
SVD = "torch.linalg.svd(w, full_matrices=False).U for w in (W, tuned)"
LIKE = "(new[:, :k].T @ old).abs().amax(dim=1)"
SUM = "return (torch.cat(like) < epsilons[:, None]).sum(dim=1)"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "forgetting",
        "loops and plain numbers",
        code="""
def forgetting(scores, chance):
    lost, known = [], []
    for column, guess in zip(scores.T.tolist(), chance.tolist()):
        lost.append(max(column) - column[-1])
        if max(column) > guess:
            known.append(lost[-1])
    return lost, sum(known) / len(known) if known else float("nan")
""",
    ),
    Answer(
        "forgetting",
        "cummax, weights, an empty case of its own",
        code="""
def forgetting(scores, chance):
    best = torch.cummax(scores, 0).values[-1]
    had = (best > chance).to(scores.dtype)
    lost = (scores - scores[-1]).amax(0)
    return lost, (lost * had).sum() / had.sum()
""",
    ),
    Answer(
        "pareto_front",
        "a double loop",
        code="""
def pareto_front(score, loss):
    runs, mask = list(zip(score.tolist(), loss.tolist())), []
    for s, l in runs:
        beaten = any(a >= s and b <= l and (a > s or b < l) for a, b in runs)
        mask.append(not beaten and s == s and l == l)
    return mask
""",
    ),
    Answer(
        "pareto_front",
        "a sweep over sorted runs",
        code="""
def pareto_front(score, loss):
    real = [n for n in range(len(score)) if score[n] == score[n] and loss[n] == loss[n]]
    mask, low = torch.zeros(len(score), dtype=torch.bool), float("inf")
    for s in sorted({float(score[n]) for n in real}, reverse=True):
        same = [n for n in real if float(score[n]) == s]
        best = min(float(loss[n]) for n in same)
        if best < low:
            for n in same:
                mask[n] = float(loss[n]) == best
            low = best
    return mask
""",
    ),
    Answer(
        "effective_ranks",
        "the tail of the energy",
        code="""
def effective_ranks(before, after, share):
    out = {}
    for name in after:
        change = (after[name] - before[name]).double()
        if change.dim() < 2 or not bool((change != 0).any()):
            continue
        energy = torch.linalg.eigvalsh(change @ change.T).clamp(min=0).flip(0)
        total, held, r = energy.sum(), 0.0, 0
        while held < share * total:
            held, r = held + energy[r], r + 1
        out[name] = r
    return out
""",
    ),
    Answer(
        "effective_ranks",
        "searchsorted, a tensor for each",
        code="""
def effective_ranks(before, after, share):
    changes = {n: after[n] - before[n] for n in before}
    changes = {n: c for n, c in changes.items() if c.ndim == 2 and c.abs().max() > 0}
    found = {}
    for name, change in changes.items():
        held = (torch.linalg.svdvals(change) ** 2).cumsum(0) / change.pow(2).sum()
        found[name] = torch.searchsorted(held, torch.tensor([share], dtype=held.dtype)) + 1
    return found
""",
    ),
    Answer(
        "replay_mix",
        "endless iterators, old rows last",
        code="""
def replay_mix(new, old, percent, batch_size, steps):
    import itertools

    fresh, known, made, before = itertools.cycle(new), itertools.cycle(old), [], 0
    for n in range(steps):
        total = (n + 1) * batch_size * percent // 100
        count, before = total - before, total
        part = list(itertools.islice(fresh, batch_size - count))
        made.append(tuple(part + list(itertools.islice(known, count))))
    return tuple(made)
""",
    ),
    Answer(
        "replay_mix",
        "one list first",
        code="""
def replay_mix(new, old, percent, batch_size, steps):
    rows, a, b = [], 0, 0
    for n in range(1, steps + 1):
        while b < percent * n * batch_size // 100:
            rows.append(old[b % len(old)])
            b += 1
        while len(rows) < n * batch_size:
            rows.append(new[a % len(new)])
            a += 1
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
""",
    ),
    Answer(
        "intruder_curve",
        "eigenvectors of W W^T, a loop",
        code="""
def intruder_curve(layers, scaling, k, epsilons):
    def left(w):
        m = min(w.shape)
        return torch.linalg.eigh(w @ w.T).eigenvectors.flip(1)[:, :m]

    counts = [0] * len(epsilons)
    for W, A, B in layers:
        cosines = left(W).T @ left(W + B @ A * scaling)[:, :k]
        for n, epsilon in enumerate(epsilons.tolist()):
            counts[n] += sum(bool(column.abs().max() < epsilon) for column in cosines.T)
    return counts
""",
    ),
    Answer(
        "intruder_curve",
        "all old vectors must be unlike",
        code="""
def intruder_curve(layers, scaling, k, epsilons):
    total = torch.zeros(len(epsilons))
    for W, A, B in layers:
        U0 = torch.linalg.svd(W, full_matrices=False)[0]
        U1 = torch.linalg.svd(W + scaling * (B @ A), full_matrices=False)[0][:, :k]
        small = (U0.T @ U1).abs()[None] < epsilons[:, None, None]
        total += small.all(1).sum(1)
    return total
""",
    ),
]

WRONG = [
    edit("forgetting", "from the start", "from_start", (BEST, "best = scores[0]")),
    edit("forgetting", "from the start, never below 0", "from_start",
         (LOST, "lost = (scores[0] - scores[-1]).clamp(min=0)")),
    edit("forgetting", "row 0 left out", "start_left_out", ("scores.max(dim=0)",
         "scores[1:].max(dim=0)")),
    edit("forgetting", "best before the last", "last_left_out", ("scores.max(dim=0)",
         "scores[:-1].max(dim=0)")),
    edit("forgetting", "last less best", "sign", (LOST, "lost = scores[-1] - best")),
    edit("forgetting", "best less worst", "to_worst", (LOST, "lost = best - scores.amin(0)")),
    edit("forgetting", "a share of the best", "relative",
         (LOST, LOST + "\n    lost = lost / best")),
    edit("forgetting", "the other axis", "axis", ("max(dim=0)", "max(dim=1)"),
         ("scores[-1]", "scores[:, -1]"), (MEAN, "lost.mean()")),
    edit("forgetting", "mean of all", "all_skills", (MEAN, "lost.mean()")),
    edit("forgetting", "known at the start", "had_at_start", (MEAN,
         "lost[scores[0] > chance].mean()")),
    edit("forgetting", "known at the end", "had_at_end", (MEAN,
         "lost[scores[-1] > chance].mean()")),
    edit("forgetting", "sum", "summed", (MEAN, "lost[best > chance].sum()")),
    edit("forgetting", "zeros counted", "zeros", (MEAN, "(lost * (best > chance)).mean()")),
    edit("forgetting", "0 without any skill", "no_skill", (MEAN,
         "lost[best > chance].mean() if (best > chance).any() else 0.0")),
    edit("forgetting", "writes into scores", "changed", (LOST, LOST + "\n    scores[0] = best")),
    edit("forgetting", "forgets return", "none", ("return lost", "lost")),
    edit("pareto_front", "low scores", "both_low",
         (GOOD, GOOD.replace("score >= score", "score <= score")),
         (BETTER, BETTER.replace("score > score", "score < score"))),
    edit("pareto_front", "high losses", "both_high",
         (GOOD, GOOD.replace("loss <= loss", "loss >= loss")),
         (BETTER, BETTER.replace("loss < loss", "loss > loss"))),
    edit("pareto_front", "the table turned", "worst",
         (GOOD, "as_good = (score <= score[:, None]) & (loss >= loss[:, None])"),
         (BETTER, "better = (score < score[:, None]) | (loss > loss[:, None])")),
    edit("pareto_front", "better on both", "one_axis", (BETTER, BETTER.replace("|", "&"))),
    edit("pareto_front", "strictly on both", "one_axis", ("as_good & better",
         "(score > score[:, None]) & (loss < loss[:, None])")),
    edit("pareto_front", "twins beat each other", "twins_out", ("(as_good & better)",
         "(as_good & ~torch.eye(len(score), dtype=torch.bool))")),
    edit("pareto_front", "the first twin", "one_twin", (KEPT,
         "pairs = list(zip(score.tolist(), loss.tolist()))\n"
         "    first = torch.tensor([pairs.index(p) == n for n, p in enumerate(pairs)])\n"
         "    return first & ~(beaten | score.isnan() | loss.isnan())")),
    edit("pareto_front", "the beaten", "beaten", (KEPT,
         "return beaten | score.isnan() | loss.isnan()")),
    edit("pareto_front", "nan stays", "nan_in", (KEPT, "return ~beaten")),
    edit("pareto_front", "the best of each axis", "best_only", (KEPT,
         "best = (score == score.nan_to_num(-9).max()) | (loss == loss.nan_to_num(9).min())\n"
         "    return best & ~(score.isnan() | loss.isnan())")),
    edit("pareto_front", "numbers of the runs", "positions", (KEPT,
         "return (~(beaten | score.isnan() | loss.isnan())).nonzero()[:, 0]")),
    edit("pareto_front", "nan becomes 0", "nan_beats", (GOOD,
         "score, loss = score.nan_to_num(), loss.nan_to_num()\n    " + GOOD)),
    edit("pareto_front", "forgets return", "none", ("return ~", "~")),
    edit("effective_ranks", "no squares", "plain", (SQUARE, "torch.linalg.svdvals(change)")),
    edit("effective_ranks", "of the trained weight", "of_after", (SQUARE,
         "torch.linalg.svdvals(after[name]).square()")),
    edit("effective_ranks", "one too few", "one_less", (RANK, "int((held < share).sum())")),
    edit("effective_ranks", "one too many", "one_more", (RANK, "int((held < share).sum()) + 2")),
    edit("effective_ranks", "matrix_rank", "full", (RANK, "int(torch.linalg.matrix_rank(change))")),
    edit("effective_ranks", "smallest first", "ascending", (SQUARE, SQUARE + ".flip(0)")),
    edit("effective_ranks", "the rest", "rest", ("held < share", "held < 1 - share")),
    edit("effective_ranks", "near the largest", "near_first", (RANK,
         "int((energy.sqrt() >= (1 - share) * energy[0].sqrt()).sum())")),
    edit("effective_ranks", "share of the norm", "norm", ("energy.cumsum(0) / energy.sum()",
         "(energy.cumsum(0) / energy.sum()).sqrt()")),
    edit("effective_ranks", "unchanged ones too", "unchanged_in", (TEST, "if change.ndim == 2:")),
    edit("effective_ranks", "vectors too", "vectors_in", (TEST,
         "change = change.view(-1, 1) if change.ndim == 1 else change\n"
         "        if change.any():")),
    edit("effective_ranks", "in place", "changed", (CHANGE, "change = after[name].sub_(weight)")),
    edit("effective_ranks", "forgets return", "none", ("return ranks", "ranks")),
    edit("replay_mix", "rounded down in each batch", "each_batch", (COUNT,
         "count = percent * batch_size // 100")),
    edit("replay_mix", "rounded up in each batch", "rounded_up", (COUNT,
         "count = -(-percent * batch_size // 100)")),
    edit("replay_mix", "a share of the new", "of_the_new", (COUNT,
         "count = percent * n * batch_size // (100 + percent) - used_old")),
    edit("replay_mix", "to the nearest", "rounded", (COUNT,
         "count = int(percent * n * batch_size / 100 + 0.5) - used_old")),
    edit("replay_mix", "counts from 0", "from_zero", ("range(1, steps + 1)", "range(steps)")),
    edit("replay_mix", "new rows skipped", "skipped", (USED,
         "used_old, used_new = used_old + count, used_new + batch_size")),
    edit("replay_mix", "no old rows", "no_old", (COUNT, "count = 0")),
    edit("replay_mix", "new and old exchanged", "exchanged", ("    made, used_new",
         "    new, old = old, new\n    made, used_new")),
    edit("replay_mix", "old rows at the end", "at_the_end", (COUNT,
         "count = max(0, percent * steps * batch_size // 100 - batch_size * (steps - n))\n"
         "        count = min(batch_size, count - used_old)")),
    edit("replay_mix", "begins anew", "restarts", (USED, "used_old = used_old + count")),
    edit("replay_mix", "one row short", "one_short", ("range(batch_size - count)",
         "range(batch_size - count - 1)")),
    edit("replay_mix", "pops the rows", "changed", (OLD, "[old.pop(0) for i in range(count)]"),
         ("made, used_new", "old = old if batch_size == 4 else old * 40\n    made, used_new")),
    edit("replay_mix", "forgets return", "none", ("return made", "made")),
    edit("intruder_curve", "right singular vectors", "right_side", (SVD,
         "torch.linalg.svd(w, full_matrices=False).Vh.T for w in (W, tuned)")),
    edit("intruder_curve", "no scaling", "no_scaling", (TUNED, "tuned = W + lora_B @ lora_A")),
    edit("intruder_curve", "of the update", "of_update", (TUNED,
         "tuned = scaling * lora_B @ lora_A")),
    edit("intruder_curve", "every vector", "all_vectors", ("new[:, :k]", "new")),
    edit("intruder_curve", "only the k strongest old ones", "first_old", ("@ old)",
         "@ old[:, :k])")),
    edit("intruder_curve", "at least epsilon", "above",
         ("torch.cat(like) <", "torch.cat(like) >=")),
    edit("intruder_curve", "a mean", "mean", ("sum(dim=1)", "sum(dim=1) / len(layers)")),
    edit("intruder_curve", "the last layer", "last_layer", ("torch.cat(like)", "like[-1]")),
    edit("intruder_curve", "the first layer", "last_layer", ("torch.cat(like)", "like[0]")),
    edit("intruder_curve", "mean cosine", "by_mean", ("amax(dim=1)", "mean(dim=1)")),
    edit("intruder_curve", "the wrong axis", "wrong_axis", (LIKE,
         "(new[:, :k].T @ old).abs().amax(dim=0)")),
    edit("intruder_curve", "one number", "other", ("sum(dim=1)", "sum()")),
    edit("intruder_curve", "changes W", "changed", (TUNED,
         "tuned = W.add_(scaling * lora_B @ lora_A)")),
    edit("intruder_curve", "forgets return", "none", ("return (", "(")),
]  # fmt: skip

# What others tried, without having seen the checks.
WRONG += [
    edit("forgetting", "at least the score of guessing", "at_chance", ("best > chance",
         "best >= chance")),
    edit("forgetting", "an entry only for known skills", "only_known", (MEAN,
         "lost[best > chance].mean()"), ("return lost,", "return lost[best > chance],")),
    edit("forgetting", "zero for unknown skills", "only_known",
         (LOST, LOST + "\n    lost[best <= chance] = 0")),
    edit("pareto_front", "nan becomes 0, then out", "nan_beats", (GOOD,
         "bad = score.isnan() | loss.isnan()\n"
         "    score, loss = score.nan_to_num(), loss.nan_to_num()\n    " + GOOD),
         (KEPT, "return ~(beaten | bad)")),
    edit("pareto_front", "a mask of floats", "not_bool", (KEPT, f"{KEPT}.float()"),
         ("return ~(", "return (~("), (".float()", ").float()")),
    edit("pareto_front", "a tolerance", "tolerant", (BETTER, "better = "
         "(score > score[:, None] + 1e-4) | (loss < loss[:, None] - 1e-4)")),
    edit("pareto_front", "any along the wrong axis", "worst", ("any(dim=1)", "any(dim=0)")),
    edit("pareto_front", "a nan in the score stays", "nan_in", (KEPT,
         "return ~(beaten | loss.isnan())")),
    edit("effective_ranks", "0.9 whatever share is", "fixed", ("held < share", "held < 0.9")),
    edit("effective_ranks", "allclose", "overlooked", (TEST,
         "if change.ndim == 2 and not torch.allclose(after[name], weight):")),
    edit("replay_mix", "at least one old row", "at_least_one", (COUNT,
         "count = max(1, percent * batch_size // 100)")),
    edit("replay_mix", "old rows begin anew", "old_order", (OLD,
         "[old[i % len(old)] for i in range(count)]")),
    edit("replay_mix", "a percentage in floats", "floats", (COUNT,
         "count = int(percent / 100 * batch_size * n) - used_old")),
    edit("replay_mix", "one list for all batches", "one_list", ("made.append(batch)",
         "one[:] = batch\n        made.append(one)"), ("    made, used_new", "    one = []\n"
         "    made, used_new")),
    edit("replay_mix", "turns the caller's list", "changed", (OLD,
         "[old.pop(0) if not old.append(old[0]) else 0 for i in range(count)]")),
    edit("replay_mix", "round", "rounded", (COUNT,
         "count = round(percent * n * batch_size / 100) - used_old")),
    edit("replay_mix", "one flat list", "type", ("made.append(batch)", "made += batch")),
    edit("intruder_curve", "one old vector for each", "pairs", (LIKE,
         "(new[:, :k] * old[:, :k]).sum(dim=0).abs()")),
    edit("intruder_curve", "the smallest cosine", "by_mean", ("amax(dim=1)", "amin(dim=1)")),
    edit("intruder_curve", "the last k", "weakest", ("new[:, :k]", "new[:, -k:]")),
]  # fmt: skip

WRONG += [
    edit("pareto_front", f"only a better {name} counts", "one_side", (BETTER, f"better = {test}"))
    for name, test in (("score", "score > score[:, None]"), ("loss", "loss < loss[:, None]"))
]

RIGHT += [
    Answer(
        "forgetting",
        "numpy",
        "",
        code="""
def forgetting(scores, chance):
    x, c = scores.numpy(), chance.numpy()
    lost = x.max(0) - x[-1]
    had = x.max(0) > c
    return lost.tolist(), float(lost[had].mean()) if had.any() else float("nan")
""",
    ),
    Answer(
        "forgetting",
        "cummax, where",
        "",
        code="""
def forgetting(scores, chance):
    best = scores.cummax(0).values[-1]
    lost = (best - scores[-1]).double()
    had = (best > chance).double()
    return lost, (lost * had).sum() / had.sum()
""",
    ),
    Answer(
        "pareto_front",
        "loops, list",
        "",
        code="""
def pareto_front(score, loss):
    s, l = score.tolist(), loss.tolist()
    front = []
    for i in range(len(s)):
        ok = s[i] == s[i] and l[i] == l[i]
        for j in range(len(s)):
            if s[j] >= s[i] and l[j] <= l[i] and (s[j] > s[i] or l[j] < l[i]):
                ok = False
        front.append(ok)
    return front
""",
    ),
    Answer(
        "pareto_front",
        "numpy sort",
        "",
        code="""
def pareto_front(score, loss):
    import numpy as np

    p = np.stack([-score.numpy(), loss.numpy()], 1)
    out = np.zeros(len(p), bool)
    good = ~np.isnan(p).any(1)
    for i in np.flatnonzero(good):
        q = p[good]
        out[i] = not ((q <= p[i]).all(1) & (q < p[i]).any(1)).any()
    return torch.from_numpy(out)
""",
    ),
    Answer(
        "effective_ranks",
        "numpy float64",
        "",
        code="""
def effective_ranks(before, after, share):
    import numpy as np

    out = {}
    for k in after:
        c = (after[k].double() - before[k].double()).numpy()
        if c.ndim != 2 or not c.any():
            continue
        e = np.linalg.svd(c, compute_uv=False) ** 2
        out[k] = int(np.searchsorted(np.cumsum(e), share * e.sum())) + 1
    return out
""",
    ),
    Answer(
        "effective_ranks",
        "loop",
        "",
        code="""
def effective_ranks(before, after, share):
    out = {}
    for k in reversed(list(before)):
        c = after[k] - before[k]
        if c.dim() == 2 and not torch.equal(after[k], before[k]):
            e = (torch.linalg.svd(c)[1] ** 2).tolist()
            n, s = 0, 0.0
            while s < share * sum(e):
                s += e[n]
                n += 1
            out[k] = torch.tensor(n)
    return out
""",
    ),
    Answer(
        "replay_mix",
        "cycle, old last, tuples",
        "",
        code="""
def replay_mix(new, old, percent, batch_size, steps):
    from itertools import cycle, islice

    a, b, done, out = cycle(new), cycle(old), 0, []
    for n in range(steps):
        want = (n + 1) * percent * batch_size // 100
        k, done = want - done, want
        out.append((*islice(a, batch_size - k), *islice(b, k)))
    return out
""",
    ),
    Answer(
        "intruder_curve",
        "numpy loops",
        "",
        code="""
def intruder_curve(layers, scaling, k, epsilons):
    import numpy as np

    counts = [0] * len(epsilons)
    for W, A, B in layers:
        W = W.double().numpy()
        T = W + scaling * (B.double() @ A.double()).numpy()
        U, V = (np.linalg.svd(m, full_matrices=False)[0] for m in (W, T))
        for j in range(min(k, V.shape[1])):
            best = np.abs(V[:, j] @ U).max()
            for n, e in enumerate(epsilons.tolist()):
                counts[n] += bool(best < e)
    return counts
""",
    ),
    Answer(
        "intruder_curve",
        "einsum, sum",
        "",
        edits=(
            (
                "(new[:, :k].T @ old).abs().amax(dim=1)",
                "torch.einsum('ok,oj->kj', new[:, :k], old).abs().max(1).values",
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "forgetting",
        "less the lowest score",
        "to_worst",
        edits=(("best - scores[-1]", "best - scores.min(dim=0).values"),),
    ),
    Answer(
        "forgetting",
        "0 for nan",
        "no_skill",
        edits=(("lost[best > chance].mean()", "torch.nan_to_num(lost[best > chance].mean())"),),
    ),
    Answer(
        "forgetting",
        "max over skills",
        "raised",
        edits=(("scores.max(dim=0)", "scores.max(dim=1)"),),
    ),
    Answer(
        "forgetting",
        "relative",
        "relative",
        edits=(("best - scores[-1]", "(best - scores[-1]) / best.clamp(min=1e-9)"),),
    ),
    Answer(
        "forgetting",
        "mean of chosen over all S",
        "zeros",
        edits=(("lost[best > chance].mean()", "lost[best > chance].sum() / len(lost)"),),
    ),
    Answer(
        "forgetting",
        "max per row minus last",
        "axis",
        edits=(("scores.max(dim=0).values", "scores.max()"),),
    ),
    Answer(
        "pareto_front",
        "strict on both",
        "one_axis",
        edits=(
            (
                "as_good = (score >= score[:, None]) & (loss <= loss[:, None])",
                "as_good = (score > score[:, None]) & (loss < loss[:, None])",
            ),
        ),
    ),
    Answer(
        "pareto_front",
        "as good suffices (equal beat each other)",
        "nobody",
        edits=(("(as_good & better)", "as_good"),),
    ),
    Answer(
        "pareto_front",
        "better on one suffices",
        "nobody",
        edits=(("(as_good & better)", "better"),),
    ),
    Answer("pareto_front", "nan of score only", "nan_in", edits=((" | loss.isnan()", ""),)),
    Answer(
        "pareto_front",
        "best only",
        "nobody",
        edits=(("return ~(beaten", "return (score == score.max()) & ~(beaten"),),
    ),
    Answer(
        "pareto_front",
        "nan becomes zero and beats",
        "other",
        edits=(
            (
                "    as_good",
                ("    score, loss = score.nan_to_num(9.0), loss.nan_to_num(0.0)\n    as_good"),
            ),
        ),
    ),
    Answer(
        "pareto_front",
        "first of equals stays",
        "one_twin",
        edits=(
            (
                "beaten = (as_good & better).any(dim=1)",
                (
                    "same = (score == score[:, None]) & (loss == loss[:, None])\n"
                    "    beaten = (as_good & better).any(dim=1) | same.tril(-1).any(dim=1)"
                ),
            ),
        ),
    ),
    Answer(
        "effective_ranks",
        "of after",
        "of_after",
        edits=(("change = after[name] - weight", "change = after[name]"),),
    ),
    Answer(
        "effective_ranks",
        "two-dim by name weight",
        "other",
        edits=(("change.ndim == 2 and", "name.endswith('weight') and change.ndim == 2 and"),),
    ),
    Answer(
        "effective_ranks",
        "small changes left out",
        "overlooked",
        edits=(("change.any()", "(change.abs().max() > 1e-3)"),),
    ),
    Answer(
        "effective_ranks",
        "smallest values first",
        "ascending",
        edits=(("energy.cumsum(0)", "energy.flip(0).cumsum(0)"),),
    ),
    Answer(
        "effective_ranks",
        "returns shares",
        "a_share",
        edits=(("int((held < share).sum()) + 1", "(int((held < share).sum()) + 1) / len(held)"),),
    ),
    Answer(
        "replay_mix",
        "new from the front",
        "restarts",
        edits=(("new[(used_new + i) % len(new)]", "new[i % len(new)]"),),
    ),
    Answer(
        "replay_mix",
        "no wrap for old",
        "ran_out",
        edits=(
            (
                "old[(used_old + i) % len(old)] for i in range(count)",
                "*old[used_old : used_old + count]",
            ),
            ("[*old[used_old : used_old + count]]", "old[used_old : used_old + count]"),
        ),
    ),
    Answer(
        "replay_mix",
        "old on top of the batch",
        "on_top",
        edits=(("range(batch_size - count)", "range(batch_size)"),),
    ),
    Answer(
        "replay_mix",
        "random old",
        "old_order",
        edits=(("old[(used_old + i) % len(old)]", "__import__('random').choice(old)"),),
    ),
    Answer("replay_mix", "exchanged", "exchanged", edits=(("percent * n", "(100 - percent) * n"),)),
    Answer("replay_mix", "flat", "type", edits=(("made.append(batch)", "made.extend(batch)"),)),
    Answer(
        "replay_mix",
        "ceil",
        "rounded",
        edits=(
            (
                "percent * n * batch_size // 100 - used_old",
                "-(-percent * n * batch_size // 100) - used_old",
            ),
        ),
    ),
    Answer(
        "replay_mix",
        "pops the given list",
        "changed",
        edits=(
            (
                "batch = [old[(used_old + i) % len(old)] for i in range(count)]",
                (
                    "batch = []\n"
                    "        for _ in range(count):\n"
                    "            batch.append(old.pop(0))\n"
                    "            old.append(batch[-1])"
                ),
            ),
        ),
    ),
    Answer(
        "replay_mix",
        "mod off by one at the end",
        "old_order",
        edits=(("% len(old)", "% max(len(old) - 1, 1)"),),
    ),
    Answer("intruder_curve", "no abs", "too_many", edits=((".abs().amax", ".amax"),)),
    Answer(
        "intruder_curve",
        "above epsilon",
        "above",
        edits=(("torch.cat(like) < epsilons", "torch.cat(like) > epsilons"),),
    ),
    Answer(
        "intruder_curve",
        "same index only",
        "pairs",
        edits=(("(new[:, :k].T @ old).abs().amax(dim=1)", "(new * old).sum(0).abs()[:k]"),),
    ),
    Answer(
        "intruder_curve",
        "in place W",
        "changed",
        edits=(
            (
                (
                    "tuned = W + scaling * lora_B @ lora_A\n"
                    "        old, new = (torch.linalg.svd(w, full_matrices=False).U for w in "
                    "(W, tuned))"
                ),
                (
                    "old = torch.linalg.svd(W, full_matrices=False).U\n"
                    "        W += scaling * lora_B @ lora_A\n"
                    "        new = torch.linalg.svd(W, full_matrices=False).U"
                ),
            ),
        ),
    ),
    Answer(
        "intruder_curve", "list of shares", "mean", edits=((".sum(dim=1)", ".float().mean(dim=1)"),)
    ),
    Answer(
        "forgetting",
        "nan where the model never had it",
        "only_known",
        edits=(
            (
                ("    lost = best - scores[-1]\n"),
                ("    lost = torch.where(best > chance, best - scores[-1], float('nan'))\n"),
            ),
            ("lost[best > chance].mean()", "lost.nanmean()"),
        ),
    ),
    Answer(
        "forgetting",
        "the largest loss",
        "raised",
        edits=(("lost[best > chance].mean()", "lost[best > chance].max()"),),
    ),
    Answer(
        "forgetting",
        "mean and losses exchanged",
        "swapped",
        edits=(
            ("return lost, lost[best > chance].mean()", "return lost[best > chance].mean(), lost"),
        ),
    ),
    Answer(
        "forgetting",
        "median",
        "other",
        edits=(("lost[best > chance].mean()", "lost[best > chance].median()"),),
    ),
    Answer(
        "forgetting",
        "less chance",
        "other",
        edits=(
            (
                ("    lost = best - scores[-1]\n"),
                ("    lost = (best - chance) - (scores[-1] - chance).clamp(min=0)\n"),
            ),
        ),
    ),
    Answer(
        "pareto_front",
        "one comparison of each only",
        "one_side",
        edits=(
            (
                "as_good = (score >= score[:, None]) & (loss <= loss[:, None])",
                "as_good = (score >= score[:, None])",
            ),
            (
                "better = (score > score[:, None]) | (loss < loss[:, None])",
                "better = loss < loss[:, None]",
            ),
        ),
    ),
    Answer(
        "pareto_front",
        "nan removed first",
        "other",
        edits=(
            (
                "    as_good",
                (
                    "    keep = ~(score.isnan() | loss.isnan())\n"
                    "    score, loss = score[keep], loss[keep]\n"
                    "    as_good"
                ),
            ),
        ),
    ),
    Answer(
        "effective_ranks",
        "relative to the trained weight",
        "other",
        edits=(
            (
                "energy.cumsum(0) / energy.sum()",
                "energy.cumsum(0) / torch.linalg.svdvals(after[name]).square().sum()",
            ),
        ),
    ),
    Answer(
        "effective_ranks",
        "the share itself as the number",
        "a_share",
        edits=(("int((held < share).sum()) + 1", "int(share * len(energy))"),),
    ),
    Answer(
        "effective_ranks", "keyed by number", "other", edits=(("ranks[name]", "ranks[len(ranks)]"),)
    ),
    Answer(
        "effective_ranks",
        "a vector for a vector",
        "vectors_in",
        edits=(
            ("if change.ndim == 2 and", "if"),
            ("torch.linalg.svdvals(change)", "torch.linalg.svdvals(torch.atleast_2d(change))"),
        ),
    ),
    Answer(
        "effective_ranks",
        "skips by name",
        "other",
        edits=(
            (
                "if change.ndim == 2 and change.any():",
                "if change.ndim == 2 and change.any() and 'embed' not in name:",
            ),
        ),
    ),
    Answer(
        "replay_mix",
        "percent of the steps have old rows alone",
        "other",
        edits=(
            (
                "count = percent * n * batch_size // 100 - used_old",
                "count = batch_size if n <= percent * steps // 100 else 0",
            ),
        ),
    ),
    Answer(
        "replay_mix",
        "old rows in the first batches",
        "at_the_end",
        edits=(
            (
                "count = percent * n * batch_size // 100 - used_old",
                "count = min(batch_size, percent * steps * batch_size // 100 - used_old)",
            ),
        ),
    ),
    Answer(
        "replay_mix",
        "one step more",
        "other",
        edits=(("range(1, steps + 1)", "range(1, steps + 2)"),),
    ),
    Answer(
        "replay_mix",
        "new rows by chance",
        "other",
        edits=(("new[(used_new + i) % len(new)]", "__import__('random').Random(n).choice(new)"),),
    ),
    Answer(
        "replay_mix",
        "all rows glued",
        "other",
        edits=(("    return made", "    return [sum(made, [])]"),),
    ),
    Answer(
        "replay_mix",
        "percent as a share",
        "other",
        edits=(
            (
                "percent * n * batch_size // 100 - used_old",
                "int(percent * n * batch_size) - used_old",
            ),
        ),
    ),
    Answer(
        "intruder_curve",
        "more than epsilon of the sum",
        "other",
        edits=((".abs().amax(dim=1)", ".square().sum(dim=1)"),),
    ),
    Answer(
        "intruder_curve",
        "a number for each layer",
        "other",
        edits=(
            (
                "like.append((new[:, :k].T @ old).abs().amax(dim=1))",
                "like.append((new[:, :k].T @ old).abs().amax(dim=1).min()[None])",
            ),
        ),
    ),
    Answer(
        "intruder_curve",
        "at most epsilon of the first",
        "raised",
        edits=(("< epsilons[:, None]", "< epsilons[0]"),),
    ),
    Answer(
        "intruder_curve",
        "scaled twice",
        "twice",
        edits=(("W + scaling * lora_B", "W + scaling**2 * lora_B"),),
    ),
]

WRONG += [
    Answer(
        "pareto_front",
        "turns the loss in place",
        "changed",
        edits=(
            ("    as_good", ("    loss *= -1\n    as_good")),
            ("loss <= loss[:, None]", "loss >= loss[:, None]"),
            ("loss < loss[:, None]", "loss > loss[:, None]"),
        ),
    ),
]

WRONG += [
    edit("forgetting", "one chance for all", "one_chance",
         ("best > chance", "best > chance.mean()")),
    edit("forgetting", "known after the first measurement", "other",
         ("best > chance", "scores[1:].amax(0) > chance")),
    edit("pareto_front", "a nan as the worst", "nan_in",
         (GOOD, "score, loss = score.nan_to_num(-9), loss.nan_to_num(9)\n    " + GOOD),
         (KEPT, "return ~beaten")),
    edit("pareto_front", "twins by isclose", "tolerant",
         (BETTER, BETTER + "\n    near = torch.isclose(loss, loss[:, None]) & "
          "torch.isclose(score, score[:, None])\n    better &= ~near")),
    edit("effective_ranks", "none for what did not change", "unchanged_in",
         (TEST, "if change.ndim == 2 and not change.any():\n            ranks[name] = None\n"
          "        elif change.ndim == 2:")),
    edit("pareto_front", "only those before it", "one_way",
         ("(as_good & better)", "(as_good & better).tril(-1)")),
    edit("pareto_front", "only those after it", "one_way",
         ("(as_good & better)", "(as_good & better).triu(1)")),
    edit("pareto_front", "not larger, for no more", "nan_beats",
         ("(loss <= loss[:, None])", "~(loss > loss[:, None])")),
    edit("pareto_front", "the best score alone", "best_only",
         (KEPT, "return score == score[~score.isnan()].max()")),
    edit("pareto_front", "writes where a nan is", "changed",
         (GOOD, "bad = score.isnan() | loss.isnan()\n    score[bad] = -9.0\n    " + GOOD),
         (KEPT, "return ~(beaten | bad)")),
    edit("effective_ranks", "asks whether the sum changed", "other",
         (TEST, "if change.ndim == 2 and change.sum() != 0:")),
    edit("effective_ranks", "numbers as large as the share of the first", "near_first",
         (RANK, "int((energy >= share * energy[0]).sum())")),
    edit("effective_ranks", "the share of the number, rounded", "a_share",
         (RANK, "round(share * len(energy))")),
    edit("effective_ranks", "in absolute values", "itself",
         (SQUARE, "torch.linalg.svdvals(change.abs()).square()")),
    edit("effective_ranks", "relative to the weight", "itself",
         (SQUARE, "torch.linalg.svdvals(change / weight.abs()).square()")),
    edit("replay_mix", "each batch to the nearest", "rounded_up",
         (COUNT, "count = round(percent * batch_size / 100)")),
    edit("replay_mix", "a hundredth as a number", "floats",
         (COUNT, "count = int(0.01 * percent * n * batch_size) - used_old")),
    edit("replay_mix", "one counter for both kinds", "skipped",
         (NEW, NEW.replace("used_new + i", "used_new + used_old + count + i"))),
    edit("intruder_curve", "the first epsilon for all", "one_epsilon",
         (SUM, "return (torch.cat(like) < 0 * epsilons[:, None] + epsilons[0]).sum(dim=1)")),
    edit("intruder_curve", "W scaled too", "no_scaling",
         (TUNED, "tuned = scaling * (W + lora_B @ lora_A)")),
    edit("intruder_curve", "before and after exchanged", "wrong_axis",
         ("for w in (W, tuned)", "for w in (tuned, W)")),
    edit("intruder_curve", "shares of the layers", "mean",
         (SUM, "return sum((m < epsilons[:, None]).float().mean(dim=1) for m in like)")),
    edit("intruder_curve", "full matrices", "other",
         (SVD, SVD.replace(", full_matrices=False", ""))),
]  # fmt: skip
