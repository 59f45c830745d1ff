"""HunyuanVideo's and CogVideoX's transformers as diffusers computes them on a CPU: the rivals that are not Wan."""

import torch

try:
    from diffusers import CogVideoXTransformer3DModel, HunyuanVideoTransformer3DModel
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    IS_INSTALLED = True
except ImportError:
    IS_INSTALLED = False

# Tokens of a prompt, all of them words: what mixcache takes where a `config.json` of diffusers does not say it.
HUNYUAN_TEXT_LEN, COGVIDEOX_TEXT_LEN = 256, 226
TIMESTEP = torch.tensor([500.0])


def hunyuan(double, single, heads, head_dim, text_dim):
    """The `config.json` of a HunyuanVideo; the channels of a head are shared out to the axes as published, 2 : 7 : 7."""
    return dict(
        num_layers=double, num_single_layers=single, num_refiner_layers=2, num_attention_heads=heads,
        attention_head_dim=head_dim, mlp_ratio=4.0, in_channels=16, out_channels=16, patch_size=2, patch_size_t=1,
        qk_norm="rms_norm", guidance_embeds=True, text_embed_dim=text_dim, pooled_projection_dim=768,
        rope_theta=256.0, rope_axes_dim=[head_dim // 8, head_dim * 7 // 16, head_dim * 7 // 16],
    )  # fmt: skip


def cogvideox(layers, heads, text_dim, grid):
    """The `config.json` of a CogVideoX with rotary positions."""
    frames, rows, columns = grid
    return dict(
        num_layers=layers, num_attention_heads=heads, attention_head_dim=64, in_channels=16, out_channels=16,
        time_embed_dim=512, text_embed_dim=text_dim, max_text_seq_length=COGVIDEOX_TEXT_LEN, patch_size=2,
        use_rotary_positional_embeddings=True, sample_frames=4 * frames - 3, sample_height=rows,
        sample_width=columns, temporal_compression_ratio=4, norm_eps=1e-5,
    )  # fmt: skip


def run_hunyuan(what, dtype, config, grid, device):
    """A function that computes a pass of random weights on random input."""
    model = HunyuanVideoTransformer3DModel(**config).eval()
    inputs = dict(
        hidden_states=torch.randn(1, config["in_channels"], *grid),
        encoder_hidden_states=torch.randn(1, HUNYUAN_TEXT_LEN, config["text_embed_dim"]),
        encoder_attention_mask=torch.ones(1, HUNYUAN_TEXT_LEN, dtype=torch.bool),
        pooled_projections=torch.randn(1, config["pooled_projection_dim"]),
        timestep=TIMESTEP,
        guidance=torch.tensor([6000.0]),
    )
    return lambda: model(**inputs)


def run_cogvideox(what, dtype, config, grid, device):
    """A function that computes a pass of random weights on random input."""
    model = CogVideoXTransformer3DModel(**config).eval()
    (frames, rows, columns), patch = grid, config["patch_size"]
    side = rows // patch, columns // patch
    inputs = dict(
        hidden_states=torch.randn(1, frames, config["in_channels"], rows, columns),
        encoder_hidden_states=torch.randn(1, COGVIDEOX_TEXT_LEN, config["text_embed_dim"]),
        timestep=TIMESTEP,
        image_rotary_emb=get_3d_rotary_pos_embed(config["attention_head_dim"], ((0, 0), side), side, frames),
    )
    return lambda: model(**inputs)
