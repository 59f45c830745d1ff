//! Norms of rows, with what follows them, in f32 whatever the dtypes of input and output.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Units that share a row at most.
const UNITS_MAX: usize = 256;
/// Cubes at most, which take rows in turn: graphics APIs bound the grid.
const CUBES_MAX: usize = 32_768;

/// Sizes of a launch that are compiled in. Widths are in vectors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Sizes {
    width: usize,         // of a normed row
    units: usize,         // that share it
    rows_of_token: usize, // normed rows in the width of a token
    half_head: usize,     // vectors of a table for one token; 0 = no rotation
    centred: bool,        // a layer norm
}

/// The sum of every row's units, known to all of them.
#[cube]
fn total(value: f32, sums: &mut [f32], #[comptime] units: usize) -> f32 {
    let first = UNIT_POS_Y as usize * units;
    let unit = UNIT_POS_X as usize;
    sums[first + unit] = value;
    sync_cube();
    #[unroll]
    for halving in 1..comptime!(units.ilog2() + 1) {
        let reach = comptime!(units >> halving);
        if unit < reach {
            let other = sums[first + unit + reach];
            sums[first + unit] += other;
        }
        sync_cube();
    }
    let sum = sums[first];
    sync_cube();
    sum
}

#[cube]
fn lanes<N: Size>(v: Vector<f32, N>) -> f32 {
    let mut sum = 0f32;
    #[unroll]
    for i in 0..v.vector_size() {
        sum += v.extract(i);
    }
    sum
}

/// Rows along the grid and the cube's second axis, vectors of a row along its first.
#[cube(launch_unchecked)]
fn norm_rows<I: Float, O: Float, N: Size, H: Size>(
    x: &[Vector<I, N>],
    scale: &[Vector<f32, N>],
    shift: &[Vector<f32, N>],
    cos: &[Vector<f32, H>],
    sin: &[Vector<f32, H>],
    out: &mut [Vector<O, N>],
    rows: u32,
    tokens: u32,
    eps: f32,
    channels: f32,
    #[comptime] sizes: Sizes,
    #[comptime] rows_of_cube: usize,
    #[define(I, O)] _dtypes: [ElemType; 2],
) {
    let mut sums = Shared::new_slice(comptime!(sizes.units * rows_of_cube));
    let cubes = CUBE_COUNT;
    let rows = rows as usize;
    let rounds = rows.div_ceil(cubes * rows_of_cube);
    for round in 0..rounds {
        // Every unit passes every barrier: those past the end repeat the last row.
        let row = min(
            (round * cubes + CUBE_POS) * rows_of_cube + UNIT_POS_Y as usize,
            rows - 1,
        );
        let first = row * sizes.width;
        let mut mean = 0f32;
        if comptime!(sizes.centred) {
            let mut sum = 0f32;
            for i in range_stepped(UNIT_POS_X as usize, sizes.width, sizes.units) {
                sum += lanes::<N>(Vector::cast_from(x[first + i]));
            }
            mean = total(sum, &mut sums, sizes.units) / channels;
        }
        let mut squares = 0f32;
        for i in range_stepped(UNIT_POS_X as usize, sizes.width, sizes.units) {
            let off = Vector::<f32, N>::cast_from(x[first + i]) - Vector::new(mean);
            squares += lanes::<N>(off * off);
        }
        let inverse = 1f32 / (total(squares, &mut sums, sizes.units) / channels + eps).sqrt();
        for i in range_stepped(UNIT_POS_X as usize, sizes.width, sizes.units) {
            let off = Vector::<f32, N>::cast_from(x[first + i]) - Vector::new(mean);
            let mut y = off * Vector::new(inverse) * scale[i];
            if comptime!(sizes.centred) {
                y += shift[i];
            }
            if comptime!(sizes.half_head > 0) {
                let token = row / sizes.rows_of_token % tokens as usize;
                let at = token * sizes.half_head + i % sizes.half_head;
                let (c, s) = (cos[at], sin[at]);
                #[unroll]
                for pair in 0..c.vector_size() {
                    let (even, odd) = (y.extract(2 * pair), y.extract(2 * pair + 1));
                    let (c, s) = (c.extract(pair), s.extract(pair));
                    y.insert(2 * pair, even * c - odd * s);
                    y.insert(2 * pair + 1, even * s + odd * c);
                }
            }
            out[first + i] = Vector::cast_from(y);
        }
    }
}

/// `x` `[b, n, d]`, normed over groups of as many channels as `scale` has, in the dtype `into`: with a shift a layer norm,
/// `(x − mean)/√(var + eps)·scale + shift`, without one an RMS norm, `x/√(mean(x²) + eps)·scale`. Then, with cosines and
/// sines of the angles of each token, `[1, n, 1, head_dim/2]` in f32, its heads are rotated.
pub fn launch(
    x: CubeTensor,
    scale: CubeTensor,
    shift: Option<CubeTensor>,
    rotary: Option<[CubeTensor; 2]>,
    eps: f32,
    into: DType,
) -> CubeTensor {
    let (x, scale) = (into_contiguous(x), into_contiguous(scale));
    let shape = x.meta.shape().clone();
    let (tokens, d, channels) = (shape[1], shape[2], scale.meta.shape()[0]);
    let out = empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), shape.clone(), into);
    // Vectors of 16 bytes; a vector of a table has half as many numbers.
    let half_head = rotary.as_ref().map_or(0, |[cos, _]| cos.meta.shape()[3]);
    let divides = |n: usize, of: usize| of.is_multiple_of(n);
    let widest = 16 / x.dtype.size();
    let fits = |n: &usize| divides(*n, channels) && (half_head == 0 || divides(n / 2, half_head));
    let vector = std::iter::successors(Some(widest), |n| Some(n / 2)).find(|n| *n == 2 || fits(n));
    let vector = vector.expect("down to two");
    assert!(
        fits(&vector),
        "{channels} channels, heads of {}: pairs of channels",
        2 * half_head
    );
    let width = channels / vector;
    let units = width.next_power_of_two().min(UNITS_MAX);
    let rows_of_cube = UNITS_MAX / units;
    let rows = x.meta.num_elements() / channels;
    let sizes = Sizes {
        width,
        units,
        rows_of_token: d / channels,
        half_head: half_head / (vector / 2),
        centred: shift.is_some(),
    };
    // What a norm does not read still takes a place among the arguments.
    let shift = shift.map_or_else(|| scale.clone(), into_contiguous);
    let [cos, sin] = rotary.map_or_else(|| [scale.clone(), scale.clone()], |tables| tables.map(into_contiguous));
    let cubes = rows.div_ceil(rows_of_cube).min(CUBES_MAX);
    let dtypes = [x.dtype, into].map(burn::backend::cubecl::dtype_to_storage_type);
    // SAFETY: rows, widths and tables are those of the tensors; the kernel stays within them.
    unsafe {
        norm_rows::launch_unchecked(
            &out.client,
            CubeCount::Static(cubes as u32, 1, 1),
            CubeDim::new_2d(units as u32, rows_of_cube as u32),
            vector,
            vector / 2,
            x.into_buffer_arg(),
            scale.into_buffer_arg(),
            shift.into_buffer_arg(),
            cos.into_buffer_arg(),
            sin.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            rows as u32,
            tokens as u32,
            eps,
            channels as f32,
            sizes,
            rows_of_cube,
            dtypes,
        );
    }
    out
}
