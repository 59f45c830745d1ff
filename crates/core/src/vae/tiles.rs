//! Decoding in overlapping tiles, blended linearly where they overlap: memory for large frames.
//!
//! The tiles, their overlap and the blend are those of diffusers (`tiled_decode` and `_temporal_tiled_decode` of its
//! video autoencoders).

use burn::tensor::{Tensor, TensorData};

/// Tiles of rows and columns.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows and columns of a tile, pixels.
    pub side: [usize; 2],
    /// From one tile to the next, pixels; the rest of `side` is blended.
    pub stride: [usize; 2],
}

impl Tiling {
    /// The tiles of diffusers for Wan and HunyuanVideo.
    pub const PUBLISHED: Tiling = Tiling {
        side: [256; 2],
        stride: [192; 2],
    };
}

/// A latent decoded tile by tile, where it is larger than one.
///
/// # Shapes
/// - `z`: `[b, c, t, h, w]`; `scale` is the number of pixels of a latent row or column
/// - `decode` maps `[b, c, t, h, w]` to `[b, 3, t′, scale·h, scale·w]`
/// - output: as `decode` would make of all of it
pub(super) fn tiled(z: Tensor<5>, tiling: Tiling, scale: usize, decode: impl Fn(Tensor<5>) -> Tensor<5>) -> Tensor<5> {
    let [_, _, _, h, w] = z.dims();
    let [rows_of_tile, columns_of_tile] = tiling.side.map(|pixels| pixels / scale);
    if h <= rows_of_tile && w <= columns_of_tile {
        return decode(z);
    }
    let [down, across] = tiling.stride.map(|pixels| pixels / scale);
    let overlap = [0, 1].map(|axis| tiling.side[axis] - tiling.stride[axis]);
    let mut above: Vec<Tensor<5>> = vec![];
    let mut rows = vec![];
    for y in (0..h).step_by(down) {
        let mut row: Vec<Tensor<5>> = vec![];
        for (j, x) in (0..w).step_by(across).enumerate() {
            let part = z.clone().narrow(3, y, rows_of_tile.min(h - y));
            let part = part.narrow(4, x, columns_of_tile.min(w - x));
            let mut tile = decode(part);
            if let Some(above) = above.get(j) {
                tile = blended(above, tile, 3, overlap[0]);
            }
            if let Some(left) = row.last() {
                tile = blended(left, tile, 4, overlap[1]);
            }
            row.push(tile);
        }
        let cut = row
            .iter()
            .map(|tile| first(first(tile.clone(), 3, down * scale), 4, across * scale));
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

    const TILING: Tiling = Tiling {
        side: [16; 2],
        stride: [12; 2],
    };
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
        let oblong = Tiling {
            side: [12, 20],
            stride: [10, 16],
        };
        for [h, w] in [[20, 14], [7, 30], [8, 8], [13, 9]] {
            let whole = host(enlarged(latent(h, w)));
            for tiling in [TILING, oblong] {
                assert_eq!(host(tiled(latent(h, w), tiling, SCALE, enlarged)), whole, "{h}×{w}");
            }
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
