"""Right and wrong answers to the exercises of chapter 20."""

from tests.answers import Answer

OUT = "rows = [row for row in rows if tokens(row) <= limit and not wrong(row)]"
COLLECT = 'answers.setdefault(words_of(row["prompt"]), set()).add(words_of(row["completion"]))'
TESTED = 'seen = {words_of(row["prompt"]) for row in test}'
KEY = 'key = words_of(row["prompt"])'
STAYS = "if len(answers[key]) == 1 and key not in seen:"
HELD = "held = set(random.Random(seed).sample(reports, round(share * len(reports))))"
SORTED = 'reports = sorted({row["report"] for row in rows})'
TRAIN = 'train = [row for row in rows if row["report"] not in held]'
LATER = 'return train, [row for row in rows if row["report"] in held]'
FIT = """if min(run["old"]) >= keep and run["megabytes"] <= megabytes]"""
MEANS = 'means = [statistics.mean(run["validation"]) for run in runs]'
LEVEL = "level = means[best] - statistics.stdev(scores) / math.sqrt(len(scores))"
EQUAL = "equal = [n for n in fit if means[n] >= level]"
TAKE = 'return min(equal, key=lambda n: (runs[n]["megabytes"], -means[n]))'
FOUND = r'm := re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key)'
SCALING = 'scaling = config["lora_alpha"] / (math.sqrt(r) if config["use_rslora"] else r)'
OFF = "sums.append(bool(off <= 1e-3 * update.norm()))"
ONLY = "only = len(adapter) == sum(map(len, found.values()))"
EQUALS = (
    "equal = base.keys() == merged.keys() and all(torch.equal(base[n], merged[n]) for n in rest)"
)
GIVEN = "return only, all(pairs), all(places), all(sums), equal"
BASE = 'about.base_model == found["base"]'
NUMBER = 'return m is not None and int(m[1].replace(",", "")) == number'
RESULTS = (
    'results = [r.metric_value for r in about.eval_results or [] if r.dataset_split == "test"]'
)
CLOSE = 'any(abs(value - found["score"]) <= 0.0005 for value in results)'
ROWS = r'says(r"^Data: .*, ([\d,]+) rows\.$", found["rows"])'
RANK = r'says(r"^\| r \| (\d+) \|$", found["r"])'


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "clean",
        "with counters, from the last to the first",
        "",
        code="""
def clean(rows, test, tokens, limit, wrong):
    good = []
    for row in rows:
        row = as_row(row)
        if tokens(row) > limit or wrong(row):
            continue
        good.append((words_of(row["prompt"]), words_of(row["completion"]), row))
    pairs = {(p, c) for p, c, _ in good}
    prompts = [p for p, _ in pairs]
    asked = [words_of(row["prompt"]) for row in test]
    first = {}
    for n, (p, _, row) in reversed(list(enumerate(good))):
        if prompts.count(p) == 1 and p not in asked:
            first[p] = n
    return [good[n][2] for n in sorted(first.values())]
""",
    ),
    edit(
        "clean",
        "leaks before all",
        "",
        (
            OUT,
            'at = {words_of(r["prompt"]) for r in test}\n    '
            'rows = [r for r in rows if words_of(r["prompt"]) not in at]\n    ' + OUT,
        ),
    ),
    Answer(
        "split",
        "shuffled, as tuples",
        "",
        code="""
def split(rows, share, seed):
    names = list({r["report"]: None for r in rows})
    names.sort(reverse=True)
    random.Random(str(seed)).shuffle(names)
    cut = round(share * len(names))
    sides = ([], [])
    for row in rows:
        sides[row["report"] in names[:cut]].append(row)
    return sides
""",
    ),
    edit(
        "split",
        "with the one generator of all",
        "",
        (HELD, "random.seed(seed)\n    " + HELD.replace("random.Random(seed)", "random")),
    ),
    Answer(
        "split",
        "by a hash of the report",
        "",
        code="""
def split(rows, share, seed):
    import hashlib
    names = {r["report"] for r in rows}
    order = sorted(names, key=lambda n: hashlib.md5(f"{seed} {n}".encode()).hexdigest())
    held = order[: round(share * len(order))]
    return ([r for r in rows if r["report"] not in held],
            [dict(r) for r in rows if r["report"] in held])
""",
    ),
    Answer(
        "decide",
        "with numpy",
        "",
        code="""
def decide(runs, keep, megabytes):
    import numpy as np
    score = np.array([r["validation"] for r in runs])
    ok = np.array([np.min(r["old"]) >= keep and r["megabytes"] <= megabytes for r in runs])
    if not ok.any():
        raise ValueError("nothing fits")
    mean = np.where(ok, score.mean(1), -1)
    top = mean.argmax()
    level = mean[top] - score[top].std(ddof=1) / len(score[top]) ** 0.5
    left = [n for n in range(len(runs)) if ok[n] and mean[n] >= level]
    left.sort(key=lambda n: -mean[n])
    left.sort(key=lambda n: runs[n]["megabytes"])
    return left[0]
""",
    ),
    edit(
        "decide",
        "sum over count",
        "",
        (MEANS, 'means = [sum(run["validation"]) / len(run["validation"]) for run in runs]'),
    ),
    edit(
        "prove",
        "off in float64",
        "",
        (
            'off = (merged[f"{layer}.weight"] - weight - update).norm()',
            'off = (merged[f"{layer}.weight"].double() - weight.double() - update.double()).norm()',
        ),
    ),
    edit(
        "prove",
        "a list, and a looser thousandth",
        "",
        (GIVEN, "return [only, all(pairs), all(places), all(sums), equal]"),
        (OFF, "sums.append(bool(off < 2e-3 * update.norm()))"),
    ),
    edit(
        "true_card",
        "in float, with a margin",
        "",
        (CLOSE, ('any(abs(value - found["score"]) < 0.00051 for value in results)')),
    ),
    Answer(
        "true_card",
        "line by line",
        "",
        code="""
def true_card(text, found):
    about, lines = ModelCard(text).data.to_dict(), text.splitlines()
    card = ModelCard(text)
    scores = [r.metric_value for r in (card.data.eval_results or []) if r.dataset_split == "test"]
    rows = [l for l in lines if l.startswith("Data: ")][0].split(", ")[-1]
    asked = [l for l in lines if l.startswith("On ")][0].split()[1]
    return [
        about.get("base_model") == found["base"],
        rows == f"{found['rows']:,} rows.",
        f"| r | {found['r']} |" in lines,
        min([abs(score - found["score"]) for score in scores], default=1) < 6e-4,
        asked == format(found["test_rows"], ","),
    ]
""",
    ),
    Answer(
        "clean",
        "a table of prompts",
        "",
        code="""
def clean(rows, test, tokens, limit, wrong):
    asked = [words_of(row["prompt"]) for row in test]
    table = {}
    for row in (as_row(row) for row in rows):
        if not (wrong(row) or tokens(row) > limit):
            table.setdefault(words_of(row["prompt"]), []).append(row)
    return [
        same[0]
        for key, same in table.items()
        if key not in asked and len({words_of(row["completion"]) for row in same}) < 2
    ]
""",
    ),
    Answer(
        "split",
        "shuffles the sorted names",
        "",
        code="""
def split(rows, share, seed):
    names = sorted(set(row["report"] for row in rows))
    random.Random(seed).shuffle(names)
    later = names[: round(share * len(names))]
    sides = [], []
    for row in rows:
        sides[row["report"] in later].append(row)
    return sides
""",
    ),
    Answer(
        "decide",
        "sorts what may win",
        "",
        code="""
def decide(runs, keep, megabytes):
    may = []
    for n, run in enumerate(runs):
        if all(o >= keep for o in run["old"]) and not run["megabytes"] > megabytes:
            v = run["validation"]
            may.append((sum(v) / len(v), -run["megabytes"], n, v))
    if len(may) == 0:
        raise ValueError
    top = max(may)
    error = statistics.variance(top[3]) ** 0.5 / len(top[3]) ** 0.5
    level = [one for one in may if one[0] >= top[0] - error - 1e-12]
    level.sort(key=lambda one: (one[1], one[0]))
    return level[-1][2]
""",
    ),
    Answer(
        "prove",
        "layer by layer from the names",
        "",
        code="""
def prove(config, adapter, base, merged):
    r, a = config["r"], config["lora_alpha"]
    s = a / r**0.5 if config["use_rslora"] else a / r
    start, ends = "base_model.model.", (".lora_A.weight", ".lora_B.weight")
    names = [k for k in adapter if k.startswith(start) and k.endswith(ends)]
    layers = {k[len(start) : -len(ends[0])] for k in names}
    ok = [len(names) == len(adapter), True, True, True, set(base) == set(merged)]
    for layer in layers:
        A, B = (adapter.get(start + layer + end) for end in ends)
        W = base.get(layer + ".weight")
        if A is None or B is None or A.shape[0] != r or B.shape[1] != r:
            ok[1] = False
        good = W is not None
        if good and A is not None:
            good = A.shape[1] == W.shape[1]
        if good and B is not None:
            good = B.shape[0] == W.shape[0]
        if not good:
            ok[2] = False
        elif A is not None and B is not None and A.shape[0] == B.shape[1]:
            D = (B.double() @ A.double()) * s
            off = torch.linalg.norm(merged[layer + ".weight"].double() - W.double() - D)
            ok[3] = ok[3] and off.item() <= D.norm().item() / 1000
    for k in base:
        if k.removesuffix(".weight") not in layers or not k.endswith(".weight"):
            ok[4] = ok[4] and k in merged and bool((base[k] == merged[k]).all())
    return ok
""",
    ),
    Answer(
        "true_card",
        "one pattern each, with digits stripped",
        "",
        code=r"""
def true_card(text, found):
    d = ModelCard(text).data
    digits = lambda s: int("".join(c for c in s if c.isdigit()))
    data = [l for l in text.splitlines() if l.startswith("Data: ")]
    asked = re.findall(r"^On (\S+) rows of the test split", text, re.M)
    ranks = re.findall(r"^\| r \| (\S+) \|", text, re.M)
    scores = [r.metric_value for r in d.eval_results or [] if r.dataset_split == "test"]
    return [
        d.base_model == found["base"],
        any(digits(l.rsplit(", ", 1)[1]) == found["rows"] for l in data),
        str(found["r"]) in ranks,
        any(round(abs(s - found["score"]), 6) <= 0.0005 for s in scores),
        [digits(a) for a in asked] == [found["test_rows"]],
    ]
""",
    ),
]

WRONG = [
    # 20.1
    edit(
        "clean",
        "prompts by their letters",
        "by_letters",
        (COLLECT, COLLECT.replace('words_of(row["prompt"])', 'row["prompt"]')),
        (KEY, 'key = row["prompt"]'),
        (STAYS, "if len(answers[key]) == 1 and key not in seen and words_of(key) not in at:"),
        (TESTED, 'at, seen = {words_of(row["prompt"]) for row in test}, set()'),
    ),
    edit(
        "clean",
        "leaks by their letters",
        "leak_letters",
        (TESTED, 'at, seen = {row["prompt"] for row in test}, set()'),
        (STAYS, "if len(answers[key]) == 1 and key not in seen and row['prompt'] not in at:"),
    ),
    edit("clean", "forgets the test", "leaks_stay", (TESTED, "seen = set()")),
    edit("clean", "forgets copies", "copies_stay", ("            seen.add(key)\n", "")),
    edit(
        "clean",
        "copies first",
        "copies_first",
        (
            "    rows = [row for row in rows if",
            "    once = {}\n    for row in rows:\n"
            '        once.setdefault(words_of(row["prompt"]), row)\n'
            "    everybody = [r for r in rows if tokens(r) <= limit and not wrong(r)]\n"
            "    rows = [*once.values()]\n    rows = [row for row in rows if",
        ),
        ("    for row in rows:\n        answers", "    for row in everybody:\n        answers"),
    ),
    edit(
        "clean",
        "the last of several copies",
        "last_stays",
        ("    for row in rows:\n        key", "    for row in reversed(rows):\n        key"),
        ("return kept", "return kept[::-1]"),
    ),
    edit("clean", "the first answer of two", "first_answer", (STAYS, "if key not in seen:")),
    edit(
        "clean",
        "wrong rows contradict",
        "wrong_answers_count",
        (OUT, "everybody = rows\n    " + OUT),
        ("    for row in rows:\n        answers", "    for row in everybody:\n        answers"),
    ),
    edit(
        "clean",
        "answers by their letters",
        "answer_letters",
        (COLLECT, COLLECT.replace('words_of(row["completion"])', 'row["completion"]')),
    ),
    edit("clean", "the limit itself is too long", "at_limit", ("<= limit", "< limit")),
    edit("clean", "no limit", "long_stay", ("tokens(row) <= limit and ", "")),
    edit("clean", "keeps wrong rows", "wrong_stay", (" and not wrong(row)", "")),
    edit(
        "clean",
        "one more key",
        "other_keys",
        ("kept.append(row)", 'kept.append({**row, "key": key})'),
    ),
    edit(
        "clean",
        "a space before the answer",
        "spaces",
        ("kept.append(row)", 'kept.append({**row, "completion": " " + row["completion"]})'),
    ),
    edit(
        "clean",
        "normal texts come back",
        "rewritten",
        ("kept.append(row)", 'kept.append({**row, "prompt": key})'),
    ),
    edit("clean", "as a set of prompts", "type", ("return kept", "return set(map(str, kept))")),
    # 20.2
    edit(
        "split",
        "rows drawn",
        "by_rows",
        (HELD, "held = random.Random(seed).sample(rows, round(share * len(rows)))"),
        (TRAIN, "train = [row for row in rows if row not in held]"),
        (LATER, "return train, [row for row in rows if row in held]"),
    ),
    edit(
        "split",
        "swapped",
        "swapped",
        (
            LATER,
            LATER.replace(
                'train, [row for row in rows if row["report"] in held]',
                '[row for row in rows if row["report"] in held], train',
            ),
        ),
    ),
    edit(
        "split",
        "not sorted",
        "order",
        (SORTED, 'reports = list({row["report"]: 0 for row in rows})'),
    ),
    edit(
        "split",
        "the first ones",
        "first_ones",
        (SORTED, 'reports = list({row["report"]: 0 for row in rows})'),
        (HELD, "held = reports[: round(share * len(reports))]"),
    ),
    edit("split", "always seed 0", "seed_ignored", ("Random(seed)", "Random(0)")),
    edit(
        "split",
        "until enough rows",
        "counts_rows",
        (
            HELD,
            "random.Random(seed).shuffle(reports)\n    held, count = set(), 0\n"
            "    for name in reports:\n        if count >= share * len(rows):\n            break\n"
            '        held.add(name)\n        count += sum(r["report"] == name for r in rows)',
        ),
    ),
    edit(
        "split",
        "sides sorted",
        "reordered",
        (
            TRAIN,
            'train = sorted((r for r in rows if r["report"] not in held), '
            'key=lambda r: r["report"])',
        ),
    ),
    edit(
        "split",
        "at least one",
        "at_least_one",
        ("round(share", "max(1, round(share"),
        ("len(reports))", "len(reports)))"),
    ),
    edit(
        "split",
        "at least one row, as a part of a report",
        "at_least_one",
        ("round(share * len(reports))", "round(share * len(reports)) or 1"),
    ),
    edit("split", "names in small letters", "letters", ('row["report"]', 'row["report"].lower()')),
    edit("split", "loses rows", "other", (LATER, "return train[1:], train[:0]")),
    edit("split", "a dict", "type", (LATER, LATER.replace("return train,", "return train, 1,"))),
    # 20.3
    edit("decide", "mean of old", "old_mean", ('min(run["old"])', 'statistics.mean(run["old"])')),
    edit("decide", "forgets old", "any_old", ('min(run["old"]) >= keep and ', "")),
    edit("decide", "forgets the size", "any_size", (' and run["megabytes"] <= megabytes', "")),
    edit("decide", "the best mean", "no_noise", (TAKE, "return best")),
    edit(
        "decide",
        "standard deviation",
        "std",
        (LEVEL, LEVEL.replace(" / math.sqrt(len(scores))", "")),
    ),
    edit("decide", "population", "whole_std", ("stdev(", "pstdev(")),
    edit("decide", "smallest of all", "smallest", (EQUAL, "equal = fit")),
    edit(
        "decide",
        "best of all runs",
        "filter_late",
        ("best = max(fit,", "best = max(range(len(runs)),"),
    ),
    edit(
        "decide",
        "first of the small ones",
        "tie",
        (TAKE, 'return min(equal, key=lambda n: runs[n]["megabytes"])'),
    ),
    edit("decide", "by the test", "test", (MEANS, 'means = [run["test"] for run in runs]')),
    edit("decide", "file below the limit", "best_missed", ("<= megabytes", "< megabytes")),
    edit("decide", "median", "median", ("statistics.mean(run", "statistics.median(run")),
    edit(
        "decide",
        "None when nothing fits",
        "no_winner",
        (
            'raise ValueError(f"No run keeps {keep:.0%} in a file of {megabytes} MB.")',
            "return None",
        ),
    ),
    edit("decide", "the run itself", "type", ("return min(", "return runs[0] or min(")),
    # 20.4
    edit(
        "prove",
        "lora_ somewhere in the name",
        "whole_name",
        (ONLY, 'only = all("lora_" in key for key in adapter)'),
    ),
    edit(
        "prove",
        "without the point",
        "part_of_a_name",
        (ONLY, 'only = all(key.endswith(("lora_A.weight", "lora_B.weight")) for key in adapter)'),
    ),
    edit(
        "prove",
        "ignores r",
        "any_rank",
        ('pairs += [len(pair["A"]) == r] if "A" in pair else []', "pass"),
        ('pairs += [pair["B"].shape[1] == r] if "B" in pair else []', "pass"),
    ),
    edit(
        "prove",
        "torn pairs pass",
        "any_pair",
        ('pairs.append("A" in pair and "B" in pair)', "pass"),
    ),
    edit(
        "prove",
        "names without widths",
        "names",
        ("places.append(fits)", "places.append(weight is not None)"),
    ),
    edit(
        "prove", "alpha / r always", "plain_scale", (SCALING, 'scaling = config["lora_alpha"] / r')
    ),
    edit("prove", "a thousandth, of nothing", "loose", (OFF, "sums.append(bool(off <= 1e-3))")),
    edit("prove", "off by five percent", "loose", (OFF, OFF.replace("1e-3", "5e-2"))),
    edit("prove", "one layer is enough", "any_layer", ("all(sums), equal", "any(sums), equal")),
    edit("prove", "always merged", "always", ("all(sums), equal", "True, equal")),
    edit(
        "prove",
        "names not compared",
        "names_forgotten",
        (EQUALS, "equal = all(torch.equal(base[n], merged[n]) for n in rest & merged.keys())"),
    ),
    edit(
        "prove",
        "a name more passes",
        "names_forgotten",
        ("base.keys() == merged.keys()", "base.keys() <= merged.keys()"),
    ),
    edit(
        "prove",
        "values not compared",
        "values_forgotten",
        (EQUALS, "equal = base.keys() == merged.keys()"),
    ),
    edit(
        "prove",
        "nearly equal",
        "near",
        ("torch.equal(base[n], merged[n])", "torch.allclose(base[n], merged[n], atol=4e-3)"),
    ),
    edit(
        "prove",
        "adapted layers too",
        "whole_model",
        ('rest = base.keys() - {f"{layer}.weight" for layer in found}', "rest = base.keys()"),
    ),
    edit("prove", "four answers", "type", (GIVEN, GIVEN.replace(", equal", ""))),
    # 20.5
    edit("true_card", "the name anywhere", "prose", (BASE, 'found["base"] in text')),
    edit("true_card", "any base", "any_base", (BASE, "bool(about.base_model)")),
    edit(
        "true_card",
        "commas stop it",
        "comma",
        (NUMBER, "return m is not None and m[1] == str(number)"),
    ),
    edit(
        "true_card",
        "the number anywhere",
        "any_number",
        (ROWS, "f\"{found['rows']:,} rows\" in text"),
    ),
    edit(
        "true_card",
        "any row with r",
        "other_setting",
        (RANK, r'bool(re.search(r"r \| %d \|" % found["r"], text))'),
    ),
    edit(
        "true_card",
        "any row that ends so",
        "other_setting",
        (RANK, r'bool(re.search(r"\| %d \|" % found["r"], text))'),
    ),
    edit("true_card", "first digits", "first_digits", (RANK, "f\"| r | {found['r']}\" in text")),
    edit(
        "true_card",
        "any split",
        "any_split",
        (RESULTS, RESULTS.replace(' if r.dataset_split == "test"', "")),
        (
            CLOSE,
            'any(abs(v - found["score"]) <= 0.0005 or abs(v + 0.1 - found["score"]) <= 0.0005 '
            "for v in results)",
        ),
    ),
    edit(
        "true_card",
        "the first result",
        "first_result",
        (
            CLOSE,
            'bool(about.eval_results) and about.eval_results[0].dataset_split == "test" and '
            'abs(about.eval_results[0].metric_value - found["score"]) <= 0.0005',
        ),
    ),
    edit(
        "true_card",
        "the first result, whatever its split",
        "any_split",
        (RESULTS, "results = [r.metric_value for r in about.eval_results or []][:1]"),
    ),
    edit(
        "true_card",
        "the first result of the test",
        "first_result",
        (CLOSE, CLOSE.replace("in results", "in results[:1]")),
    ),
    edit(
        "true_card",
        "the last result of the test",
        "first_result",
        (CLOSE, CLOSE.replace("in results", "in results[-1:]")),
    ),
    edit(
        "true_card",
        "the results as a dict by split",
        "first_result",
        (
            RESULTS,
            "by = {r.dataset_split: r.metric_value for r in about.eval_results or []}\n"
            '    results = [by["test"]] if "test" in by else []',
        ),
    ),
    edit(
        "true_card",
        "the end of the base's name",
        "part_of_base",
        (BASE, '(about.base_model or "").endswith(found["base"])'),
    ),
    edit(
        "true_card",
        "the start of the base's name",
        "part_of_base",
        (BASE, '(about.base_model or "").startswith(found["base"])'),
    ),
    edit(
        "true_card",
        "the base within the name",
        "part_of_base",
        (BASE, 'found["base"] in (about.base_model or "")'),
    ),
    edit(
        "true_card",
        "the name within the base",
        "part_of_base",
        (BASE, 'bool(about.base_model) and about.base_model in found["base"]'),
    ),
    edit(
        "true_card",
        "the last result",
        "first_result",
        (
            CLOSE,
            'bool(about.eval_results) and about.eval_results[-1].dataset_split == "test" and '
            'abs(about.eval_results[-1].metric_value - found["score"]) <= 0.0005',
        ),
    ),
    edit(
        "true_card",
        "equal to the bit",
        "to_the_bit",
        (CLOSE, 'any(value == found["score"] for value in results)'),
    ),
    edit("true_card", "to a percent", "loose_score", (CLOSE, CLOSE.replace("0.0005", "0.01"))),
    edit("true_card", "any test result", "has_result", (CLOSE, "bool(results)")),
    edit("true_card", "four answers", "type", ("        " + BASE + ",\n", "")),
    edit(
        "prove",
        "the height of B not compared",
        "names",
        ('        fits = fits and ("B" not in pair or len(pair["B"]) == len(weight))\n', ""),
        (
            "if fits and len(pair) == 2",
            "if fits and len(pair) == 2 and len(pair['B']) == len(weight)",
        ),
    ),
    edit(
        "prove",
        "the whole layer left out",
        "near",
        (
            '{f"{layer}.weight" for layer in found}',
            '{n for n in base for layer in found if n.startswith(layer + ".")}',
        ),
    ),
]

RIGHT += [
    Answer(
        "clean",
        "streaming, removes on contradiction",
        "",
        code="""
def clean(rows, test, tokens, limit, wrong):
    seen, kept = {}, []
    asked = {words_of(row["prompt"]) for row in test}
    for row in map(as_row, rows):
        if tokens(row) > limit or wrong(row):
            continue
        key, said = words_of(row["prompt"]), words_of(row["completion"])
        if key in asked or key in seen:
            if key in seen and seen[key] != said:
                kept = [k for k in kept if words_of(k["prompt"]) != key]
            continue
        seen[key] = said
        kept.append(row)
    return kept
""",
    ),
    Answer(
        "clean",
        "test's answers counted too",
        "",
        edits=(
            (
                ("    for row in rows:\n        key"),
                (
                    "    for row in test:\n"
                    "        answers.setdefault(words_of(row['prompt']), "
                    "set()).add(words_of(row['completion']))\n"
                    "    for row in rows:\n"
                    "        key"
                ),
            ),
        ),
    ),
    Answer(
        "clean",
        "dict comprehension in passes",
        "",
        code="""
def clean(rows, test, tokens, limit, wrong):
    from collections import defaultdict

    good = tuple(filter(lambda row: not (wrong(row) or tokens(row) > limit), map(as_row, rows)))
    by = defaultdict(list)
    for row in good:
        by[words_of(row["prompt"])].append(row)
    asked = frozenset(words_of(row["prompt"]) for row in test)
    return [
        same[0]
        for key, same in by.items()
        if key not in asked and len({words_of(row["completion"]) for row in same}) == 1
    ]
""",
    ),
    Answer(
        "clean",
        "leaks first, keyword use, tuple back",
        "",
        code="""
def clean(rows, test, tokens, limit, wrong):
    asked = [words_of(t["prompt"]) for t in test]
    one = [as_row(row) for row in rows]
    one = [row for row in one if words_of(row["prompt"]) not in asked]
    one = (
        [row for row in one if not wrong(row=row) if not tokens(row=row) > limit]
        if False
        else [row for row in one if not wrong(row) if not tokens(row) > limit]
    )
    kept = []
    for i, row in enumerate(one):
        same = [other for other in one if words_of(other["prompt"]) == words_of(row["prompt"])]
        if any(words_of(o["completion"]) != words_of(row["completion"]) for o in same):
            continue
        if same[0] is row:
            kept += [dict(completion=row["completion"], prompt=row["prompt"])]
    return kept
""",
    ),
    Answer("clean", "a tuple", "", edits=(("    return kept", "    return tuple(kept)"),)),
    Answer(
        "decide",
        "numpy integer",
        "",
        code="""
import numpy as np


def decide(runs, keep, megabytes):
    mean = np.array([np.mean(run["validation"]) for run in runs])
    size = np.array([run["megabytes"] for run in runs])
    may = np.array([all(o >= keep for o in run["old"]) for run in runs]) & (size <= megabytes)
    if not may.any():
        raise ValueError("none")
    best = np.argmax(np.where(may, mean, -1))
    v = runs[best]["validation"]
    bar = mean[best] - np.std(v, ddof=1) / len(v) ** 0.5
    level = np.flatnonzero(may & (mean >= bar))
    return level[np.lexsort((-mean[level], size[level]))[0]]
""",
    ),
    Answer(
        "decide",
        "torch",
        "",
        code="""
def decide(runs, keep, megabytes):
    ok = [
        i
        for i, run in enumerate(runs)
        if not any(o < keep for o in run["old"]) and not run["megabytes"] > megabytes
    ]
    if len(ok) == 0:
        raise ValueError
    m = {i: torch.tensor(runs[i]["validation"], dtype=torch.float64).mean() for i in ok}
    s = {i: torch.tensor(runs[i]["validation"], dtype=torch.float64).std() for i in ok}
    best = sorted(ok, key=lambda i: m[i])[-1]
    bar = m[best] - s[best] * len(runs[best]["validation"]) ** -0.5
    level = [i for i in ok if m[i] >= bar]
    small = min(runs[i]["megabytes"] for i in level)
    return torch.tensor(
        max((i for i in level if runs[i]["megabytes"] == small), key=lambda i: m[i])
    )
""",
    ),
    Answer(
        "decide",
        "sum / n, sqrt of sums",
        "",
        code="""
def decide(runs, keep, megabytes):
    def mean(x):
        return sum(x) / len(x)

    fit = []
    for i in range(len(runs)):
        if sum(o < keep for o in runs[i]["old"]) == 0 and runs[i]["megabytes"] <= megabytes:
            fit.append((mean(runs[i]["validation"]), i))
    if not fit:
        raise ValueError("no run may win")
    top, best = max(fit)
    v = runs[best]["validation"]
    se = (sum((x - top) ** 2 for x in v) / (len(v) - 1) / len(v)) ** 0.5
    return min((runs[i]["megabytes"], -m, i) for m, i in fit if m >= top - se)[2]
""",
    ),
    Answer(
        "prove",
        "dtype not: == all",
        "",
        edits=(("torch.equal(base[n], merged[n])", "bool((base[n] == merged[n]).all())"),),
    ),
    Answer(
        "prove",
        "list of tensors",
        "",
        edits=(
            (
                "return only, all(pairs), all(places), all(sums), equal",
                (
                    "return [torch.tensor(x) for x in (only, all(pairs), all(places), "
                    "all(sums), equal)]"
                ),
            ),
        ),
    ),
    Answer(
        "prove",
        "float64",
        "",
        edits=(
            (
                'update = scaling * pair["B"] @ pair["A"]',
                'update = scaling * pair["B"].double() @ pair["A"].double()',
            ),
        ),
    ),
    Answer(
        "prove",
        "numpy, plain text handling",
        "",
        code="""
def prove(config, adapter, base, merged):
    import numpy as np

    r, front = config["r"], "base_model.model."
    s = config["lora_alpha"] / (r**0.5 if config["use_rslora"] else r)
    As, Bs, rest = {}, {}, []
    for k, v in adapter.items():
        mid = k.removeprefix(front)
        if mid != k and mid.endswith(".lora_A.weight") and len(mid) > 14:
            As[mid.removesuffix(".lora_A.weight")] = v.detach().double().numpy()
        elif mid != k and mid.endswith(".lora_B.weight") and len(mid) > 14:
            Bs[mid.removesuffix(".lora_B.weight")] = v.detach().double().numpy()
        else:
            rest.append(k)
    two = (
        As.keys() == Bs.keys()
        and all(a.shape[0] == r for a in As.values())
        and all(b.shape[1] == r for b in Bs.values())
    )
    three = four = True
    for l in {*As, *Bs}:
        W = base.get(l + ".weight")
        good = W is not None
        if good and l in As:
            good &= As[l].shape[1] == W.shape[1]
        if good and l in Bs:
            good &= Bs[l].shape[0] == W.shape[0]
        three &= good
        if good and l in As and l in Bs and As[l].shape[0] == Bs[l].shape[1]:
            u = s * np.einsum("or,ri->oi", Bs[l], As[l])
            e = merged[l + ".weight"].double().numpy() - W.double().numpy() - u
            four &= bool(np.linalg.norm(e) <= np.linalg.norm(u) / 1000)
    five = sorted(base) == sorted(merged)
    for k in base:
        if (
            five
            and k.removesuffix(".weight") not in {*As, *Bs}
            or (five and not k.endswith(".weight"))
        ):
            five = torch.equal(base[k], merged[k])
    return np.array([not rest, two, three, four, five])
""",
    ),
]

WRONG += [
    Answer(
        "clean",
        "never one format",
        "other_keys",
        edits=(
            (
                (
                    "rows = [as_row(row) for row in rows]\n"
                    "    rows = [row for row in rows if tokens(row) <= limit and not wrong(row)]"
                ),
                (
                    "rows = [row for row in rows if tokens(as_row(row)) <= limit and not "
                    "wrong(as_row(row))]"
                ),
            ),
            ('row["prompt"]', 'as_row(row)["prompt"]'),
            ('row["completion"]', 'as_row(row)["completion"]'),
        ),
    ),
    Answer(
        "clean",
        "contradictions counted before the wrong go",
        "wrong_answers_count",
        edits=(
            (("    rows = [row for row in rows if tokens(row) <= limit and not wrong(row)]\n"), ""),
            (
                ("    for row in rows:\n        key ="),
                (
                    "    rows = [row for row in rows if tokens(row) <= limit and not wrong(row)]\n"
                    "    for row in rows:\n"
                    "        key ="
                ),
            ),
        ),
    ),
    Answer(
        "clean",
        "long ones count in contradictions",
        "wrong_answers_count",
        edits=(
            ("tokens(row) <= limit and not wrong(row)", "not wrong(row)"),
            (
                "if len(answers[key]) == 1 and",
                "if tokens(row) <= limit and len(answers[key]) == 1 and",
            ),
        ),
    ),
    Answer(
        "clean",
        "prompts letter by letter",
        "by_letters",
        edits=(('words_of(row["prompt"])', 'row["prompt"]'),),
    ),
    Answer(
        "clean",
        "test letter by letter, else words",
        "leak_letters",
        edits=(
            (
                'seen = {words_of(row["prompt"]) for row in test}',
                ('asked = {row["prompt"] for row in test}\n    seen = set()'),
            ),
            ("and key not in seen", "and key not in seen and row['prompt'] not in asked"),
        ),
    ),
    Answer(
        "clean",
        "last copy stays",
        "last_stays",
        edits=(
            (
                "    return kept",
                (
                    "    kept = list({words_of(row['prompt']): row for row in rows if "
                    "len(answers[words_of(row['prompt'])]) == 1 and words_of(row['prompt']) "
                    "not in {words_of(t['prompt']) for t in test}}.values())\n"
                    "    return kept"
                ),
            ),
        ),
    ),
    Answer(
        "clean",
        "copies of whole rows by set: order lost",
        "mixed",
        edits=(
            (
                "    return kept",
                "    return [dict(t) for t in sorted({tuple(k.items()) for k in kept})]",
            ),
        ),
    ),
    Answer("clean", "wrong inverted", "turned", edits=(("not wrong(row)", "wrong(row)"),)),
    Answer(
        "clean",
        "wrong on the raw row",
        "raised",
        code="""
def clean(rows, test, tokens, limit, wrong):
    rows = [row for row in rows if tokens(row) <= limit and not wrong(row)]
    rows = [as_row(row) for row in rows]
    answers, kept = {}, []
    for row in rows:
        answers.setdefault(words_of(row["prompt"]), set()).add(words_of(row["completion"]))
    seen = {words_of(row["prompt"]) for row in test}
    for row in rows:
        key = words_of(row["prompt"])
        if len(answers[key]) == 1 and key not in seen:
            seen.add(key)
            kept.append(row)
    return kept
""",
    ),
    Answer(
        "clean",
        "pairs as key: contradictions stay both",
        "first_answer",
        code="""
def clean(rows, test, tokens, limit, wrong):
    seen, kept = set(), []
    asked = {words_of(row["prompt"]) for row in test}
    for row in map(as_row, rows):
        key = words_of(row["prompt"]), words_of(row["completion"])
        if tokens(row) > limit or wrong(row) or key[0] in asked or key in seen:
            continue
        seen.add(key)
        kept.append(row)
    return kept
""",
    ),
    Answer(
        "clean",
        "own lower() instead of words_of",
        "by_letters",
        edits=(("words_of(", "str.lower("),),
    ),
    Answer(
        "clean",
        "prompt and completion swapped on return",
        "sides",
        edits=(
            (
                "kept.append(row)",
                'kept.append({"prompt": row["completion"], "completion": row["prompt"]})',
            ),
        ),
    ),
    Answer(
        "clean",
        "returns words",
        "rewritten",
        edits=(
            (
                "kept.append(row)",
                'kept.append({"prompt": key, "completion": words_of(row["completion"])})',
            ),
        ),
    ),
    Answer(
        "clean",
        "leak before contradiction is fine; but copies first then contradictions",
        "first_of_all",
        code="""
def clean(rows, test, tokens, limit, wrong):
    asked = {words_of(row["prompt"]) for row in test}
    first = {}
    for row in map(as_row, rows):
        first.setdefault(words_of(row["prompt"]), row)
    return [
        row
        for key, row in first.items()
        if key not in asked and tokens(row) <= limit and not wrong(row)
    ]
""",
    ),
    Answer(
        "clean",
        "deletes in the list that is iterated",
        "skips",
        code="""
def clean(rows, test, tokens, limit, wrong):
    rows = [as_row(row) for row in rows]
    for row in rows:
        if tokens(row) > limit or wrong(row):
            rows.remove(row)
    answers = {}
    for row in rows:
        answers.setdefault(words_of(row["prompt"]), set()).add(words_of(row["completion"]))
    seen = {words_of(row["prompt"]) for row in test}
    kept = []
    for row in rows:
        key = words_of(row["prompt"])
        if len(answers[key]) == 1 and key not in seen:
            seen.add(key)
            kept.append(row)
    return kept
""",
    ),
    Answer(
        "clean",
        "clears the caller's list",
        "in_place",
        edits=(
            ("rows = [as_row(row) for row in rows]", "rows[:] = [as_row(row) for row in rows]"),
        ),
    ),
    Answer(
        "clean",
        "appends test with train",
        "in_place",
        edits=(("    return kept", ("    test.extend(kept)\n    return kept")),),
    ),
    Answer(
        "clean",
        "strips in place",
        "other_keys",
        edits=(
            (
                "rows = [as_row(row) for row in rows]",
                ("for row in rows:\n        row.update(as_row(row))"),
            ),
        ),
    ),
    Answer(
        "clean",
        "two counted among all copies (len of list > 1)",
        "copies_all_go",
        code="""
def clean(rows, test, tokens, limit, wrong):
    rows = [as_row(row) for row in rows]
    rows = [row for row in rows if tokens(row) <= limit and not wrong(row)]
    from collections import Counter

    n = Counter(words_of(row["prompt"]) for row in rows)
    asked = {words_of(row["prompt"]) for row in test}
    return [
        row
        for row in rows
        if n[words_of(row["prompt"])] == 1 and words_of(row["prompt"]) not in asked
    ]
""",
    ),
    Answer(
        "clean",
        "or for and",
        "or_and",
        edits=(
            ("tokens(row) <= limit and not wrong(row)", "tokens(row) <= limit or not wrong(row)"),
        ),
    ),
    Answer(
        "clean",
        "prompt in test as substring of joined text",
        "within",
        edits=(
            (
                "key not in seen",
                'key not in seen and not any(key in words_of(t["prompt"]) for t in test)',
            ),
        ),
    ),
    Answer(
        "clean",
        "rows with messages left out",
        "one_format",
        edits=(
            (
                "rows = [as_row(row) for row in rows]",
                'rows = [as_row(row) for row in rows if "prompt" in row]',
            ),
        ),
    ),
    Answer(
        "clean",
        "skips broken rows silently; sorted by prompt",
        "mixed",
        edits=(("    return kept", "    return sorted(kept, key=lambda row: row['prompt'])"),),
    ),
    Answer(
        "decide",
        "uses test",
        "raised",
        edits=(
            ('run["validation"]', 'run["test"]'),
            ('["validation"]', '["test"]'),
        ),
    ),
    Answer("decide", "any seed keeps", "old_mean", edits=(('min(run["old"])', 'max(run["old"])'),)),
    Answer("decide", "divided by n", "std", edits=(("math.sqrt(len(scores))", "len(scores)"),)),
    Answer(
        "decide",
        "root of n-1",
        "std",
        edits=(("math.sqrt(len(scores))", "math.sqrt(len(scores) - 1)"),),
    ),
    Answer(
        "decide",
        "strictly above level",
        "above_level",
        edits=(("means[n] >= level", "means[n] > level"),),
    ),
    Answer(
        "decide",
        "best only",
        "no_noise",
        edits=(("equal = [n for n in fit if means[n] >= level]", "equal = [best]"),),
    ),
    Answer(
        "decide",
        "level among all runs",
        "filter_late",
        edits=(("equal = [n for n in fit", "equal = [n for n in range(len(runs))"),),
    ),
    Answer("decide", "keep strictly", "below", edits=((">= keep", "> keep"),)),
    Answer(
        "decide",
        "index within fit",
        "place",
        edits=(
            (
                'return min(equal, key=lambda n: (runs[n]["megabytes"], -means[n]))',
                ('return equal.index(min(equal, key=lambda n: (runs[n]["megabytes"], -means[n])))'),
            ),
        ),
    ),
    Answer("decide", "tie of sizes: lowest mean", "tie", edits=(("-means[n])", "means[n])"),)),
    Answer(
        "decide",
        "returns the run",
        "type",
        edits=(
            ("return min(", "return runs[min("),
            ("-means[n]))", "-means[n]))]"),
        ),
    ),
    Answer("decide", "counts from 1", "place", edits=(("return min(", "return 1 + min("),)),
    Answer(
        "decide",
        "error of the mean of both (sum)",
        "other",
        edits=(
            (
                "statistics.stdev(scores) / math.sqrt(len(scores))",
                "statistics.stdev([m for m in means]) / math.sqrt(len(means))",
            ),
        ),
    ),
    Answer("decide", "best seed", "median", edits=(("statistics.mean(run", "max(run"),)),
    Answer(
        "decide",
        "two standard errors",
        "std",
        edits=(("statistics.stdev(scores) /", "2 * statistics.stdev(scores) /"),),
    ),
    Answer(
        "decide",
        "each run's own error",
        "own_error",
        edits=(
            (
                "equal = [n for n in fit if means[n] >= level]",
                (
                    "equal = [n for n in fit if means[n] + "
                    "statistics.stdev(runs[n]['validation']) / "
                    "math.sqrt(len(runs[n]['validation'])) >= means[best]]"
                ),
            ),
        ),
    ),
    Answer(
        "decide",
        "sorts the runs in place",
        "place",
        edits=(("means = [", ("runs.sort(key=lambda run: run['megabytes'])\n    means = [")),),
    ),
    Answer(
        "decide",
        "writes the mean into the run",
        "in_place",
        edits=(
            (
                'means = [statistics.mean(run["validation"]) for run in runs]',
                (
                    "for run in runs:\n"
                    "        run['mean'] = statistics.mean(run['validation'])\n"
                    "    means = [run['mean'] for run in runs]"
                ),
            ),
        ),
    ),
    Answer(
        "decide",
        "IndexError where none",
        "no_winner",
        edits=(
            (
                (
                    "    if not fit:\n"
                    '        raise ValueError(f"No run keeps {keep:.0%} in a file of '
                    '{megabytes} MB.")\n'
                ),
                ("    if not fit:\n        raise KeyError('none')\n"),
            ),
        ),
    ),
    Answer(
        "decide",
        "numpy std without ddof",
        "whole_std",
        edits=(("statistics.stdev(scores)", "__import__('numpy').std(scores)"),),
    ),
    Answer(
        "decide",
        "always divides by root 3",
        "std",
        edits=(("math.sqrt(len(scores))", "math.sqrt(3)"),),
    ),
    Answer(
        "decide",
        "highest old among level",
        "not_smallest",
        edits=(
            ('(runs[n]["megabytes"], -means[n])', "(-min(runs[n]['old']), runs[n][\"megabytes\"])"),
        ),
    ),
    Answer(
        "prove",
        "scaling always rslora",
        "plain_scale",
        edits=(('(math.sqrt(r) if config["use_rslora"] else r)', "math.sqrt(r)"),),
    ),
    Answer(
        "prove",
        "rank from A's rows",
        "any_rank",
        edits=(
            ('r = config["r"]', "r = len(next(v for k, v in adapter.items() if 'lora_A' in k))"),
        ),
    ),
    Answer(
        "prove",
        "A and B swapped in the product",
        "raised",
        edits=(('pair["B"] @ pair["A"]', 'pair["A"].T @ pair["B"].T'),),
    ),
    Answer("prove", "scaling left out", "no_scale", edits=(("update = scaling * ", "update = "),)),
    Answer(
        "prove",
        "allclose for the rest",
        "near",
        edits=(("torch.equal(base[n], merged[n])", "torch.allclose(base[n], merged[n])"),),
    ),
    Answer(
        "prove",
        "allclose with default tolerances for sums",
        "strict",
        edits=(
            (
                "sums.append(bool(off <= 1e-3 * update.norm()))",
                'sums.append(torch.allclose(merged[f"{layer}.weight"], weight + update))',
            ),
        ),
    ),
    Answer(
        "prove",
        "off relative to the weight",
        "loose",
        edits=(("1e-3 * update.norm()", "1e-3 * weight.norm()"),),
    ),
    Answer("prove", "in for fullmatch", "whole_name", edits=(("re.fullmatch(", "re.search("),)),
    Answer(
        "prove",
        "dots not escaped",
        "part_of_a_name",
        edits=(
            (
                "base_model\\.model\\.(.+)\\.lora_([AB])\\.weight",
                "base_model.model.(.+).lora_([AB]).weight",
            ),
        ),
    ),
    Answer(
        "prove",
        "names of merged not compared",
        "raised",
        edits=(("base.keys() == merged.keys() and ", ""),),
    ),
    Answer(
        "prove",
        "rest = no weights at all checked",
        "values_forgotten",
        edits=(("for n in rest)", "for n in [])"),),
    ),
    Answer(
        "prove",
        "compares only layers that are there in base (any)",
        "always",
        edits=(("all(places)", "any(places)"),),
    ),
    Answer("prove", "any(pairs)", "always", edits=(("all(pairs)", "any(pairs)"),)),
    Answer(
        "prove",
        "only A and B both, no rank",
        "any_rank",
        edits=(
            (
                (
                    '        pairs += [len(pair["A"]) == r] if "A" in pair else []\n'
                    '        pairs += [pair["B"].shape[1] == r] if "B" in pair else []\n'
                ),
                "",
            ),
        ),
    ),
    Answer(
        "prove",
        "rank by A only",
        "any_rank",
        edits=((('        pairs += [pair["B"].shape[1] == r] if "B" in pair else []\n'), ""),),
    ),
    Answer(
        "prove",
        "B's height not checked",
        "raised",
        edits=(('fits = fits and ("B" not in pair or len(pair["B"]) == len(weight))', "pass"),),
    ),
    Answer(
        "prove",
        "A's width not checked",
        "raised",
        edits=(
            ('fits = fits and ("A" not in pair or pair["A"].shape[1] == weight.shape[1])', "pass"),
        ),
    ),
    Answer(
        "prove",
        "bias of the layer may change",
        "near",
        edits=(
            (
                'rest = base.keys() - {f"{layer}.weight" for layer in found}',
                'rest = [n for n in base if n.rpartition(".")[0] not in found]',
            ),
        ),
    ),
    Answer(
        "prove",
        "only the first factor",
        "any_layer",
        edits=(
            ("for layer, pair in found.items():", "for layer, pair in list(found.items())[:1]:"),
        ),
    ),
    Answer(
        "prove",
        "factors: endswith weight",
        "whole_name",
        edits=(
            (
                "only = len(adapter) == sum(map(len, found.values()))",
                "only = all(k.endswith('weight') for k in adapter)",
            ),
        ),
    ),
    Answer(
        "prove",
        "factors: lora_ in name",
        "whole_name",
        edits=(
            (
                "only = len(adapter) == sum(map(len, found.values()))",
                "only = all('lora_' in k for k in adapter)",
            ),
        ),
    ),
    Answer(
        "prove",
        "order of answers 4 and 5 swapped",
        "exchanged",
        edits=(("all(sums), equal", "equal, all(sums)"),),
    ),
    Answer(
        "prove",
        "all True",
        "always",
        edits=(
            (
                "return only, all(pairs), all(places), all(sums), equal",
                "return True, True, True, True, True",
            ),
        ),
    ),
    Answer(
        "prove",
        "subtracts in place",
        "in_place",
        edits=(
            (
                'off = (merged[f"{layer}.weight"] - weight - update).norm()',
                'off = merged[f"{layer}.weight"].sub_(weight).sub_(update).norm()',
            ),
        ),
    ),
    Answer(
        "prove",
        "merged in bf16 tolerance 1e-2",
        "loose",
        edits=(("1e-3 * update.norm()", "1e-2 * update.norm()"),),
    ),
    Answer(
        "prove",
        "max for norm",
        "loose",
        edits=(
            (
                "off <= 1e-3 * update.norm()",
                '(merged[f"{layer}.weight"] - weight - update).abs().max() <= 1e-3',
            ),
        ),
    ),
    Answer(
        "prove",
        "strips the prefix with replace, any suffix",
        "part_of_a_name",
        code="""
def prove(config, adapter, base, merged):
    r = config["r"]
    scaling = config["lora_alpha"] / r
    if config["use_rslora"]:
        scaling = config["lora_alpha"] / math.sqrt(r)
    layers = sorted(
        {k.replace("base_model.model.", "").split(".lora_")[0] for k in adapter if "lora_" in k}
    )
    one = all(
        k.startswith("base_model.model.")
        and (k.endswith("lora_A.weight") or k.endswith("lora_B.weight"))
        for k in adapter
    )
    two, three, four = True, True, True
    for layer in layers:
        A = adapter.get(f"base_model.model.{layer}.lora_A.weight")
        B = adapter.get(f"base_model.model.{layer}.lora_B.weight")
        W = base.get(f"{layer}.weight")
        if A is None or B is None or A.shape[0] != r or B.shape[1] != r:
            two = False
        if W is None:
            three = False
            continue
        if A is not None and A.shape[1] != W.shape[1]:
            three = False
        if B is not None and B.shape[0] != W.shape[0]:
            three = False
        if two and three:
            d = scaling * B @ A
            if (merged[f"{layer}.weight"] - W - d).norm() > 1e-3 * d.norm():
                four = False
    five = set(base) == set(merged) and all(
        torch.equal(base[k], merged[k])
        for k in base
        if not any(k == f"{l}.weight" for l in layers)
    )
    return one, two, three, four, five
""",
    ),
    Answer(
        "clean",
        "limit of the prompt alone",
        "long_stay",
        edits=(("tokens(row) <= limit", 'len(row["prompt"].split()) <= limit'),),
    ),
    Answer(
        "clean",
        "test compared by answers",
        "leaks_stay",
        edits=(
            (
                ('{words_of(row["prompt"]) for row in test}'),
                ('{words_of(row["completion"]) for row in test}'),
            ),
        ),
    ),
    Answer(
        "clean",
        "contradiction: keeps the last",
        "other",
        edits=(
            (
                ("if len(answers[key]) == 1 and key not in seen:"),
                ("if key not in seen and words_of(row['completion']) == sorted(answers[key])[-1]:"),
            ),
        ),
    ),
    Answer(
        "clean",
        "no more than one per answer",
        "other",
        edits=(
            (
                ("if len(answers[key]) == 1 and key not in seen:"),
                ("if words_of(row['completion']) not in seen and len(answers[key]) == 1:"),
            ),
            ("seen.add(key)", "seen.add(words_of(row['completion']))"),
        ),
    ),
    Answer(
        "clean",
        "leaks when the answer is the same, too",
        "leaks_stay",
        edits=(
            (
                ('seen = {words_of(row["prompt"]) for row in test}'),
                (
                    "seen = set()\n"
                    '    asked = {(words_of(r["prompt"]), words_of(r["completion"])) '
                    "for r in test}"
                ),
            ),
            (
                ("if len(answers[key]) == 1 and key not in seen:"),
                (
                    "if len(answers[key]) == 1 and key not in seen and (key, "
                    "words_of(row['completion'])) not in asked:"
                ),
            ),
        ),
    ),
    Answer(
        "clean",
        "two answers: warns only",
        "first_answer",
        edits=(
            (
                ("if len(answers[key]) == 1 and key not in seen:"),
                ("if len(answers[key]) >= 1 and key not in seen:"),
            ),
        ),
    ),
    Answer(
        "clean",
        "returns the pairs",
        "type",
        edits=(("kept.append(row)", ('kept.append((row["prompt"], row["completion"]))')),),
    ),
    Answer(
        "clean",
        "returns prompts",
        "type",
        edits=(("kept.append(row)", 'kept.append(row["prompt"])'),),
    ),
    Answer(
        "split",
        "cuts",
        "rounding",
        edits=(("round(share * len(reports))", "int(share * len(reports))"),),
    ),
    Answer(
        "split",
        "share of training",
        "swapped",
        edits=(("round(share * len(reports))", ("len(reports) - round(share * len(reports))")),),
    ),
    Answer(
        "split",
        "global seed ignored",
        "unseeded",
        edits=(("random.Random(seed).sample", "random.sample"),),
    ),
    Answer(
        "split",
        "loses the reports alone",
        "other",
        edits=(
            (
                ('train = [row for row in rows if row["report"] not in held]'),
                (
                    'many = [r["report"] for r in rows]\n'
                    '    train = [row for row in rows if row["report"] not in held '
                    'and many.count(row["report"]) > 1]'
                ),
            ),
        ),
    ),
    Answer(
        "decide",
        "ignores the smallest, takes the highest old mean",
        "not_smallest",
        edits=(
            (
                ('return min(equal, key=lambda n: (runs[n]["megabytes"], -means[n]))'),
                ('return max(equal, key=lambda n: statistics.mean(runs[n]["old"]))'),
            ),
        ),
    ),
    Answer(
        "decide",
        "the largest of the level",
        "no_noise",
        edits=(
            (
                ('return min(equal, key=lambda n: (runs[n]["megabytes"], -means[n]))'),
                ('return max(equal, key=lambda n: (runs[n]["megabytes"], means[n]))'),
            ),
        ),
    ),
    Answer(
        "decide",
        "variance",
        "no_noise",
        edits=(("statistics.stdev(scores)", "statistics.variance(scores)"),),
    ),
    Answer("decide", "worst seed", "best_missed", edits=(("statistics.mean(run", "min(run"),)),
    Answer(
        "decide",
        "level added",
        "raised",
        edits=(("level = means[best] -", "level = means[best] +"),),
    ),
    Answer(
        "decide",
        "error of the level's worst",
        "filter_late",
        edits=(("scores = runs[best]", ("scores = runs[min(fit, key=lambda n: means[n])]")),),
    ),
    Answer(
        "decide",
        "keep of the mean of validation",
        "raised",
        edits=(('min(run["old"]) >= keep', ('statistics.mean(run["validation"]) >= keep')),),
    ),
    Answer(
        "decide",
        "megabytes summed",
        "any_size",
        edits=(('run["megabytes"] <= megabytes', 'run["megabytes"] >= megabytes'),),
    ),
    Answer(
        "decide",
        "one percent",
        "std",
        edits=((("statistics.stdev(scores) / math.sqrt(len(scores))"), "0.01"),),
    ),
    Answer(
        "prove",
        "scaling twice",
        "no_scale",
        edits=(('update = scaling * pair["B"]', 'update = scaling**2 * pair["B"]'),),
    ),
    Answer(
        "prove", "merged is base times", "no_scale", edits=(("weight - update", "weight + update"),)
    ),
    Answer(
        "prove",
        "all tensors the same size",
        "values_forgotten",
        edits=(("torch.equal(base[n], merged[n])", "base[n].shape == merged[n].shape"),),
    ),
    Answer(
        "prove",
        "merged with the transposed",
        "joined",
        edits=(
            (
                ("return only, all(pairs), all(places), all(sums), equal"),
                ("return only, all(pairs), all(places), all(pairs) and all(sums), equal"),
            ),
        ),
    ),
    Answer(
        "prove",
        "only where nothing else changed",
        "joined",
        edits=(
            (
                ("return only, all(pairs), all(places), all(sums), equal"),
                ("return only and equal, all(pairs), all(places), all(sums), equal"),
            ),
        ),
    ),
    Answer(
        "prove",
        "answers 2 and 3 swapped",
        "exchanged",
        edits=(
            (
                ("return only, all(pairs), all(places), all(sums), equal"),
                ("return only, all(places), all(pairs), all(sums), equal"),
            ),
        ),
    ),
    Answer(
        "prove",
        "not all of them",
        "reversed",
        edits=(
            (
                ("return only, all(pairs), all(places), all(sums), equal"),
                ("return only, all(pairs), all(places), not all(sums), equal"),
            ),
        ),
    ),
    Answer(
        "true_card",
        "base by its last part",
        "part_of_base",
        edits=(
            (
                'about.base_model == found["base"]',
                ('(about.base_model or "").split("/")[-1] == found["base"].split("/")[-1]'),
            ),
        ),
    ),
    Answer(
        "true_card",
        "rows above",
        "any_number",
        edits=(
            (
                ('says(r"^Data: .*, ([\\d,]+) rows\\.$", found["rows"])'),
                ('found["rows"] <= int(re.search(r"([\\d,]+) rows", text)[1].replace(",", ""))'),
            ),
        ),
    ),
    Answer(
        "true_card",
        "r from the first number of the table",
        "other",
        edits=(
            (
                ('says(r"^\\| r \\| (\\d+) \\|$", found["r"])'),
                ('int(re.search(r"\\| (\\d+) \\|", text)[1]) == found["r"]'),
            ),
        ),
    ),
    Answer(
        "true_card",
        "score of any metric",
        "has_result",
        edits=(
            (
                ('any(abs(value - found["score"]) <= 0.0005 for value in results)'),
                "any(value for value in results)",
            ),
        ),
    ),
    Answer(
        "true_card",
        "mean of the results",
        "first_result",
        edits=(
            (
                ('any(abs(value - found["score"]) <= 0.0005 for value in results)'),
                ('bool(results) and abs(sum(results) / len(results) - found["score"]) <= 0.0005'),
            ),
        ),
    ),
    Answer(
        "true_card",
        "test rows twice",
        "other",
        edits=(
            (
                ('says(r"^Data: .*, ([\\d,]+) rows\\.$", found["rows"])'),
                ('says(r"^On ([\\d,]+) rows of the test split", found["test_rows"])'),
            ),
        ),
    ),
    Answer(
        "true_card",
        "rows and test rows exchanged",
        "exchanged",
        edits=(
            (('says(r"^Data: .*, ([\\d,]+) rows\\.$", found["rows"]),'), "ROWSPLACE,"),
            (
                ('says(r"^On ([\\d,]+) rows of the test split", found["test_rows"])'),
                ('says(r"^Data: .*, ([\\d,]+) rows\\.$", found["rows"])'),
            ),
            ("ROWSPLACE", ('says(r"^On ([\\d,]+) rows of the test split", found["test_rows"])')),
        ),
    ),
    Answer(
        "true_card",
        "rows count only with the test rows",
        "joined",
        edits=(
            (
                ('says(r"^Data: .*, ([\\d,]+) rows\\.$", found["rows"])'),
                (
                    'says(r"^Data: .*, ([\\d,]+) rows\\.$", found["rows"]) and '
                    'says(r"^On ([\\d,]+) rows of the test split", found["test_rows"])'
                ),
            ),
        ),
    ),
    Answer(
        "true_card",
        "best result",
        "first_result",
        edits=(
            (
                ('any(abs(value - found["score"]) <= 0.0005 for value in results)'),
                ('bool(results) and abs(max(results) - found["score"]) <= 0.0005'),
            ),
        ),
    ),
    Answer(
        "true_card",
        "lower bound of the score",
        "loose_score",
        edits=(
            (
                ('any(abs(value - found["score"]) <= 0.0005 for value in results)'),
                ('any(value >= found["score"] - 0.0005 for value in results)'),
            ),
        ),
    ),
    Answer(
        "true_card",
        "any other base",
        "reversed",
        edits=(('about.base_model == found["base"]', 'about.base_model != found["base"]'),),
    ),
    Answer(
        "prove",
        "only factors, if nothing else",
        "joined",
        edits=(("only = len(adapter)", "only = equal and len(adapter)"),),
    ),
]

COURSE = """
from lora_course.kit.clean import cleaned
def clean(rows, test, tokens, limit, wrong):
    return cleaned(rows, test, tokens, limit)[0]
"""
UNSTRIPPED = "[row if 'prompt' in row else as_row(row) for row in rows]"
WRONG += [
    edit("clean", "two answers, the prompt by letters", "by_letters",
         (COLLECT, COLLECT.replace('words_of(row["prompt"])', 'row["prompt"]')),
         (STAYS, 'if len(answers[row["prompt"]]) == 1 and key not in seen:')),
    edit("clean", "accused answers count", "wrong_answers_count",
         (OUT, "every = [row for row in rows if tokens(row) <= limit]\n    " + OUT),
         ("for row in rows:\n        " + COLLECT, "for row in every:\n        " + COLLECT)),
    Answer("clean", "the course's own, which has another rule", "other", code=COURSE),
    edit("clean", "one format stripped alone", "spaces",
         ("[as_row(row) for row in rows]", UNSTRIPPED)),
    edit("split", "drawn with replacement", "counts_rows",
         (HELD, HELD.replace(".sample(reports, ", ".choices(reports, k="))),
    edit("split", "without the spaces at the ends", "letters",
         (SORTED, SORTED.replace('row["report"]', 'row["report"].strip()')),
         (TRAIN, TRAIN.replace('row["report"]', 'row["report"].strip()')),
         (LATER, LATER.replace('row["report"]', 'row["report"].strip()'))),
    edit("split", "a set, unsorted", "order", (SORTED, SORTED.replace("sorted(", "list("))),
    edit("split", "turns the list", "in_place",
         (LATER, LATER.replace("return train,", "sides = train,") + "\n    rows.reverse()\n"
          "    return sides")),
    edit("decide", "the best is not level", "best_too",
         (EQUAL, EQUAL.replace("if means", "if n != best and means"))),
    edit("decide", "equal sizes by the test", "tie",
         (TAKE, TAKE.replace("-means[n]", "-runs[n]['test']"))),
    edit("prove", "the rank of A in the scale", "plain_scale",
         ("update = scaling * ", 'scaling = config["lora_alpha"] / (math.sqrt(len(pair["A"])) '
          'if config["use_rslora"] else len(pair["A"]))\n            update = scaling * ')),
    edit("prove", "the last layer alone", "any_layer", (OFF, OFF.replace("sums.append(", "sums = [")
                                                       .removesuffix(")") + "]")),
    edit("prove", "as many A as B", "any_pair",
         ('pairs.append("A" in pair and "B" in pair)', "pass"),
         (GIVEN, 'pairs.append(sum("A" in p for p in found.values()) == sum("B" in p for p in '
          'found.values()))\n    ' + GIVEN)),
    edit("prove", "places of whole pairs alone", "names",
         ("places.append(fits)", "places.append(fits or len(pair) < 2 and weight is not None)")),
    edit("prove", "no sum where a place is wrong", "joined",
         (GIVEN, GIVEN.replace("all(sums)", "all(sums) and all(places)"))),
    edit("prove", "alpha as the scale", "no_scale", (SCALING, 'scaling = config["lora_alpha"]')),
    edit("prove", "equal to the bit", "no_scale",
         ("off = (merged", "off = 1e3 * (merged")),
    edit("prove", "the number of names", "names_forgotten",
         (EQUALS, "equal = len(base) == len(merged) and all(torch.equal(base[n], merged[n]) for n "
          "in rest & merged.keys())")),
    edit("prove", "whole pairs are left out alone", "whole_model",
         ("for layer in found}", "for layer, pair in found.items() if len(pair) == 2}")),
    edit("true_card", "rows in the text", "end_of_number",
         (ROWS, "f\"{found['rows']:,} rows.\" in text")),
    edit("true_card", "test rows in the text", "end_of_number",
         (r'says(r"^On ([\d,]+) rows of the test split", found["test_rows"])',
          "f\"{found['test_rows']:,} rows of the test split\" in text")),
    edit("true_card", "the first number of the line", "any_number",
         (ROWS, r'says(r"^Data: \D*([\d,]+)", found["rows"])')),
    edit("true_card", "both scores rounded", "loose_score",
         (CLOSE, 'any(round(value, 3) == round(found["score"], 3) for value in results)')),
    edit("true_card", "scores below too", "has_result", (CLOSE, CLOSE.replace("abs", ""))),
]  # fmt: skip

WRONG += [
    edit("clean", "copies by letters, answers by words", "by_letters",
         ("key not in seen", "row['prompt'] not in seen and key not in asked"),
         (TESTED, TESTED + "\n    asked, seen = seen, set()"),
         ("seen.add(key)", "seen.add(row['prompt'])")),
    edit("prove", "means in place of norms", "loose",
         (OFF, OFF.replace("off <=", "gap.mean().abs() <=").replace("update.norm()",
                                                                   "update.abs().mean()")),
         ("off = (merged[f\"{layer}.weight\"] - weight - update).norm()",
          "gap = merged[f\"{layer}.weight\"] - weight - update")),
    edit("true_card", "test in the name of the data", "any_split",
         (RESULTS, RESULTS.replace('r.dataset_split == "test"', '"test" in r.dataset_name'))),
]  # fmt: skip
