"""Train against a latency budget in a loop of your own.

    python examples/own_loop.py --budget 60%

Everything is measured on this machine's CPU through ONNX Runtime; with the defaults it takes a
few minutes, most of them training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.nn import functional

import latprof
from latprof.compress import accuracy
from latprof.devices import profile
from latprof.zoo import fashion_mnist, mobilenet_v3_small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="60%")
    parser.add_argument("--shapes", type=int, default=120, help="shapes to measure")
    parser.add_argument("--images", type=int, default=60_000, help="training images")
    parser.add_argument("--data", type=Path, help="folder with FashionMNIST's four files")
    parser.add_argument("--out", type=Path, default=Path("small.onnx"))
    args = parser.parse_args()

    torch.manual_seed(0)
    model, example_inputs = mobilenet_v3_small()
    batches, (images, labels) = fashion_mnist(args.data, images=args.images)

    # 1. What does each op of this network cost on this machine?
    shapes = latprof.plan(latprof.trace(model, example_inputs).workloads(), n_shapes=args.shapes)
    with latprof.open_device("local", runtime="onnxruntime", threads=1) as device:
        table = latprof.LatencyTable(device.target, tuple(profile(device, shapes)))
    table.save(args.out.with_suffix(".parquet"))

    # 2. A pre-trained network; here it is trained for an epoch.
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for x, y in batches.epoch(0):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    print(f"original: accuracy {accuracy(model, images, labels):.1%}")
    model.train()

    # 3. Masks, in an ordinary loop: one epoch to reach the budget, one to fine-tune.
    comp = latprof.Compressor(
        model, example_inputs, latprof.fit(table), budget=args.budget, steps=len(batches)
    )
    optimizer = torch.optim.AdamW(comp.parameters(), lr=1e-3)
    for epoch in (1, 2):
        for x, y in batches.epoch(epoch):
            loss = functional.cross_entropy(comp(x), y) + comp.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            comp.step()
        print(f"epoch {epoch}: predicted {comp.cost() / comp.original_cost:.0%} of the original")

    # 4. A smaller network of the same classes, and the file to deploy.
    small = comp.shrink()
    latprof.export(small, example_inputs, args.out)
    print(f"shrunk: accuracy {accuracy(small, images, labels):.1%}, written to {args.out}")


if __name__ == "__main__":
    main()
