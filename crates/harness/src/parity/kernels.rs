//! A GPU's kernels against the CPU's, in the dtypes and at the head sizes that published models have, on lengths that
//! fill no tile: the recorded models are too small to reach them.

use super::{Case, Finding};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use mixcache_core::kernels::Products;
use mixcache_core::linear::Linear;
use mixcache_core::models::ops;
use mixcache_core::noise::noise;
use mixcache_core::tensors::host;

/// Half a unit in the last place of bf16, relative: the inputs are rounded for both, the outputs for the GPU alone.
const ROUNDING: f64 = 1.0 / 512.0;
/// What a result may be off, in those: its own rounding, and that of weights of an attention or of a hidden GELU.
const ROUNDINGS_MAX: f64 = 2.0;
/// Sums of some hundred products in f32, in another order.
const SUMS: f64 = 1e-5;

/// Every kernel on `device`.
pub fn compare(device: &Device) -> Vec<Finding> {
    let mut case = Case {
        name: "kernels".into(),
        device,
        findings: vec![],
    };
    let halves = device.supports_dtype(DType::BF16);
    for (name, dtype, tolerance) in [
        ("f32", FloatDType::F32, SUMS),
        ("bf16", FloatDType::BF16, ROUNDING * ROUNDINGS_MAX),
    ] {
        if dtype == FloatDType::BF16 && !halves {
            continue;
        }
        let draw = Draw { dtype };
        linear(&mut case, name, &draw, tolerance);
        norms(&mut case, name, &draw, tolerance);
        attention(&mut case, name, &draw, tolerance);
    }
    case.findings
}

/// Numbers that both devices hold exactly.
struct Draw {
    dtype: FloatDType,
}

impl Draw {
    fn on<const D: usize>(&self, device: &Device, seed: u64, shape: [usize; D]) -> Tensor<D> {
        let values = TensorData::new(noise(seed, &shape), shape);
        let on_host = Tensor::<D>::from_data(values, &Device::flex())
            .cast(self.dtype)
            .cast(FloatDType::F32);
        match *device == Device::flex() {
            true => on_host,
            false => on_host.to_device(device).cast(self.dtype),
        }
    }
    fn plain<const D: usize>(&self, device: &Device, seed: u64, shape: [usize; D]) -> Tensor<D> {
        Draw { dtype: FloatDType::F32 }.on(device, seed, shape)
    }
}

impl Case<'_> {
    /// Runs something on the device and on the CPU, and compares.
    fn both<const D: usize>(&mut self, quantity: String, tolerance: f64, run: impl Fn(&Device) -> Tensor<D>) {
        let [ours, expected] = [self.device.clone(), Device::flex()].map(|device| host(run(&device)));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let off = norm(&mut ours.iter().zip(&expected).map(|(a, b)| *a as f64 - *b as f64));
        self.measured(quantity, off / norm(&mut expected.iter().map(|x| *x as f64)), tolerance);
    }
}

fn linear(case: &mut Case, name: &str, draw: &Draw, tolerance: f64) {
    for (rows, inputs, outputs) in [(77, 96, 136), (1000, 1536, 512), (1, 256, 1536)] {
        let layer = |device: &Device| {
            let weight = draw.on(device, 1, [inputs, outputs]);
            Linear::new(weight, draw.on(device, 2, [outputs]))
        };
        let x = |device: &Device| draw.on(device, 3, [1, rows, inputs]);
        let size = format!("{rows}×{inputs}×{outputs}, {name}");
        case.both(format!("linear {size}"), tolerance, |device| {
            ops::project(x(device), &layer(device))
        });
        case.both(format!("linear and GELU {size}"), tolerance, |device| {
            ops::project_gelu(x(device), &layer(device))
        });
    }
}

fn norms(case: &mut Case, name: &str, draw: &Draw, tolerance: f64) {
    let (b, n, eps) = (2, 77, 1e-6);
    for (d, head_dim) in [(1536, 128), (960, 64), (84, 12)] {
        let x = |device: &Device| draw.on(device, 4, [b, n, d]);
        let size = format!("{d} in heads of {head_dim}, {name}");
        case.both(format!("layer norm {size}"), tolerance, |device| {
            let [scale, shift] = [5, 6].map(|seed| draw.plain(device, seed, [d]));
            ops::norm(&x(device), scale, shift, eps, draw.dtype)
        });
        for width in [d, head_dim] {
            let scale = |device: &Device| draw.plain(device, 7, [width]);
            case.both(format!("RMS norm of {width} {size}"), tolerance, |device| {
                ops::rms_norm(x(device), &scale(device), eps, draw.dtype)
            });
            case.both(
                format!("RMS norm of {width} and rotation {size}"),
                tolerance,
                |device| {
                    let angles = draw.plain(device, 8, [1, n, 1, head_dim / 2]);
                    let tables = [angles.clone().cos(), angles.sin()];
                    ops::rms_rotate(x(device), &scale(device), &tables, eps, draw.dtype)
                },
            );
        }
    }
}

fn attention(case: &mut Case, name: &str, draw: &Draw, tolerance: f64) {
    for (b, queries, keys, heads, head_dim) in [
        (1, 128, 128, 1, 128),
        (1, 300, 300, 3, 128),
        (2, 257, 512, 2, 128),
        (1, 1000, 77, 2, 64),
        (1, 77, 1111, 3, 64),
        (1, 96, 130, 2, 32),
    ] {
        // In half precision no published model has other heads; the back end would tune its own kernels for minutes.
        if draw.dtype != FloatDType::F32 && head_dim < 64 {
            continue;
        }
        let d = heads * head_dim;
        let size = format!("{b}×{queries}×{keys}, {heads} heads of {head_dim}, {name}");
        case.both(format!("attention {size}"), tolerance, |device| {
            let q = draw.on(device, 9, [b, queries, d]);
            let [k, v] = [10, 11].map(|seed| draw.on(device, seed, [b, keys, d]));
            ops::attention(q, k, v, heads, Products::F32)
        });
    }
}
