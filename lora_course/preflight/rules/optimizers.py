"""Rules: does the optimizer move what trains?"""

from lora_course.preflight.report import Undecided, ok, problem, some


def optimizer_misses(run):
    """The optimizer holds every parameter that trains, and each is the model's own."""
    if not run.optimizers:
        raise Undecided("there is no optimizer yet")
    run.must_train()
    if hasattr(run.wrapped, "ds_config") or "FSDP" in type(run.wrapped).__name__:
        raise Undecided("the parameters are spread over several machines")
    held = {id(p) for o in run.optimizers for group in o.param_groups for p in group["params"]}
    missing = [n for n in run.trained if id(run.params[n]) not in held]
    own = {id(p) for p in run.model.parameters()}
    frozen = sum(id(p) in held and not p.requires_grad for p in run.params.values())
    if missing:
        foreign = len(held - own)
        also = f" It holds {frozen} frozen parameters" if frozen else ""
        also += f" and {foreign} that are not in the model" if foreign else ""
        return problem(
            f"The optimizer lacks {len(missing)} of the {len(run.trained)} parameters that train: "
            f"{some(missing)}.{also}{'.' if also else ''}",
            "Build the optimizer after the adapter is in and the model is on its device, from "
            "the parameters that require a gradient.",
        )
    stale = [n for n, p in run.params.items() if id(p) in held and not p.requires_grad and (
        p.grad is not None and p.grad.any())]  # fmt: skip
    if stale:
        return problem(
            f"The optimizer holds frozen parameters that have a gradient: {some(stale)}. It will "
            "move them.",
            "Build it from the parameters that require a gradient.",
        )
    return ok(f"it holds all {len(run.trained)}" + (f" and {frozen} frozen" if frozen else ""))


def update_still_zero(run):
    """After some steps no adapted layer's update is zero."""
    if not run.steps_done:
        raise Undecided("no step was made yet")
    if run.steps_done < 2 and run.trainer is None:
        raise Undecided("one step may have had the rate 0 of a warm-up")
    zero = [p.layer for p in run.active if p.is_zero()]
    if not zero or run.steps_done < 3:
        return ok()
    return problem(
        f"After {run.steps_done} steps the update of {len(zero)} of {len(run.active)} adapted "
        f"layers is still zero: {some(zero)}.",
        "Look at the optimizer's parameters, at the gradients of these layers, and at the rate.",
    )


def ranks_never_change(run):
    """AdaLoRA moves rank only when something calls update_and_allocate() after each step."""
    kinds = [str(getattr(config, "peft_type", "")) for config in run.configs]
    if not any("ADALORA" in kind for kind in kinds):
        return ok()
    if run.trainer is None:
        raise Undecided("whether a loop calls update_and_allocate() cannot be seen from its parts")
    people = [*type(run.trainer).__mro__, *map(type, run.trainer.callback_handler.callbacks)]
    codes = [getattr(f, "__code__", None) for kind in people for f in vars(kind).values()]
    if any("update_and_allocate" in code.co_names for code in codes if code):
        return ok()
    return problem(
        "Nothing in the trainer or its callbacks calls update_and_allocate(): all ranks stay.",
        "Call model.base_model.update_and_allocate(step) in on_optimizer_step of a callback.",
    )
