"""Checks the baseline against golden vectors: check.py GOLDEN_DIRECTORY

Compares forward, losses, gradients and training steps of the groups `sit-repa` and `training` in both variants, the
stochastic sampler with `samplers` and the encoder with `dinov2`; prints one line a file and variant and exits with 1 if anything is outside the manifest's
tolerance. Needs numpy and torch alone.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from dinov2 import DINOv2
from sample import Guidance, euler_maruyama
from sit_repa import SiT, projection_loss, repa_losses
from torch import Tensor
from trainer import VARIANTS, Trainer

DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32}
CONSTRUCTOR = (
    "input_size patch_size in_channels hidden_size depth num_heads mlp_ratio "
    "class_dropout_prob num_classes encoder_depth projector_dim z_dims qk_norm"
).split()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """8 bytes of header length, a JSON header, raw little-endian data."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (start + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[begin:end], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors


class Golden:
    def __init__(self, directory: Path, path: str, entry: dict, grad_order: list[str], variant: str) -> None:
        self.directory = directory
        self.path = path
        self.variant = variant
        self.args = entry["args"] or {}
        self.manifest = entry["tensors"]
        self.grad_order = grad_order
        self.tensors = read_safetensors(directory / path)

    def model(self) -> SiT:
        config = self.args["config"]
        model = SiT(**{name: config[name] for name in CONSTRUCTOR}, as_written=self.variant == "as-written")
        model.y_embedder.dropout_prob = 0.0
        model.load_state_dict(read_safetensors(self.directory / self.args["params"]))
        return model

    def targets(self) -> list[Tensor]:
        return [self.tensors[f"z_target.{k}"] for k in range(len(self.args["config"]["z_dims"]))]

    def compare(self, actual: dict[str, Tensor], roles: set[str]) -> bool:
        """Prints the tensor that is worst against its tolerance; a golden tensor that is missing in `actual` fails."""
        worst, where = 0.0, ""
        for name, entry in self.manifest.items():
            if entry["role"] not in roles:
                continue
            expected = keep(name, self.tensors[name]).double()
            error = (keep(name, actual[name].detach()).double() - expected).abs()
            limit = entry["tol"]["atol"] + entry["tol"]["rtol"] * expected.abs()
            ratio = float((error / limit).max())
            if not ratio <= worst:
                worst, where = ratio, name
        passed = worst <= 1.0
        print(f"{'ok  ' if passed else 'FAIL'} {self.path}, {self.variant}: {worst:.3f} of the tolerance ({where})")
        return passed


def keep(name: str, tensor: Tensor) -> Tensor:
    """Leaves out the keys' bias of trained states: its gradient is only rounding, which Adam divides by itself."""
    if name.startswith(("param.", "ema.")) and name.endswith("attn.qkv.bias"):
        q, _, v = tensor.chunk(3)
        return torch.cat([q, v])
    return tensor


def check_forward(golden: Golden) -> bool:
    inputs = golden.tensors
    output, projections = golden.model().eval()(inputs["x"], inputs["t"], inputs["y"])
    actual = {"out": output, **{f"zs.{k}": z for k, z in enumerate(projections)}}
    return golden.compare(actual, {"output"})


def check_loss(golden: Golden) -> bool:
    inputs = golden.tensors
    model = golden.model()
    losses = repa_losses(
        model,
        inputs["images"],
        inputs["noise"],
        inputs["time_input"],
        inputs["y_eff"],
        golden.targets(),
        golden.args["path"],
        golden.args["proj_coeff"],
        functools.partial(projection_loss, as_written=golden.variant == "as-written"),
    )
    losses.total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = torch.stack([gradients[name].norm() for name in golden.grad_order])
    actual = {
        "denoising_loss": losses.denoising,
        "proj_loss": losses.projection,
        "total_loss": losses.total,
        "grad_norms": norms,
        "grad_norm_total": norms.norm(),
        **{f"grad.{name}": gradient for name, gradient in gradients.items()},
    }
    return golden.compare(actual, {"loss", "grad"})


def train(golden: Golden, steps: int) -> tuple[dict[str, Tensor], Tensor]:
    """Trains `steps` steps from the start; the state by its golden names, and the log with one row a step."""
    args = golden.args
    inputs = read_safetensors(golden.directory / args["inputs"])
    trainer = Trainer(
        golden.model(),
        lr=args["lr"],
        betas=tuple(args["betas"]),
        eps=args["eps"],
        weight_decay=args["weight_decay"],
        ema_decay=args["ema_decay"],
        max_grad_norm=args["max_grad_norm"],
        proj_coeff=args["proj_coeff"],
        variant=golden.variant,
    )
    log = []
    for step in range(steps):
        index = inputs["index"][step]
        losses, norm = trainer.step(
            inputs["pool.x"][index],
            inputs["noise"][step],
            inputs["time_input"][step],
            inputs["y_eff"][step],
            [inputs["pool.z.0"][index]],
        )
        log.append(torch.stack([losses.denoising.mean(), losses.projection, losses.total, norm]).detach())
    names = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    state: dict[str, Tensor] = {}
    for name, parameter, ema in zip(names, trainer.parameters, trainer.ema):
        moments = trainer.optimizer.state[parameter]
        state[f"param.{name}"] = parameter
        state[f"ema.{name}"] = ema
        state[f"exp_avg.{name}"] = moments["exp_avg"]
        state[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"]
    return state, torch.stack(log)


def check_state(golden: Golden) -> bool:
    return golden.compare(train(golden, golden.args["step"])[0], {"state"})


def check_log(golden: Golden) -> bool:
    return golden.compare({"log": train(golden, golden.args["steps"])[1]}, {"loss"})


def check_encoder(golden: Golden) -> bool:
    """The table of positions is taken as it was used, resampled already."""
    config, inputs = golden.args["config"], golden.tensors
    positions = inputs["pos_embed_used"]
    encoder = DINOv2(
        tokens=positions.shape[1] - 1,
        hidden_size=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
    )
    weights = read_safetensors(golden.directory / golden.args["params"])
    del weights["mask_token"]
    encoder.load_state_dict({**weights, "pos_embed": positions})
    name = "x_norm_patchtokens"
    golden.manifest = {name: golden.manifest[name]}
    return golden.compare({name: encoder(inputs["x"])}, {"output"})


@torch.no_grad()
def check_sampler(golden: Golden) -> bool:
    args, inputs, model = golden.args, golden.tensors, golden.model().eval()
    seen: list[Tensor] = []

    def velocity(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        seen.append(x[: inputs["y"].shape[0]])
        return model(x, t, labels)[0]

    out = euler_maruyama(
        velocity,
        inputs["latents"],
        inputs["y"],
        args["num_steps"],
        Guidance(args["cfg_scale"], args["guidance_low"], args["guidance_high"]),
        args["null_label"],
        iter(inputs["eps"]),
        args["path"],
    )
    return golden.compare({"out": out, "model_in": torch.stack(seen)}, {"output", "intermediate"})


CHECKS = {
    "sit.forward": check_forward,
    "sit.loss": check_loss,
    "train.state": check_state,
    "train.log": check_log,
    "sampler.euler-maruyama": check_sampler,
    "dinov2.forward": check_encoder,
}


def variants(entry: dict) -> tuple[str, ...]:
    """Those in which a file is checked: none for what the baseline does not have."""
    if entry["kind"] == "dinov2.forward":
        config = entry["args"]["config"]
        return VARIANTS[:1] if config["num_register_tokens"] == 0 and config["ffn_layer"] == "mlp" else ()
    return VARIANTS if entry["kind"] in CHECKS else ()


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    directory = Path(sys.argv[1])
    manifest = json.loads((directory / "manifest.json").read_text())
    results = [
        CHECKS[entry["kind"]](Golden(directory, path, entry, case["hyper"].get("grad_order", []), variant))
        for case in manifest["cases"]
        for path, entry in case["files"].items()
        for variant in variants(entry)
    ]
    print(f"{sum(results)} of {len(results)} checks are within tolerance.")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
