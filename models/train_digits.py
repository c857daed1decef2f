"""Train a small SE network on scikit-learn's digits and export it as it is:  python -m models.train_digits

Needs torch 2.13.0, onnx 1.23.2, numpy 2.4.6 and scikit-learn 1.9.1, and about two minutes on one core.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from models.images import enlarge_digits
from models.registry import FOLDER, Entry, record
from models.torch_networks import se_inputs, se_modules, to_onnx

EPOCHS = 20
BATCH = 64
SHIFT = 3
OPSET = 17


class SqueezeExcite(nn.Module):  # type: ignore[misc,unused-ignore]
    """Gates each channel by a function of the means of all channels."""

    def __init__(self, channels: int, reduced: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.activation = activation
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze, excite, scale."""
        mean = x.mean((2, 3), keepdim=True)
        gates: Tensor = self.gate(self.expand(self.activation(self.reduce(mean))))
        return x * gates


class Block(nn.Module):  # type: ignore[misc,unused-ignore]
    """An inverted bottleneck as in EfficientNet: expand, depthwise, squeeze-and-excite, project."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        wide = 3 * inputs
        self.body = nn.Sequential(
            *normalised(nn.Conv2d(inputs, wide, 1, bias=False)),
            *normalised(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)),
            SqueezeExcite(wide, wide // 4, activation, gate),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """The body, and past it the residual if the shapes agree."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


def normalised(convolution: nn.Conv2d) -> tuple[nn.Module, ...]:
    """A convolution, its BatchNorm and its activation."""
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.SiLU()


def network() -> nn.Module:
    """Four SE blocks, of different activations and gates, on maps of 32, 16, 16 and 8 rows."""
    return nn.Sequential(
        *normalised(nn.Conv2d(1, 12, 3, padding=1, bias=False)),
        Block(12, 12, 1, nn.SiLU(), nn.Sigmoid()),
        Block(12, 24, 2, nn.ReLU(), nn.Sigmoid()),
        Block(24, 24, 1, nn.ReLU(), nn.Hardsigmoid()),
        Block(24, 40, 2, nn.SiLU(), nn.Sigmoid()),
        *normalised(nn.Conv2d(40, 96, 1, bias=False)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


def shifted(images: Tensor) -> Tensor:
    """Each image moved by up to SHIFT pixels either way at random, zeros moving in."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (SHIFT,) * 4)
    corners = torch.randint(2 * SHIFT + 1, (len(images), 2)).tolist()
    moved = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, corners, strict=True)]
    return torch.stack(moved)


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Train `model` on randomly shifted digits."""
    steps = len(images) // BATCH  # whole batches only: the statistics of a few images would upset BatchNorm
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=EPOCHS * steps)
    model.train()
    for epoch in range(EPOCHS):
        total = 0.0
        for chosen in torch.randperm(len(images)).split(BATCH)[:steps]:
            loss = functional.cross_entropy(model(shifted(images[chosen])), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}", flush=True)
    model.eval()


def main() -> None:
    """Train, say the accuracy on the held-out digits, and write the model and those digits."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums of several threads come in no fixed order
    data = load_digits()
    pixels = data.images.astype(np.uint8)
    seen, held_out, seen_labels, held_out_labels = train_test_split(
        pixels, data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    model = network()
    train(model, torch.from_numpy(enlarge_digits(seen)), torch.from_numpy(seen_labels))
    images = enlarge_digits(held_out)
    with torch.no_grad():
        right = model(torch.from_numpy(images)).argmax(1).numpy() == held_out_labels
    print(f"{right.sum()} of {len(right)} held-out digits right: {right.mean():.2%}")

    shape = (1, *images.shape[2:])
    exported = to_onnx(model, torch.from_numpy(images[:2]), "torchscript", OPSET, dynamic_batch=True)
    entry = Entry(
        name="digits_se",
        network="small EfficientNet-like",
        source="train_digits.py",
        exporter="torchscript",
        opset=OPSET,
        input_shape=shape,
        dynamic_batch=True,
        se_modules=len(se_modules(model)),
        se_inputs=tuple(se_inputs(model, shape)),
    )
    entry.path.write_bytes(exported.SerializeToString(deterministic=True))
    record(entry)
    np.savez_compressed(FOLDER / "digits_test.npz", pixels=held_out, labels=held_out_labels.astype(np.uint8))


if __name__ == "__main__":
    main()
