//! Softmax attention in f32 for any head: one unit a query, keys and values by tiles through shared memory.
//!
//! For small models and comparisons: the back ends' own fused kernels multiply in f16 whatever they are given, and take
//! minutes to choose among themselves.

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Queries of a cube.
const ROWS: usize = 64;
/// Numbers of a tile of keys: two tiles fit the 48 KiB of shared memory that Vulkan drivers give.
const TILE: usize = 4096;

#[cube(launch_unchecked)]
fn attend(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    queries: u32,
    keys: u32,
    heads: u32,
    scale: f32,
    #[comptime] head_dim: usize,
    #[comptime] keys_of_tile: usize,
) {
    let (queries, keys, heads) = (queries as usize, keys as usize, heads as usize);
    let (head, batch, unit) = (CUBE_POS_Y as usize, CUBE_POS_Z as usize, UNIT_POS as usize);
    let (width, column) = (heads * head_dim, head * head_dim);
    let mut k_tile = Shared::<[f32]>::new_slice(comptime!(keys_of_tile * head_dim));
    let mut v_tile = Shared::<[f32]>::new_slice(comptime!(keys_of_tile * head_dim));
    // Every unit passes every barrier: those past the end repeat the last query.
    let row = min(CUBE_POS_X as usize * ROWS + unit, queries - 1);
    let q_at = (batch * queries + row) * width + column;
    let mut mine = Array::<f32>::new(head_dim);
    let mut sums = Array::<f32>::new(head_dim);
    for c in 0..head_dim {
        mine[c] = q[q_at + c] * scale;
        sums[c] = 0f32;
    }
    let mut top = f32::new(-1e30);
    let mut total = 0f32;
    for tile in 0..keys.div_ceil(keys_of_tile) {
        let first = tile * keys_of_tile;
        let from = (batch * keys + min(first + unit, keys - 1)) * width + column;
        sync_cube();
        if unit < keys_of_tile {
            for c in 0..head_dim {
                k_tile[unit * head_dim + c] = k[from + c];
                v_tile[unit * head_dim + c] = v[from + c];
            }
        }
        sync_cube();
        for j in 0..min(keys_of_tile, keys - first) {
            let mut score = 0f32;
            for c in 0..head_dim {
                score += mine[c] * k_tile[j * head_dim + c];
            }
            let best = top.max(score);
            let (shrink, weight) = ((top - best).exp(), (score - best).exp());
            top = best;
            total = total * shrink + weight;
            for c in 0..head_dim {
                sums[c] = sums[c] * shrink + weight * v_tile[j * head_dim + c];
            }
        }
    }
    for c in 0..head_dim {
        out[q_at + c] = sums[c] / total;
    }
}

/// Softmax attention, `q` `[b, n, d]` to `k`, `v` `[b, m, d]`, in f32.
pub fn launch(q: CubeTensor, k: CubeTensor, v: CubeTensor, heads: usize) -> CubeTensor {
    let [q, k, v] = [q, k, v].map(into_contiguous);
    let ([batch, queries, d], keys) = (q.meta.shape().dims::<3>(), k.meta.shape()[1]);
    let head_dim = d / heads;
    let out = empty_device_contiguous_dtype(q.client.clone(), q.device.clone(), q.meta.shape().clone(), q.dtype);
    let cubes = CubeCount::Static(queries.div_ceil(ROWS) as u32, heads as u32, batch as u32);
    // SAFETY: the sizes are those of the tensors; the kernel stays within them.
    unsafe {
        attend::launch_unchecked(
            &out.client,
            cubes,
            CubeDim::new_1d(ROWS as u32),
            q.into_buffer_arg(),
            k.into_buffer_arg(),
            v.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            queries as u32,
            keys as u32,
            heads as u32,
            1.0 / (head_dim as f32).sqrt(),
            head_dim,
            (TILE / head_dim).min(ROWS),
        );
    }
    out
}
