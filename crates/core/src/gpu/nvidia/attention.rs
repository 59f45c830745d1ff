//! Launches `attention.cu`, which NVRTC compiles when it is first asked for.

use super::{beside, rows};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cudarc::driver::result::{self, device, function, module};
use cudarc::driver::sys::{self, *};
use cudarc::nvrtc::result as nvrtc;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Channels of a head that the kernel is written for.
pub const HEAD_DIMS: [usize; 2] = [64, 128];

// As in the kernel.
const SOURCE: &str = include_str!("attention.cu");
const ROWS: usize = 128;
const THREADS: u32 = 384;
const STAGES: usize = 2;
/// Channels in a row of shared memory: what its swizzle spans.
const PANEL: usize = 64;

/// A compiled kernel.
#[derive(Clone, Copy)]
struct Kernel {
    function: CUfunction,
    shared_bytes: u32,
}
// SAFETY: a handle of the driver, which may be used from any thread.
unsafe impl Send for Kernel {}

static KERNELS: LazyLock<Mutex<HashMap<(usize, usize), Kernel>>> = LazyLock::new(Mutex::default);

/// Whether a device has the instructions of compute capability 9.0, which later ones have not.
pub fn is_hopper(index: usize) -> bool {
    static MAJORS: LazyLock<Mutex<HashMap<usize, bool>>> = LazyLock::new(Mutex::default);
    let mut majors = MAJORS.lock().unwrap_or_else(PoisonError::into_inner);
    *majors.entry(index).or_insert_with(|| {
        let major = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
        // SAFETY: the driver answers for every device that it has given out.
        device::get(index as i32).and_then(|device| unsafe { device::get_attribute(device, major) }) == Ok(9)
    })
}

/// Softmax attention, `q` `[b, n, d]` to `k`, `v` `[b, m, d]`, in bf16.
pub fn attention(q: CubeTensor, k: CubeTensor, v: CubeTensor, heads: usize) -> CubeTensor {
    let index = match &q.device {
        burn_cubecl::CubeDevice::Cuda(cuda) => cuda.index,
        other => panic!("a CUDA kernel on {other:?}"),
    };
    let ([batch, queries, d], keys) = (q.meta.shape().dims::<3>(), k.meta.shape()[1]);
    let head_dim = d / heads;
    let out = empty_device_contiguous_dtype(q.client.clone(), q.device.clone(), q.meta.shape().clone(), q.dtype);
    let [q, k, v] = [q, k, v].map(rows);
    let kernel = kernel(index, head_dim);
    // Scores go into a power of two.
    let scale = (std::f64::consts::LOG2_E / (head_dim as f64).sqrt()) as f32;
    beside::beside(index, [&q.0, &k.0, &v.0, &out], |stream, [q_at, k_at, v_at, out_at]| {
        let maps = [(q_at, queries, q.1), (k_at, keys, k.1), (v_at, keys, v.1)]
            .map(|(at, tokens, pitch)| tensor_map(at, [d, tokens, batch], pitch));
        let (queries, keys, heads) = (queries as i32, keys as i32, heads as i32);
        let pointer = |value: *const c_void| value.cast_mut();
        let mut arguments = [
            pointer((&raw const maps[0]).cast()),
            pointer((&raw const maps[1]).cast()),
            pointer((&raw const maps[2]).cast()),
            pointer((&raw const out_at).cast()),
            pointer((&raw const queries).cast()),
            pointer((&raw const keys).cast()),
            pointer((&raw const heads).cast()),
            pointer((&raw const scale).cast()),
        ];
        let grid = ((queries as u32).div_ceil(ROWS as u32), heads as u32, batch as u32);
        // SAFETY: the arguments are those of the kernel, and the maps describe the tensors.
        unsafe {
            result::launch_kernel(
                kernel.function,
                grid,
                (THREADS, 1, 1),
                kernel.shared_bytes,
                stream,
                &mut arguments,
            )
        }
        .unwrap_or_else(|error| panic!("attention on the GPU: {error}"));
    });
    out
}

/// How the copy engine finds 64 channels of 128 tokens of `[b, tokens, channels]` in bf16.
fn tensor_map(at: u64, [channels, tokens, batch]: [usize; 3], pitch: usize) -> CUtensorMap {
    let sizes = [channels as u64, tokens as u64, batch as u64];
    let distances = [2 * pitch as u64, 2 * (pitch * tokens) as u64]; // in bytes
    let (tile, steps) = ([PANEL as u32, ROWS as u32, 1], [1; 3]);
    let mut map = std::mem::MaybeUninit::uninit();
    // SAFETY: the arrays have as many entries as axes, and the map is written when the call succeeds.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            map.as_mut_ptr(),
            CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            3,
            at as *mut c_void,
            sizes.as_ptr(),
            distances.as_ptr(),
            tile.as_ptr(),
            steps.as_ptr(),
            CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
        .result()
        .unwrap_or_else(|error| panic!("a tensor map of {sizes:?} at {at:#x}: {error}"));
        map.assume_init()
    }
}

fn kernel(index: usize, head_dim: usize) -> Kernel {
    let mut kernels = KERNELS.lock().unwrap_or_else(PoisonError::into_inner);
    *kernels.entry((index, head_dim)).or_insert_with(|| {
        beside::enter(index);
        let shared_bytes = (2 * ROWS * head_dim * (1 + 2 * STAGES) + 1024) as u32; // 1024 to align by
        let binary = compile(head_dim);
        let limit = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: NVRTC's own text, and a kernel of that name in it.
        let function = unsafe {
            module::load_data(binary.as_ptr().cast())
                .and_then(|module| module::get_function(module, c"attention".to_owned()))
                .and_then(|kernel| {
                    function::set_function_attribute(kernel, limit, shared_bytes as i32).map(|()| kernel)
                })
        };
        Kernel {
            function: function.unwrap_or_else(|error| panic!("attention on the GPU: {error}")),
            shared_bytes,
        }
    })
}

/// The kernel for this GPU, as PTX.
fn compile(head_dim: usize) -> Vec<std::ffi::c_char> {
    let source = CString::new(SOURCE).expect("no NUL in the source");
    let options = [
        "--gpu-architecture=compute_90a".to_string(),
        "--std=c++17".into(),
        format!("-DD={head_dim}"),
    ];
    let program = nvrtc::create_program(&source, Some(c"attention.cu")).expect("NVRTC starts");
    // SAFETY: a program that NVRTC has just made, and destroyed after its last use.
    unsafe {
        if nvrtc::compile_program(program, &options).is_err() {
            let log = nvrtc::get_program_log(program).expect("NVRTC keeps a log");
            panic!("attention.cu: {}", CStr::from_ptr(log.as_ptr()).to_string_lossy());
        }
        let text = nvrtc::get_ptx(program).expect("NVRTC keeps what it made");
        nvrtc::destroy_program(program).expect("the program is ours");
        text
    }
}
