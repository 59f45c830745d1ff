"""Records pickle: small files of torch.save, and the same tensors as safetensors.

    python record_pickle.py FOLDER     (torch 2.15.0, safetensors)
"""

import os
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file


class Forbidden:
    """Would run a command when it is loaded."""

    def __reduce__(self):
        return os.system, ("echo it was run > it_was_run",)


def tensors():
    """Every way in which a state dict keeps its tensors: types, views of one storage, orders of axes."""
    torch.manual_seed(0)
    table = torch.randn(6, 8)
    shared = torch.randn(4, 5)
    return {
        "f32": torch.randn(2, 3),
        "f16": torch.randn(3, 2, dtype=torch.float32).half(),
        "bf16": torch.randn(5).bfloat16(),
        "e4m3": torch.randn(2, 4).to(torch.float8_e4m3fn),
        "e5m2": torch.randn(4).to(torch.float8_e5m2),
        "i64": torch.tensor([1, -2, 1 << 40]),
        "one": torch.tensor(2.5),
        "none": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "transposed": torch.randn(4, 3).T,
        "channels_last": torch.randn(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "window": table[1:4, 2:5],
        "rows": table[2:],
        "shared.a": shared,
        "shared.b": shared[2],
    }


def main(folder):
    folder.mkdir(exist_ok=True)
    all_of_it = tensors()
    plain = {name: tensor.detach().contiguous().clone() for name, tensor in all_of_it.items()}
    save_file(plain, folder / "plain.safetensors")
    state = OrderedDict(all_of_it)
    state._metadata = OrderedDict({"": {"version": 1}})  # as of a module's state dict
    torch.save(state, folder / "plain.pth")
    torch.save(all_of_it, folder / "protocol4.pth", pickle_protocol=4)
    shape = all_of_it["f32"].shape
    nested = {"module": state, "epoch": 3, "lr": 1e-4, "done": True, "of": None, "big": 1 << 80, "shapes": [shape]}
    torch.save(nested, folder / "module.pt")
    one = {"x": torch.ones(2)}
    torch.save({"state_dict": one, "step": torch.tensor(7)}, folder / "state_dict.ckpt")
    torch.save(one | {"evil": Forbidden()}, folder / "forbidden.pth")
    torch.save(one, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"x": torch.ones(1).expand(4)}, folder / "expanded.pth")
    torch.save({"epoch": 3, "args": [1, 2]}, folder / "no_tensors.pth")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "pickle")
