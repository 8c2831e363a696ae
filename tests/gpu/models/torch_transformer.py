"""The network of gpu/models/transformer.hpp in plain PyTorch: oracle of the tests, peer of bench/train_cpu."""

import torch
from torch import nn
from torch.nn import functional as F


class Shape:
    """transformer_shape, with its names and defaults."""

    def __init__(self, vocabulary, context, layers, width, heads, kv_heads, hidden, gpt2=False, tied=True):
        self.vocabulary, self.context, self.layers, self.width = vocabulary, context, layers, width
        self.heads, self.kv_heads, self.hidden, self.gpt2, self.tied = heads, kv_heads, hidden, gpt2, tied
        self.head_width = width // heads
        self.qkv_width = (heads + 2 * kv_heads) * self.head_width
        self.up_width = hidden if gpt2 else 2 * hidden


def norm(shape):
    return nn.LayerNorm(shape.width, eps=1e-5) if shape.gpt2 else nn.RMSNorm(shape.width, eps=1e-5)


def turn(x, cosine, sine):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cosine - b * sine, b * cosine + a * sine), dim=-1)


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.norm1, self.norm2 = norm(s), norm(s)
        self.qkv = nn.Linear(s.width, s.qkv_width, bias=s.gpt2)
        self.out = nn.Linear(s.width, s.width, bias=s.gpt2)
        self.up = nn.Linear(s.width, s.up_width, bias=s.gpt2)
        self.down = nn.Linear(s.hidden, s.width, bias=s.gpt2)

    def forward(self, h, cosine, sine):
        s = self.s
        b, t, _ = h.shape
        q, k, v = self.qkv(self.norm1(h)).split([s.width, s.kv_heads * s.head_width, s.kv_heads * s.head_width], dim=-1)
        q = q.view(b, t, s.heads, s.head_width).transpose(1, 2)
        k = k.view(b, t, s.kv_heads, s.head_width).transpose(1, 2)
        v = v.view(b, t, s.kv_heads, s.head_width).transpose(1, 2)
        if not s.gpt2:
            q, k = turn(q, cosine[:t], sine[:t]), turn(k, cosine[:t], sine[:t])
        if s.kv_heads != s.heads:
            k = k.repeat_interleave(s.heads // s.kv_heads, dim=1)
            v = v.repeat_interleave(s.heads // s.kv_heads, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(y.transpose(1, 2).reshape(b, t, s.width))
        up = self.up(self.norm2(h))
        if s.gpt2:
            y = F.gelu(up, approximate="tanh")
        else:
            gate, up = up.chunk(2, dim=-1)
            y = F.silu(gate) * up
        return h + self.down(y)


class Transformer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.token = nn.Embedding(s.vocabulary, s.width)
        self.position = nn.Embedding(s.context, s.width) if s.gpt2 else None
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = norm(s)
        self.head = nn.Linear(s.width, s.vocabulary, bias=False)
        if s.tied:
            self.head.weight = self.token.weight
        frequency = 10000.0 ** (-torch.arange(0, s.head_width, 2, dtype=torch.float64) / s.head_width)
        angle = torch.outer(torch.arange(s.context, dtype=torch.float64), frequency)
        self.register_buffer("cosine", angle.cos().float(), persistent=False)
        self.register_buffer("sine", angle.sin().float(), persistent=False)

    def blocks(self):
        """Parameters in the order of transformer::blocks(), with whether they are stored transposed there and decay."""
        yield self.token.weight, False, False
        if self.position is not None:
            yield self.position.weight, False, False
        for layer in self.layers:
            for a_norm, linears in ((layer.norm1, (layer.qkv, layer.out)), (layer.norm2, (layer.up, layer.down))):
                yield a_norm.weight, False, False
                if self.s.gpt2:
                    yield a_norm.bias, False, False
                for linear in linears:
                    yield linear.weight, True, True
                    if linear.bias is not None:
                        yield linear.bias, False, False
        yield self.norm.weight, False, False
        if self.s.gpt2:
            yield self.norm.bias, False, False
        if not self.s.tied:
            yield self.head.weight, False, True

    @torch.no_grad()
    def load(self, flat):
        """`flat`: all parameters as transformer::parameters() has them."""
        at = 0
        for weight, transposed, _ in self.blocks():
            stretch = flat[at : at + weight.numel()]
            at += weight.numel()
            weight.copy_(stretch.view(weight.shape[::-1]).t() if transposed else stretch.view(weight.shape))
        assert at == flat.numel(), "the number of parameters"

    def groups(self, decay):
        """Optimiser groups: weights decay; tables, gains and biases do not."""
        all_blocks = list(self.blocks())
        return [
            {"params": [w for w, _, decays in all_blocks if decays], "weight_decay": decay},
            {"params": [w for w, _, decays in all_blocks if not decays], "weight_decay": 0.0},
        ]

    def forward(self, token, following):
        h = self.token(token)
        if self.position is not None:
            h = h + self.position.weight[: token.shape[1]]
        for layer in self.layers:
            h = layer(h, self.cosine, self.sine)
        logits = self.head(self.norm(h))
        return F.cross_entropy(logits.view(-1, self.s.vocabulary), following.reshape(-1))
