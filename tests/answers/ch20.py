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
        "other",
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
    edit("decide", "file below the limit", "below", ("<= megabytes", "< megabytes")),
    edit("decide", "median", "median", ("statistics.mean(run", "statistics.median(run")),
    edit(
        "decide",
        "None when nothing fits",
        "other",
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
        "part_of_a_name",
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
    edit("prove", "always merged", "always_merged", ("all(sums), equal", "True, equal")),
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
        "other",
        ('        fits = fits and ("B" not in pair or len(pair["B"]) == len(weight))\n', ""),
        (
            "if fits and len(pair) == 2:",
            "if fits and len(pair) == 2 and len(pair['B']) == len(weight):",
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
