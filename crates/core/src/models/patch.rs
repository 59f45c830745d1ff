//! Latent to tokens and back. The references embed patches by a convolution whose kernel is its
//! stride: a matrix product over the elements of a patch.

use burn::tensor::Tensor;

/// A latent size that the model's patches do not divide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("latents of {grid:?} frames, rows, columns do not divide into patches of {patch:?}: choose a multiple")]
pub struct GridError {
    grid: [usize; 3],
    patch: [usize; 3],
}

/// Frames, rows and columns of tokens of a latent grid.
pub fn token_grid(grid: [usize; 3], patch: [usize; 3]) -> Result<[usize; 3], GridError> {
    if (0..3).any(|i| grid[i] == 0 || !grid[i].is_multiple_of(patch[i])) {
        return Err(GridError { grid, patch });
    }
    Ok([0, 1, 2].map(|i| grid[i] / patch[i]))
}

/// Where the channels of a patch stand in what a head writes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Channels {
    /// `[c, pt, ph, pw]`: HunyuanVideo.
    First,
    /// `[pt, ph, pw, c]`: Wan.
    Last,
}

/// `[b, c, f, h, w]` to patches `[b, tokens, c·pt·ph·pw]`, tokens frame by frame, row by row.
pub fn patches(latent: Tensor<5>, [pt, ph, pw]: [usize; 3]) -> Tensor<3> {
    let [b, c, f, h, w] = latent.dims();
    let (ft, hp, wp) = (f / pt, h / ph, w / pw);
    latent
        .reshape([b, c, ft, pt, hp, ph, wp, pw])
        .permute([0, 2, 4, 6, 1, 3, 5, 7])
        .reshape([b, ft * hp * wp, c * pt * ph * pw])
}

/// Patches `[b, tokens, elements]` as the head writes them, to `[b, c, f, h, w]`.
pub fn latent(patches: Tensor<3>, channels: Channels, [f, h, w]: [usize; 3], [pt, ph, pw]: [usize; 3]) -> Tensor<5> {
    let [b, _, elements] = patches.dims();
    let c = elements / (pt * ph * pw);
    let (ft, hp, wp) = (f / pt, h / ph, w / pw);
    let patches = match channels {
        Channels::First => patches
            .reshape([b, ft, hp, wp, c, pt, ph, pw])
            .permute([0, 4, 1, 5, 2, 6, 3, 7]),
        Channels::Last => patches
            .reshape([b, ft, hp, wp, pt, ph, pw, c])
            .permute([0, 7, 1, 4, 2, 5, 3, 6]),
    };
    patches.reshape([b, c, f, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn channels_that_come_first_go_back_as_they_were_cut() {
        let (grid, patch) = ([2, 4, 6], [1, 2, 2]);
        let latent = Tensor::<1>::from_floats(
            (0..144).map(|i| i as f32).collect::<Vec<_>>().as_slice(),
            &Device::flex(),
        );
        let latent = latent.reshape([1, 3, 2, 4, 6]);
        let back = super::latent(patches(latent.clone(), patch), Channels::First, grid, patch);
        assert_eq!(crate::tensors::host(back), crate::tensors::host(latent));
    }
}
