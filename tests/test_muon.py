import torch

from lora_course.make_base.muon import Muon, orthogonalize


def test_all_directions_get_about_one_size():
    torch.manual_seed(0)
    for shape in ((6, 6), (8, 32), (32, 8)):
        G = torch.randn(shape)
        update = orthogonalize(G)
        U, _, Vh = torch.linalg.svd(G, full_matrices=False)
        assert update.shape == G.shape
        sizes = torch.linalg.svdvals(update)
        assert sizes.min() > 0.4 and sizes.max() < 1.3
        inside = U.T @ update @ Vh.T  # diagonal: the directions are those of G
        assert (inside - torch.diag(torch.diag(inside))).abs().max() < 1e-4


def test_steps_are_those_of_torch_up_to_its_bfloat16():
    torch.manual_seed(0)
    start, target = torch.randn(16, 40), torch.randn(16, 40)
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    ends = {}
    for name, kind in {"ours": Muon, "torch": torch.optim.Muon}.items():
        more = {"adjust_lr_fn": "match_rms_adamw"} if name == "torch" else {}
        p = torch.nn.Parameter(start.clone())
        optimizer = kind([p], **settings, **more)
        for _ in range(10):
            optimizer.zero_grad()
            (p - target).square().sum().backward()
            optimizer.step()
        ends[name] = p.detach() - start
    assert (ends["ours"] - ends["torch"]).norm() < 0.03 * ends["torch"].norm()
    assert ends["ours"].norm() > 1
