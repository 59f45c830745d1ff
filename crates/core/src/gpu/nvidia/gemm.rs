//! Linear layers by cuBLASLt, which the CUDA toolkit and PyTorch bring along: bias and GELU in the product's epilogue.

use super::{beside, rows};
use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::*;
use cudarc::driver::sys::CUstream;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Scratch memory of a product, in bytes: what NVIDIA advises for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;
/// The address of an operand is a multiple of this, in bytes; CubeCL's buffers begin at multiples of 512.
const ALIGNMENT_BYTES: [u32; 2] = [256, 16];

/// What tells one way to multiply from another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    dtype: DType,
    rows: usize,
    inputs: usize,
    outputs: usize,
    x_pitch: usize,
    weight_pitch: usize,
    gelu: bool,
    alignment_bytes: u32,
}

/// A product that cuBLASLt has prepared.
#[derive(Clone, Copy)]
struct Plan {
    product: cublasLtMatmulDesc_t,
    weight: cublasLtMatrixLayout_t,
    x: cublasLtMatrixLayout_t,
    out: cublasLtMatrixLayout_t,
    algorithm: cublasLtMatmulAlgo_t,
}

/// The library on one device.
struct Blas {
    handle: cublasLtHandle_t,
    workspace: u64,
    plans: HashMap<Key, Plan>,
}
// SAFETY: handles of the library, used under a lock.
unsafe impl Send for Blas {}

static BLAS: LazyLock<Mutex<HashMap<usize, Blas>>> = LazyLock::new(Mutex::default);

/// Whether the loader finds the library.
pub fn is_present() -> bool {
    // SAFETY: NVIDIA's own library, loaded as a product would load it.
    static PRESENT: LazyLock<bool> = LazyLock::new(|| unsafe { is_culib_present() });
    *PRESENT
}

/// The shape of `x·weight`.
pub fn shape(x: &Shape, weight: &Shape) -> Shape {
    let mut shape = x.clone();
    let last = shape.num_dims() - 1;
    shape[last] = weight[1];
    shape
}

/// `x·weight + bias`, then perhaps GELU in its tanh form.
pub fn linear(x: CubeTensor, weight: CubeTensor, bias: CubeTensor, gelu: bool) -> CubeTensor {
    let index = match &x.device {
        burn_cubecl::CubeDevice::Cuda(cuda) => cuda.index,
        other => panic!("cuBLASLt on {other:?}"),
    };
    let out_shape = shape(x.meta.shape(), weight.meta.shape());
    let out = empty_device_contiguous_dtype(x.client.clone(), x.device.clone(), out_shape, x.dtype);
    let ((x, x_pitch), (weight, weight_pitch), bias) = (rows(x), rows(weight), into_contiguous(bias));
    let (inputs, outputs) = (weight.meta.shape()[0], weight.meta.shape()[1]);
    let key = Key {
        dtype: x.dtype,
        rows: x.meta.num_elements() / inputs,
        inputs,
        outputs,
        x_pitch,
        weight_pitch,
        gelu,
        alignment_bytes: 0,
    };
    beside::beside(index, [&x, &weight, &bias, &out], |stream, addresses| {
        let aligned = |bytes: &&u32| addresses.iter().all(|at| at.is_multiple_of(**bytes as u64));
        let alignment_bytes = ALIGNMENT_BYTES.iter().find(aligned).copied().unwrap_or(2);
        let key = Key { alignment_bytes, ..key };
        let mut blas = BLAS.lock().unwrap_or_else(PoisonError::into_inner);
        let blas = blas.entry(index).or_insert_with(Blas::open);
        blas.multiply(key, addresses, stream)
            .unwrap_or_else(|error| panic!("cuBLASLt: {error}"));
    });
    out
}

impl Blas {
    /// On the device of the current context.
    fn open() -> Blas {
        let handle = result::create_handle().unwrap_or_else(|error| panic!("cuBLASLt: {error}"));
        // SAFETY: plain memory of the device, kept as long as the program runs.
        let workspace = unsafe { cudarc::driver::result::malloc_sync(WORKSPACE_BYTES) };
        Blas {
            handle,
            workspace: workspace.unwrap_or_else(|error| panic!("cuBLASLt's workspace: {error}")),
            plans: HashMap::new(),
        }
    }
    fn multiply(&mut self, key: Key, [x, weight, bias, out]: [u64; 4], stream: CUstream) -> Result<(), CublasError> {
        let plan = match self.plans.get(&key) {
            Some(plan) => *plan,
            None => {
                let plan = Plan::new(self.handle, key)?;
                self.plans.insert(key, plan);
                plan
            }
        };
        let (one, zero) = (1f32, 0f32);
        let at = |address: u64| address as *const c_void;
        // SAFETY: the layouts are those of the tensors whose addresses these are.
        unsafe {
            describe(
                plan.product,
                cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                &bias,
            )?;
            result::matmul(
                self.handle,
                plan.product,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                at(weight),
                plan.weight,
                at(x),
                plan.x,
                at(out),
                plan.out,
                out as *mut c_void,
                plan.out,
                &raw const plan.algorithm,
                self.workspace as *mut c_void,
                WORKSPACE_BYTES,
                stream.cast(),
            )
        }
    }
}

impl Plan {
    /// cuBLASLt stores by columns: it is told of `outᵀ = weightᵀ·xᵀ`, which is the same numbers in memory.
    fn new(handle: cublasLtHandle_t, key: Key) -> Result<Plan, CublasError> {
        let number = match key.dtype {
            DType::BF16 => cudaDataType::CUDA_R_16BF,
            DType::F16 => cudaDataType::CUDA_R_16F,
            _ => cudaDataType::CUDA_R_32F,
        };
        let [rows, inputs, outputs] = [key.rows, key.inputs, key.outputs].map(|n| n as u64);
        let product = result::create_matmul_desc(cublasComputeType_t::CUBLAS_COMPUTE_32F, cudaDataType::CUDA_R_32F)?;
        let epilogue = match key.gelu {
            true => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS,
            false => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
        };
        let weight = result::create_matrix_layout(number, outputs, inputs, key.weight_pitch as i64)?;
        let x = result::create_matrix_layout(number, inputs, rows, key.x_pitch as i64)?;
        let out = result::create_matrix_layout(number, outputs, rows, outputs as i64)?;
        let preference = result::create_matmul_pref()?;
        // SAFETY: descriptors made above; the values are of the types that the attributes have.
        let algorithm = unsafe {
            use cublasLtMatmulPreferenceAttributes_t as Preference;
            describe(
                product,
                cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_EPILOGUE,
                &epilogue,
            )?;
            prefer(
                preference,
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                &WORKSPACE_BYTES,
            )?;
            for operand in [
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            ] {
                prefer(preference, operand, &key.alignment_bytes)?;
            }
            let best = result::get_matmul_algo_heuristic(handle, product, weight, x, out, out, preference)?;
            result::destroy_matmul_pref(preference)?;
            best.algo
        };
        Ok(Plan {
            product,
            weight,
            x,
            out,
            algorithm,
        })
    }
}

/// # Safety
/// The value is of the type that the attribute has.
unsafe fn describe<T>(
    product: cublasLtMatmulDesc_t,
    attribute: cublasLtMatmulDescAttributes_t,
    value: &T,
) -> Result<(), CublasError> {
    // SAFETY: by contract.
    unsafe { result::set_matmul_desc_attribute(product, attribute, (&raw const *value).cast(), size_of::<T>()) }
}

/// # Safety
/// The value is of the type that the attribute has.
unsafe fn prefer<T>(
    preference: cublasLtMatmulPreference_t,
    attribute: cublasLtMatmulPreferenceAttributes_t,
    value: &T,
) -> Result<(), CublasError> {
    // SAFETY: by contract.
    unsafe { result::set_matmul_pref_attribute(preference, attribute, (&raw const *value).cast(), size_of::<T>()) }
}
