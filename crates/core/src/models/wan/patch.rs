//! Latent to tokens and back. The reference embeds patches by a convolution whose kernel is its
//! stride: a matrix product over the elements of a patch.

use burn::tensor::Tensor;

/// `[b, c, f, h, w]` to patches `[b, tokens, c·pt·ph·pw]`, tokens frame by frame, row by row.
pub fn patches(latent: Tensor<5>, [pt, ph, pw]: [usize; 3]) -> Tensor<3> {
    let [b, c, f, h, w] = latent.dims();
    let (ft, hp, wp) = (f / pt, h / ph, w / pw);
    latent
        .reshape([b, c, ft, pt, hp, ph, wp, pw])
        .permute([0, 2, 4, 6, 1, 3, 5, 7])
        .reshape([b, ft * hp * wp, c * pt * ph * pw])
}

/// Patches `[b, tokens, pt·ph·pw·c]`, channel last as Wan's head writes them, to `[b, c, f, h, w]`.
pub fn latent(patches: Tensor<3>, [f, h, w]: [usize; 3], [pt, ph, pw]: [usize; 3]) -> Tensor<5> {
    let [b, _, elements] = patches.dims();
    let c = elements / (pt * ph * pw);
    patches
        .reshape([b, f / pt, h / ph, w / pw, pt, ph, pw, c])
        .permute([0, 7, 1, 4, 2, 5, 3, 6])
        .reshape([b, c, f, h, w])
}
