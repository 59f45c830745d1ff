"""Records t5/t5_a, llama/llama_a and clip/clip_a: small random encoders of transformers, float32, CPU.

    python record_text.py FOLDER     (torch 2.15.0, transformers 5.23.0, safetensors 0.8.0)
"""

import copy
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, T5Config, T5EncoderModel


def filled(model, seed, matrices, vectors):
    """Random weights; those of norms around 1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            is_scale = "norm" in name and name.endswith("weight")
            p.copy_(torch.randn_like(p) * (matrices if p.dim() > 1 else vectors) + (1.0 if is_scale else 0.0))
    return model.eval()


def masked(ids, lengths, padding):
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        ids[row, length:] = padding
    return mask


def write(folder, kind, config, weights, io, exact, out, keep, notes):
    """`exact` is `out` in float64; `keep` selects what is compared."""
    folder.mkdir(parents=True, exist_ok=True)
    error, exact = (out.double() - exact)[keep], exact[keep]
    measured = {"max_abs": error.abs().max().item(), "rel_l2": (error.norm() / exact.norm()).item()}
    tolerance = {key: 20 * value for key, value in measured.items()}
    versions = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    case = {"kind": kind, "versions": versions, "tolerance_out": tolerance | {"measured_f32_vs_f64": measured}}
    (folder / "case.json").write_text(json.dumps(case | {"notes": notes}, indent=1))
    (folder / "config.json").write_text(json.dumps(json.loads(config.to_json_string(use_diff=False)), indent=1))
    save_file({k: v.contiguous().clone() for k, v in io.items()}, folder / "io.safetensors")
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, folder / "transformers.safetensors")


def t5(folder):
    config = T5Config(
        vocab_size=64, d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4, relative_attention_num_buckets=32,
        relative_attention_max_distance=128, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-6,
        dropout_rate=0.0, pad_token_id=0, eos_token_id=1,
    )
    model = filled(T5EncoderModel(config), 311, 0.3, 0.2)
    ids = torch.randint(3, 64, (2, 20))
    mask = masked(ids, [20, 7], 0)
    ids[0, 19] = ids[1, 6] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    exact = copy.deepcopy(model).double()(**inputs).last_hidden_state
    io = {"in.input_ids": ids, "in.attention_mask": mask}

    def recorded(name):
        def hook(module, args, output):
            io[name] = output[0] if isinstance(output, tuple) else output

        return hook

    for i, block in enumerate(model.encoder.block):
        attention = block.layer[0]
        attention.SelfAttention.register_forward_hook(
            recorded(f"act.encoder.block.{i}.layer.0.SelfAttention.out.0"))
        attention.register_forward_hook(recorded(f"act.encoder.block.{i}.layer.0.out.0"))
        block.register_forward_hook(recorded(f"act.encoder.block.{i}.out"))
    out = io["out.last_hidden_state"] = model(**inputs).last_hidden_state
    weights = model.state_dict()
    weights.pop("encoder.embed_tokens.weight", None)  # the same as `shared.weight`
    notes = ["compare only rows where attention_mask is 1", "the first layer's relative_attention_bias serves all"]
    write(folder / "t5/t5_a", "t5_encoder", config, weights, io, exact, out, mask.bool(), notes)


def llama(folder):
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=40, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=500000.0, max_position_embeddings=512,
    )
    model = filled(LlamaModel(config), 321, 0.2, 0.1)
    ids = torch.randint(3, 64, (2, 14))
    mask = masked(ids, [14, 9], 0)
    inputs = {"input_ids": ids, "attention_mask": mask, "output_hidden_states": True}
    exact = copy.deepcopy(model).double()(**inputs).hidden_states[-3]
    states = model(**inputs).hidden_states
    io = {"in.input_ids": ids, "in.attention_mask": mask, "act.layers.0.out": states[1]}
    out = io["out.hidden_state_skip_2"] = states[-3]
    notes = ["compare only rows where attention_mask is 1", "two layers before the end, no final norm"]
    write(folder / "llama/llama_a", "llama_decoder", config, model.state_dict(), io, exact, out, mask.bool(), notes)


def clip(folder):
    config = CLIPTextConfig(
        vocab_size=64, hidden_size=24, intermediate_size=40, projection_dim=24, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=16, hidden_act="quick_gelu", layer_norm_eps=1e-5,
        pad_token_id=63, bos_token_id=62, eos_token_id=63,
    )
    model = filled(CLIPTextModel(config), 322, 0.2, 0.1)
    ids = torch.randint(0, 60, (2, 16))
    mask = masked(ids, [16, 9], 63)
    ids[:, 0] = 62
    ids[0, 15] = ids[1, 8] = 63
    exact = copy.deepcopy(model).double()(input_ids=ids).pooler_output
    out = model(input_ids=ids).pooler_output
    io = {"in.input_ids": ids, "in.attention_mask": mask, "out.pooler_output": out}
    # Published checkpoints have the prefix that transformers 5 leaves out.
    floats = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    weights = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in floats.items()}
    notes = ["the end token is 63", "the mask ends with the first end token; causal attention sees nothing behind it"]
    write(folder / "clip/clip_a", "clip_text", config, weights, io, exact, out, slice(None), notes)


if __name__ == "__main__":
    with torch.no_grad():
        for record in (t5, llama, clip):
            record(Path(sys.argv[1]))
