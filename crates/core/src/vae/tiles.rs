//! Decoding in overlapping tiles, blended linearly where they overlap: memory for large frames.
//!
//! The tiles, their overlap and the blend are those of diffusers (`tiled_decode` and `_temporal_tiled_decode` of its
//! video autoencoders).

use burn::tensor::{Tensor, TensorData};

/// Square tiles.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows and columns of a tile, pixels.
    pub side: usize,
    /// From one tile to the next, pixels; the rest of `side` is blended.
    pub stride: usize,
}

impl Tiling {
    /// The tiles of diffusers.
    pub const PUBLISHED: Tiling = Tiling { side: 256, stride: 192 };
}

/// A latent decoded tile by tile, where it is larger than one.
///
/// # Shapes
/// - `z`: `[b, c, t, h, w]`; `scale` is the number of pixels of a latent row or column
/// - `decode` maps `[b, c, t, h, w]` to `[b, 3, t′, scale·h, scale·w]`
/// - output: as `decode` would make of all of it
pub(super) fn tiled(z: Tensor<5>, tiling: Tiling, scale: usize, decode: impl Fn(Tensor<5>) -> Tensor<5>) -> Tensor<5> {
    let [_, _, _, h, w] = z.dims();
    let (side, stride) = (tiling.side / scale, tiling.stride / scale);
    if h.max(w) <= side {
        return decode(z);
    }
    let (overlap, kept) = (tiling.side - tiling.stride, stride * scale);
    let mut above: Vec<Tensor<5>> = vec![];
    let mut rows = vec![];
    for y in (0..h).step_by(stride) {
        let mut row: Vec<Tensor<5>> = vec![];
        for (j, x) in (0..w).step_by(stride).enumerate() {
            let part = z.clone().narrow(3, y, side.min(h - y)).narrow(4, x, side.min(w - x));
            let mut tile = decode(part);
            if let Some(above) = above.get(j) {
                tile = blended(above, tile, 3, overlap);
            }
            if let Some(left) = row.last() {
                tile = blended(left, tile, 4, overlap);
            }
            row.push(tile);
        }
        let cut = row.iter().map(|tile| first(first(tile.clone(), 3, kept), 4, kept));
        rows.push(Tensor::cat(cut.collect(), 4));
        above = row;
    }
    Tensor::cat(rows, 3)
}

/// `after`, whose first `extent` places along an axis lie over the last ones of `before`, faded in over them.
pub(super) fn blended(before: &Tensor<5>, after: Tensor<5>, axis: usize, extent: usize) -> Tensor<5> {
    let (long, len) = (before.dims()[axis], after.dims()[axis]);
    let extent = extent.min(long).min(len);
    let mut shape = [1; 5];
    shape[axis] = extent;
    let ramp = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let weight = Tensor::from_data(TensorData::new(ramp, shape), &after.device());
    let old = before.clone().narrow(axis, long - extent, extent);
    let new = after.clone().narrow(axis, 0, extent);
    let mixed = old.clone() + (new - old) * weight;
    match len - extent {
        0 => mixed,
        rest => Tensor::cat(vec![mixed, after.narrow(axis, extent, rest)], axis),
    }
}

/// At most the first `len` places along an axis.
pub(super) fn first(x: Tensor<5>, axis: usize, len: usize) -> Tensor<5> {
    let len = len.min(x.dims()[axis]);
    x.narrow(axis, 0, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::host;
    use burn::tensor::Device;

    const TILING: Tiling = Tiling { side: 16, stride: 12 };
    const SCALE: usize = 2;

    /// Latents of one channel with different numbers everywhere.
    fn latent(h: usize, w: usize) -> Tensor<5> {
        let values: Vec<f32> = (0..h * w).map(|i| (i * 7 % 31) as f32).collect();
        Tensor::from_data(TensorData::new(values, [1, 1, 1, h, w]), &Device::flex())
    }
    fn enlarged(z: Tensor<5>) -> Tensor<5> {
        super::super::conv::repeated(z, [1, SCALE, SCALE])
    }

    #[test]
    fn a_decoder_that_sees_one_place_at_a_time_leaves_no_seams() {
        // Also where the last tile is smaller than the overlap, and where one axis needs no tiles.
        for [h, w] in [[20, 14], [7, 30], [8, 8], [13, 9]] {
            let whole = host(enlarged(latent(h, w)));
            assert_eq!(host(tiled(latent(h, w), TILING, SCALE, enlarged)), whole, "{h}×{w}");
        }
    }

    #[test]
    fn two_tiles_fade_into_each_other() {
        // A decoder that says which tile it was: the one at the left edge has the number 0 in its first place.
        let number = |z: Tensor<5>| {
            let is_first = host(z.clone())[0] == 0.0;
            enlarged(z).zeros_like() + if is_first { 0.0 } else { 1.0 }
        };
        let columns = host(tiled(latent(1, 12), TILING, SCALE, number));
        // Tiles from columns 0 and 12 of 24, the first 16 wide: four columns of overlap.
        let fade = [0.0, 0.25, 0.5, 0.75];
        assert_eq!(columns[..12], [0.0; 12]);
        assert_eq!(columns[12..16], fade);
        assert_eq!(columns[16..24], [1.0; 8]);
    }
}
