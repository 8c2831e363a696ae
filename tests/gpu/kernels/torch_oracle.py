"""PyTorch's answers to what torch_oracle_test.cpp computed.

    torch_oracle.py FOLDER

FOLDER/cases has a line per case: "OP key=value ... | name:offset:count ...", offsets and counts in floats of FOLDER/numbers.
Prints "CASE NAME ERROR" for every array that PyTorch computes, in double: the largest difference over the largest value.
"""

import math
import sys

import torch
from torch.nn import functional as F

folder = sys.argv[1]
with open(folder + "/numbers", "rb") as file:
    numbers = torch.frombuffer(bytearray(file.read()), dtype=torch.float32).double()


def norm_case(p, a, forward):
    """Rows of x through `forward`, which is given x and the parameters; and the gradients that dy leads to."""
    leaves = {name: a[name].clone().requires_grad_() for name in p["leaves"].split(",")}
    leaves["x"] = a["x"].view(int(p["rows"]), -1).clone().requires_grad_()
    y = forward(leaves)
    y.backward(a["dy"].view(y.shape))
    return {"y": y} | {"d" + name: leaf.grad for name, leaf in leaves.items()}


def rms(l, width):
    return l["x"] * torch.rsqrt(l["x"].pow(2).mean(-1, keepdim=True) + 1e-5) * l["gain"]


def swiglu(x):
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def turned(x, head_width, time, base=10000.0):
    rows, half = x.shape[0], head_width // 2
    x = x.view(rows, -1, head_width)
    t = (torch.arange(rows) % time).double()
    angle = torch.outer(t, base ** (-2.0 * torch.arange(half).double() / head_width))[:, None, :]
    first, second = x[..., :half], x[..., half:]
    return torch.cat((first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()), -1).reshape(rows, -1)


def attention(p, a):
    b, t, h, g, w = (int(p[k]) for k in ("sequences", "time", "heads", "kv_heads", "head_width"))
    leaves = {k: a[k].clone().requires_grad_() for k in "qkv"}
    split = {k: leaves[k].view(b, t, h if k == "q" else g, w).transpose(1, 2) for k in "qkv"}
    k, v = (split[x].repeat_interleave(h // g, dim=1) for x in "kv")
    out = F.scaled_dot_product_attention(split["q"], k, v, is_causal=True).transpose(1, 2).reshape(-1)
    out.backward(a["dout"])
    return {"out": out} | {"d" + x: leaves[x].grad for x in "qkv"}


def cross_entropy(p, a):
    x = a["x"].view(int(p["rows"]), -1).clone().requires_grad_()
    loss = F.cross_entropy(x, a["label"].long(), label_smoothing=float(p["smoothing"]))
    loss.backward()
    return {"loss": loss, "dx": x.grad}


def linear(p, a):
    x, w, b = (a[k].clone().requires_grad_() for k in ("x", "w", "b"))
    y = x.view(int(p["rows"]), -1) @ w.view(int(p["in"]), int(p["out"])) + b
    y.backward(a["dy"].view(y.shape))
    return {"y": y, "dx": x.grad, "dw": w.grad, "db": b.grad}


def embedding(p, a):
    table = a["table"].view(int(p["vocabulary"]), -1).clone().requires_grad_()
    y = F.embedding(a["index"].long(), table)
    y.backward(a["dy"].view(y.shape))
    return {"y": y, "dtable": table.grad}


def element(p, a, f):
    x = a["x"].clone().requires_grad_()
    y = f(x.view(int(p["rows"]), -1))
    y.backward(a["dy"].view(y.shape))
    return {"y": y, "dx": x.grad}


def optimised(p, a, make):
    """Three steps with the gradients g1, g2, g3."""
    w = a["w"].clone().requires_grad_()
    optimiser = make([w])
    for name in ("g1", "g2", "g3"):
        w.grad = a[name].clone()
        if "norm_max" in p:
            torch.nn.utils.clip_grad_norm_([w], float(p["norm_max"]))
        optimiser.step()
    return {"after": w}


def piecewise(p, a):
    """As Gorishniy et al. write it: x encoded over the segments, then a linear layer."""
    edges, x = a["edges"], a["x"]
    slope = a["slope"].view(len(edges) - 1, -1).clone().requires_grad_()
    bias, absent = (a[k].clone().requires_grad_() for k in ("bias", "absent"))
    part = ((x[:, None] - edges[:-1]) / (edges[1:] - edges[:-1])).clamp(0, 1)
    missing = x.isnan()
    y = torch.where(missing[:, None], absent, torch.where(missing[:, None], 0.0, part) @ slope + bias)
    y.backward(a["dy"].view(y.shape))
    return {"y": y, "dslope": slope.grad, "dbias": bias.grad, "dabsent": absent.grad}


OPERATIONS = {
    "linear": linear,
    "rms_norm": lambda p, a: norm_case(p, a, lambda l: rms(l, None)),
    "layer_norm": lambda p, a: norm_case(p, a, lambda l: F.layer_norm(l["x"], (l["x"].shape[-1],), l["gain"], l["shift"], 1e-5)),
    "gelu": lambda p, a: element(p, a, lambda x: F.gelu(x, approximate="tanh")),
    "relu": lambda p, a: element(p, a, F.relu),
    "swiglu": lambda p, a: element(p, a, swiglu),
    "rotary": lambda p, a: element(p, a, lambda x: turned(x, int(p["head_width"]), int(p["time"]))),
    "attention": attention,
    "cross_entropy": cross_entropy,
    "embedding": embedding,
    "adamw": lambda p, a: optimised(p, a, lambda w: torch.optim.AdamW(w, lr=float(p["rate"]), betas=(0.9, 0.999), eps=1e-8, weight_decay=float(p["decay"]))),
    "sgd": lambda p, a: optimised(p, a, lambda w: torch.optim.SGD(w, lr=float(p["rate"]), momentum=0.9, nesterov=p["nesterov"] == "1")),
    "piecewise_linear": piecewise,
    "bf16": lambda p, a: {"y": a["x"].float().bfloat16().double()},
}

for case, line in enumerate(open(folder + "/cases")):
    head, tail = line.split("|")
    op, *keys = head.split()
    parameters = dict(key.split("=") for key in keys)
    arrays = {}
    for entry in tail.split():
        name, offset, count = entry.split(":")
        arrays[name] = numbers[int(offset) : int(offset) + int(count)]
    for name, expected in OPERATIONS[op](parameters, arrays).items():
        mine, expected = arrays["our_" + name].reshape(-1), expected.detach().reshape(-1)
        assert mine.shape == expected.shape, (op, name, mine.shape, expected.shape)
        error = ((mine - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()
        print(case, name, "%.3e" % (error if math.isfinite(error) else 1e30))
