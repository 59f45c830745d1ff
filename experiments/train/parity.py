"""Our two networks against diffusers', on the exact configuration shipped, with random weights: `python parity.py`.

Needs diffusers (requirements.txt). Prints the largest difference of the velocity in float32 and exits with 1 above 2e-5,
about ten times what the order of summation in float32 makes of values of order 1.
"""

import torch
from diffusers import HunyuanVideoTransformer3DModel, WanTransformer3DModel

from captions import TEXT_LEN, token_ids
from subject import FULL, build

TOLERANCE = 2e-5
WAN_KEYS = (("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
            ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
            ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
            ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
            ("time_projection.1", "condition_embedder.time_proj"), ("head.modulation", "scale_shift_table"),
            ("head.head", "proj_out"), ("modulation", "scale_shift_table"), ("ffn.0", "ffn.net.0.proj"),
            ("ffn.2", "ffn.net.2"), ("norm3", "norm2"), ("self_attn.", "attn1."), ("cross_attn.", "attn2."))
ATTENTION_KEYS = ((".q.", ".to_q."), (".k.", ".to_k."), (".v.", ".to_v."), (".o.", ".to_out.0."))
HUNYUAN_KEYS = (("img_in.proj", "x_embedder.proj"), ("txt_in.input_embedder", "context_embedder.proj_in"),
                ("txt_in.t_embedder.mlp.0", "context_embedder.time_text_embed.timestep_embedder.linear_1"),
                ("txt_in.t_embedder.mlp.2", "context_embedder.time_text_embed.timestep_embedder.linear_2"),
                ("txt_in.c_embedder", "context_embedder.time_text_embed.text_embedder"),
                ("txt_in.individual_token_refiner.blocks", "context_embedder.token_refiner.refiner_blocks"),
                ("self_attn_proj", "attn.to_out.0"), ("adaLN_modulation.1", "norm_out.linear"),
                ("time_in.mlp.0", "time_text_embed.timestep_embedder.linear_1"),
                ("time_in.mlp.2", "time_text_embed.timestep_embedder.linear_2"),
                ("guidance_in.mlp.0", "time_text_embed.guidance_embedder.linear_1"),
                ("guidance_in.mlp.2", "time_text_embed.guidance_embedder.linear_2"),
                ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1"),
                ("vector_in.out_layer", "time_text_embed.text_embedder.linear_2"),
                ("double_blocks", "transformer_blocks"), ("single_blocks", "single_transformer_blocks"),
                ("img_mod.linear", "norm1.linear"), ("txt_mod.linear", "norm1_context.linear"),
                ("img_attn_q_norm", "attn.norm_q"), ("img_attn_k_norm", "attn.norm_k"),
                ("txt_attn_q_norm", "attn.norm_added_q"), ("txt_attn_k_norm", "attn.norm_added_k"),
                ("img_attn_proj", "attn.to_out.0"), ("txt_attn_proj", "attn.to_add_out"), ("img_mlp", "ff"),
                ("txt_mlp", "ff_context"), ("modulation.linear", "norm.linear"), (".q_norm", ".attn.norm_q"),
                (".k_norm", ".attn.norm_k"), ("linear2", "proj_out"), ("final_layer.linear", "proj_out"),
                ("final_layer.norm_out", "norm_out"), (".mlp.net", ".ff.net"))
THIRDS = {"self_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
          "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
          "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")}


def renamed(key, pairs):
    for ours, theirs in pairs:
        key = key.replace(ours, theirs)
    return key


def wan_to_diffusers(state):
    rename = lambda k: renamed(renamed(k, WAN_KEYS), ATTENTION_KEYS if "attn" in k else ())
    return {rename(k): v for k, v in state.items()}


def hunyuan_to_diffusers(state, dim):
    out = {}
    for key, value in state.items():
        key = key.replace("mlp.fc1", "mlp.net.0.proj").replace("mlp.fc2", "mlp.net.2")
        qkv = next((k for k in THIRDS if k in key), None)
        if qkv:
            for name, part in zip(THIRDS[qkv], value.chunk(3)):
                out[renamed(key.replace(qkv, name), HUNYUAN_KEYS)] = part
        elif "single_blocks" in key and "linear1" in key:
            names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
            for name, part in zip(names, value.split((dim, dim, dim, len(value) - 3 * dim))):
                out[renamed(key.replace("linear1", name), HUNYUAN_KEYS)] = part
        elif key.startswith("final_layer.adaLN"):
            out[renamed(key, HUNYUAN_KEYS)] = torch.cat(value.chunk(2)[::-1])  # (shift, scale) -> (scale, shift)
        else:
            out[renamed(key, HUNYUAN_KEYS)] = value
    return out


def diffusers_wan(c):
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=c["heads"], attention_head_dim=c["dim"] // c["heads"], in_channels=16,
        out_channels=16, text_dim=c["text_dim"], freq_dim=c["freq_dim"], ffn_dim=c["ffn"], num_layers=c["layers"],
        cross_attn_norm=True, qk_norm="rms_norm_across_heads", eps=1e-6, rope_max_seq_len=64)


def diffusers_hunyuan(c):
    return HunyuanVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=c["heads"], attention_head_dim=c["dim"] // c["heads"],
        num_layers=c["double"], num_single_layers=c["single"], num_refiner_layers=c["refiner"],
        mlp_ratio=c["mlp_ratio"], patch_size=2, patch_size_t=1, qk_norm="rms_norm", guidance_embeds=True,
        text_embed_dim=c["text_dim"], pooled_projection_dim=c["pooled_dim"], rope_theta=256.0,
        rope_axes_dim=c["axes"])


@torch.no_grad()
def difference(kind):
    subject = build(kind, False, 1)
    for p in subject.parameters():  # what starts at zero must count too
        if p.abs().sum() == 0:
            torch.nn.init.normal_(p, std=0.05)
    ids = torch.stack((token_ids("a cat moves left on blue"), token_ids("an apple spins on red")))
    generator = torch.Generator().manual_seed(3)
    x, sigma = torch.randn(2, 16, 8, 16, 16, generator=generator), torch.tensor([0.7003, 0.15])
    states, real = subject.states(ids)
    if kind == "wan":
        other = diffusers_wan(FULL[kind])
        other.load_state_dict(wan_to_diffusers(subject.net.state_dict()))
        ours = subject(x, sigma, ids)
        theirs = other(x, 1000 * sigma, states, return_dict=False)[0]
    else:
        other = diffusers_hunyuan(FULL[kind])
        other.load_state_dict(hunyuan_to_diffusers(subject.net.state_dict(), FULL[kind]["dim"]))
        guidance = torch.tensor([6.0, 1.5])
        ours = subject(x, sigma, ids, guidance)
        theirs = other(x, 1000 * sigma, states, real.long(), subject.pooled(states, real), 1000 * guidance,
                       return_dict=False)[0]
    return (ours - theirs).abs().max().item(), theirs.abs().max().item()


if __name__ == "__main__":
    worst = 0
    for kind in FULL:
        error, size = difference(kind)
        worst = max(worst, error)
        print(f"{kind}: largest difference {error:.2e}, largest value {size:.2f}")
    raise SystemExit(worst > TOLERANCE)
