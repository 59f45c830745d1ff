//! Where the blocks of a frame come from in the frame before, by matching.

use super::Frames;
use rayon::prelude::*;

/// Pixels a side of a block.
const BLOCK: usize = 8;
/// Furthest a block is looked for, in pixels along each axis.
const REACH: isize = 7;

/// Displacements of a clip: one a block and frame.
pub struct Motion {
    width: usize,
    height: usize,
    moved: Vec<Vec<(isize, isize)>>, // by frame from the second on, then by block, rows first; rows and columns
}

impl Motion {
    /// For every block of every frame, the displacement of least absolute difference in luminance; of equals the
    /// shortest, so that what has no texture does not move. None for frames smaller than a block.
    pub fn of(clip: &Frames) -> Option<Motion> {
        let [count, height, width] = clip.size();
        if height < BLOCK || width < BLOCK {
            return None;
        }
        let luma: Vec<Vec<f32>> = (0..count).map(|t| luma(clip.frame(t))).collect();
        let mut candidates: Vec<(isize, isize)> = (-REACH..=REACH)
            .flat_map(|dy| (-REACH..=REACH).map(move |dx| (dy, dx)))
            .collect();
        candidates.sort_by_key(|(dy, dx)| dy * dy + dx * dx);
        let frames: Vec<usize> = (1..count).collect();
        let moved = frames.into_par_iter().map(|t| {
            let blocks = (0..height.div_ceil(BLOCK)).flat_map(|by| (0..width.div_ceil(BLOCK)).map(move |bx| (by, bx)));
            let matched = blocks.map(|(by, bx)| {
                let block = Block {
                    // Blocks at the far edges overlap their neighbours instead of leaving the frame.
                    top: (by * BLOCK).min(height - BLOCK),
                    left: (bx * BLOCK).min(width - BLOCK),
                    size: (height, width),
                };
                block.best(&luma[t], &luma[t - 1], &candidates)
            });
            matched.collect()
        });
        let moved = moved.collect();
        Some(Motion { width, height, moved })
    }

    /// The pixel of frame `t − 1` that pixel `at` of frame `t` comes from, kept inside the frame.
    pub fn source(&self, t: usize, at: usize) -> usize {
        let (y, x) = (at / self.width, at % self.width);
        let block = y / BLOCK * self.width.div_ceil(BLOCK) + x / BLOCK;
        let (dy, dx) = self.moved[t - 1][block];
        let inside = |place: usize, by: isize, length: usize| place.saturating_add_signed(by).min(length - 1);
        inside(y, dy, self.height) * self.width + inside(x, dx, self.width)
    }
}

/// Rec. 601 luminance of RGB pixels.
fn luma(frame: &[f32]) -> Vec<f32> {
    let weighted = |rgb: &[f32]| 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
    frame.chunks_exact(3).map(weighted).collect()
}

/// A block by its first pixel, in a frame of `size` rows and columns.
struct Block {
    top: usize,
    left: usize,
    size: (usize, usize),
}

impl Block {
    fn best(&self, now: &[f32], before: &[f32], candidates: &[(isize, isize)]) -> (isize, isize) {
        let (height, width) = self.size;
        let (mut best, mut least) = ((0, 0), f32::INFINITY);
        for &(dy, dx) in candidates {
            let place = (self.top.checked_add_signed(dy), self.left.checked_add_signed(dx));
            let (Some(top), Some(left)) = place else { continue };
            if top + BLOCK > height || left + BLOCK > width {
                continue;
            }
            let difference: f32 = (0..BLOCK)
                .map(|row| {
                    let a = &now[(self.top + row) * width + self.left..][..BLOCK];
                    let b = &before[(top + row) * width + left..][..BLOCK];
                    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>()
                })
                .sum();
            if difference < least {
                (best, least) = ((dy, dx), difference);
            }
        }
        best
    }
}
