"""Records fp8/codes: every code of the two formats of eight bits, and the number that PyTorch reads in it.

    python record_fp8.py FOLDER     (torch 2.15.0, safetensors)
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

FORMATS = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def main(folder):
    folder.mkdir(exist_ok=True)
    codes = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    tensors = {}
    for name, dtype in FORMATS.items():
        tensors[name] = codes.view(dtype).clone()
        tensors[f"{name}.float"] = codes.view(dtype).float()
    save_file(tensors, folder / "codes.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "fp8")
