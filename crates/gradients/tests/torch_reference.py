#!/usr/bin/env python3
"""The gradient of a batch in 64 bits, by torch: the oracle of src/tests/torch.rs.

usage: torch_reference.py DIRECTORY OUT

DIRECTORY holds base.gguf (F32 or BF16), adapter.gguf and batch.json. OUT gets, as
little-endian 32-bit numbers: the loss, the log-probability and the entropy of each
target, and the gradients of the adapter in the order of its file. Needs torch (any
version with float64 on the CPU; Debian's python3-torch will do) and numpy.

Written from the papers, not from the engine: RMSNorm, rotary embedding, grouped-query
attention, SwiGLU, LoRA; softmax over the allowed tokens of each target.
"""

import json
import math
import pathlib
import struct
import sys

import numpy
import torch

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class Gguf:
    """Keys and tensors of a GGUF file with F32 and BF16 tensors."""

    def __init__(self, path):
        self.bytes = path.read_bytes()
        self.at = 4
        self.take("<I")
        n_tensors, n_keys = self.take("<Q"), self.take("<Q")
        self.keys = {self.text(): self.value(self.take("<I")) for _ in range(n_keys)}
        infos = [self.info() for _ in range(n_tensors)]
        align = self.keys.get("general.alignment", 32)
        start = (self.at + align - 1) // align * align
        self.tensors = {name: self.data(start + offset, shape, kind) for name, shape, kind, offset in infos}

    def take(self, form):
        (value,) = struct.unpack_from(form, self.bytes, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        n = self.take("<Q")
        self.at += n
        return self.bytes[self.at - n : self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            kind, n = self.take("<I"), self.take("<Q")
            return [self.value(kind) for _ in range(n)]
        return self.take(SCALARS[kind])

    def info(self):
        name = self.text()
        shape = [self.take("<Q") for _ in range(self.take("<I"))]
        return name, shape[::-1], self.take("<I"), self.take("<Q")

    def data(self, start, shape, kind):
        n = math.prod(shape)
        if kind == 0:
            numbers = numpy.frombuffer(self.bytes, "<f4", n, start)
        elif kind == 30:
            upper = numpy.frombuffer(self.bytes, "<u2", n, start).astype("<u4") << 16
            numbers = upper.view("<f4")
        else:
            sys.exit(f"tensor type {kind}: convert the base to F32 or BF16")
        return torch.from_numpy(numbers.astype("f8")).reshape(shape)


def main(directory, out):
    base, adapter = Gguf(directory / "base.gguf"), Gguf(directory / "adapter.gguf")
    batch = json.loads((directory / "batch.json").read_text())
    weights = base.tensors
    arch = base.keys["general.architecture"]
    key = lambda name: base.keys[f"{arch}.{name}"]
    heads, kv_heads = key("attention.head_count"), key("attention.head_count_kv")
    head = base.keys.get(f"{arch}.attention.key_length", key("embedding_length") // heads)
    epsilon, theta = key("attention.layer_norm_rms_epsilon"), key("rope.freq_base")
    low = {name: tensor.requires_grad_(True) for name, tensor in adapter.tensors.items()}
    alpha = adapter.keys["adapter.lora.alpha"]

    tokens = torch.tensor(batch["tokens"])
    n = len(tokens)
    mask = torch.full((n, n), -math.inf, dtype=torch.float64)
    for query, seen in enumerate(batch["sees"]):
        mask[query, seen] = 0.0
    inverse = theta ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
    angle = torch.tensor(batch["positions"], dtype=torch.float64)[:, None, None] * inverse
    cos, sin = angle.cos(), angle.sin()

    def rope(x):  # [n, heads, head]
        if arch == "llama":
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
        a, b = x[..., : head // 2], x[..., head // 2 :]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weights[name]

    def linear(x, name):
        a, b = low[name + ".lora_a"], low[name + ".lora_b"]
        return x @ weights[name].T + alpha / a.shape[0] * (x @ a.T) @ b.T

    x = weights["token_embd.weight"][tokens]
    for layer in range(key("block_count")):
        of = lambda name: f"blk.{layer}.{name}.weight"
        h = norm(x, of("attn_norm"))
        q = linear(h, of("attn_q")).view(n, heads, head)
        k = linear(h, of("attn_k")).view(n, kv_heads, head)
        v = linear(h, of("attn_v")).view(n, kv_heads, head)
        if of("attn_q_norm") in weights:
            q, k = norm(q, of("attn_q_norm")), norm(k, of("attn_k_norm"))
        q, k = rope(q), rope(k)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(head) + mask
        read = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(n, heads * head)
        x = x + linear(read, of("attn_output"))
        h = norm(x, of("ffn_norm"))
        gated = torch.nn.functional.silu(linear(h, of("ffn_gate"))) * linear(h, of("ffn_up"))
        x = x + linear(gated, of("ffn_down"))
    output = weights.get("output.weight", weights["token_embd.weight"])
    logits = norm(x, "output_norm.weight") @ output.T

    loss, log_probs, entropies = 0.0, [], []
    for target in batch["targets"]:
        z = logits[target["at"]]
        allowed = target["allowed"] or range(len(z))
        log_p = z[list(allowed)].log_softmax(-1)
        log_prob = log_p[list(allowed).index(target["token"])]
        entropy = -(log_p.exp() * log_p).sum()
        loss = loss - target["weight"] * log_prob - target["entropy"] * entropy
        log_probs.append(log_prob.item())
        entropies.append(entropy.item())
    loss.backward()
    gradients = [tensor.grad.flatten().numpy() for tensor in low.values()]
    numbers = numpy.concatenate([[loss.item()], log_probs, entropies, *gradients])
    pathlib.Path(out).write_bytes(numbers.astype("<f4").tobytes())
    print(f"{arch}: loss {loss.item():.8f}, {len(log_probs)} targets, {len(numbers)} numbers to {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
