//! Linear layers as the back end multiplies by them fastest.

use crate::kernels::{self, Panels, Products};
use crate::models::blocks::Movable;
use burn::tensor::{Device, Tensor};

/// A linear layer, laid out once while loading.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a model has some hundred layers, each of many kilobytes"
)]
pub enum Linear {
    /// For the kernels of the CPU, which take and give f32 whatever the layer's dtype.
    Panels(Panels),
    /// For the back end's own matrix product.
    Tensors {
        /// `[in, out]`, which needs no transposed view
        weight: Tensor<2>,
        /// `[out]`
        bias: Tensor<1>,
    },
}

impl Linear {
    /// A layer of weights `[in, out]` and a bias `[out]`.
    pub fn new(weight: Tensor<2>, bias: Tensor<1>) -> Linear {
        // The loader's stand-ins for what a file lacks do not fit each other, and are never used.
        let fits = weight.dims()[1] == bias.dims()[0];
        match fits.then(|| kernels::panels(&weight, &bias)).flatten() {
            Some(panels) => Linear::Panels(panels),
            None => Linear::Tensors { weight, bias },
        }
    }
    /// What the layer's inputs and weights are rounded to in a kernel of the CPU; attention beside it goes by that too.
    pub fn products(&self) -> Products {
        match self {
            Linear::Panels(panels) => panels.products(),
            Linear::Tensors { .. } => Products::F32,
        }
    }
}

impl Movable for Linear {
    /// Laid out for the device.
    fn on(&self, device: &Device) -> Linear {
        match self {
            Linear::Panels(_) => self.clone(), // the CPU's
            Linear::Tensors { weight, bias } => {
                Linear::new(weight.clone().to_device(device), bias.clone().to_device(device))
            }
        }
    }
}
