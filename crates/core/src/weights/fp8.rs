//! Weights of eight bits: what their codes mean, and what stands beside them.
//!
//! Both formats are those of arXiv 2209.05433, a sign and then four bits of exponent (E4M3, PyTorch's `float8_e4m3fn`: no
//! infinities, one NaN a sign) or five (E5M2, like IEEE 754).
//!
//! A file may hold weights as they were cast, or each tensor divided by a number of its own. ComfyUI's files keep that
//! number beside `LAYER.weight`: as `LAYER.scale_weight`, in files that a tensor `scaled_fp8` marks, or as
//! `LAYER.weight_scale` (its `QUANTIZATION.md`; `convert_old_quants` in `comfy/utils.py` makes the one of the other).
//! What else stands there changes no weight: the scale of activations for products in eight bits, the format's name.

use super::Weights;
use super::numbers::is_wide;
use safetensors::tensor::Dtype;
use std::sync::LazyLock;

/// Names of a weight's scale, where `weight` stands otherwise.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// Names of what only matters to products in eight bits.
const IDLE: [&str; 3] = ["scale_input", "input_scale", "comfy_quant"];

/// Whether this is one of the two formats.
pub(super) fn is_fp8(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2)
}

/// Whether a tensor marks a file of scaled weights, whatever prefix its keys have.
pub(super) fn is_marker(key: &str) -> bool {
    key == "scaled_fp8" || key.ends_with(".scaled_fp8")
}

/// The number of each code, where this is one of the two formats.
pub(super) fn table(dtype: Dtype) -> Option<&'static [f32; 256]> {
    static E4M3: Table = Table::new(|| std::array::from_fn(|code| number(code, [4, 3])));
    static E5M2: Table = Table::new(|| std::array::from_fn(|code| number(code, [5, 2])));
    match dtype {
        Dtype::F8_E4M3 => Some(&E4M3),
        Dtype::F8_E5M2 => Some(&E5M2),
        _ => None,
    }
}

type Table = LazyLock<[f32; 256]>;

/// The number of a code, by the bits of exponent and mantissa.
fn number(code: usize, [exponent_bits, mantissa_bits]: [usize; 2]) -> f32 {
    let (last_exponent, last_mantissa) = ((1 << exponent_bits) - 1, (1 << mantissa_bits) - 1);
    let (exponent, mantissa) = ((code >> mantissa_bits) & last_exponent, code & last_mantissa);
    let power = |exponent: usize| 2f32.powi(exponent as i32 - last_exponent as i32 / 2);
    let fraction = mantissa as f32 / (last_mantissa + 1) as f32;
    let has_infinities = exponent_bits == 5;
    let size = match exponent {
        0 => fraction * power(1),
        e if e == last_exponent && has_infinities && mantissa == 0 => f32::INFINITY,
        e if e == last_exponent && (has_infinities || mantissa == last_mantissa) => f32::NAN,
        e => (1.0 + fraction) * power(e),
    };
    if code >> 7 == 1 { -size } else { size }
}

/// What a file keeps beside a weight of eight bits.
pub(super) struct Beside {
    /// Keys that belong to the weight.
    pub keys: Vec<String>,
    /// What its numbers are multiplied by.
    pub scale: Result<f32, Fault>,
}

/// Why a scale cannot be used.
pub(super) enum Fault {
    /// It should be there: which, and why.
    Missing(String),
    /// It is not one number: which, and what it is.
    Misshapen(String),
}

impl Beside {
    /// What belongs to the tensor of this key.
    pub fn of(weights: &Weights, key: &str) -> Beside {
        let layer = key.strip_suffix("weight");
        let there = |names: &[&str]| -> Vec<String> {
            let keys = names.iter().filter_map(|name| Some(format!("{}{name}", layer?)));
            keys.filter(|key| weights.shape(key).is_some()).collect()
        };
        let scales = there(&SCALES);
        let scale = match (&scales[..], layer, &weights.marker) {
            ([], Some(layer), Some(marker)) => Err(Fault::Missing(format!(
                "{layer}{}, since `{marker}` says that weights are scaled",
                SCALES[0]
            ))),
            ([], ..) => Ok(1.0),
            ([scale], ..) => one_number(weights, scale),
            ([_, more, ..], ..) => Err(Fault::Misshapen(format!(
                "{more}: found two scales of one weight, expected one"
            ))),
        };
        Beside {
            keys: [scales, there(&IDLE)].concat(),
            scale,
        }
    }
}

/// A scale of a whole tensor.
fn one_number(weights: &Weights, key: &str) -> Result<f32, Fault> {
    let stored = weights.find(key).expect("it is there");
    let info = stored.info;
    let found = match is_wide(info.dtype) && info.shape.iter().product::<usize>() == 1 {
        true => stored.floats(None)[0],
        false => f32::NAN,
    };
    let misshapen = || {
        let (shape, dtype) = (&info.shape, info.dtype);
        let shown = if found.is_nan() {
            String::new()
        } else {
            format!(" = {found}")
        };
        Fault::Misshapen(format!(
            "{key}: found {shape:?} {dtype:?}{shown}, expected one number above 0 for the whole weight, in F32, F16 or BF16"
        ))
    };
    Some(found)
        .filter(|scale| scale.is_finite() && *scale > 0.0)
        .ok_or_else(misshapen)
}
