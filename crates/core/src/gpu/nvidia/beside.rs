//! Work on a stream of our own, in its place among CubeCL's: after all that was begun before it, before all that is
//! begun after it.
//!
//! CubeCL keeps its streams to itself. Events of the whole context order the two: nothing waits on the host.

use burn_cubecl::tensor::CubeTensor;
use cubecl_cuda::CudaRuntime;
use cubecl_runtime::runtime::Runtime;
use cudarc::driver::result::{self, DriverError, event, stream};
use cudarc::driver::sys::{self, CUcontext, CUevent, CUevent_flags, CUstream};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The first CUDA whose driver has events of a whole context, as `cuDriverGetVersion` counts.
const VERSION_MIN: i32 = 12_050;

/// Whether the driver can order two streams so.
pub fn is_possible() -> bool {
    static POSSIBLE: LazyLock<bool> = LazyLock::new(|| {
        let mut version = 0;
        // SAFETY: the driver is loaded when a CUDA device was opened, and writes one number.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().is_ok() && version >= VERSION_MIN
    });
    *POSSIBLE
}

/// Our stream on one device.
struct Lane {
    context: CUcontext,
    stream: CUstream,
    theirs: CUevent,
    ours: CUevent,
}
// SAFETY: handles of the driver, which may be used from any thread.
unsafe impl Send for Lane {}

static LANES: LazyLock<Mutex<HashMap<usize, Lane>>> = LazyLock::new(Mutex::default);

impl Lane {
    /// On the device's primary context, which is CubeCL's too.
    fn open(index: usize) -> Result<Lane, DriverError> {
        let device = result::device::get(index as i32)?;
        // SAFETY: the device exists; the context is never released.
        let context = unsafe { result::primary_ctx::retain(device) }?;
        // SAFETY: that context.
        unsafe { result::ctx::set_current(context) }?;
        let quick = CUevent_flags::CU_EVENT_DISABLE_TIMING;
        Ok(Lane {
            context,
            stream: stream::create(stream::StreamKind::NonBlocking)?,
            theirs: event::create(quick)?,
            ours: event::create(quick)?,
        })
    }
    fn of(lanes: &mut HashMap<usize, Lane>, index: usize) -> &Lane {
        lanes
            .entry(index)
            .or_insert_with(|| Lane::open(index).unwrap_or_else(|error| panic!("a CUDA stream: {error}")))
    }
    fn run(&self, work: impl FnOnce(CUstream)) -> Result<(), DriverError> {
        // SAFETY: handles that live as long as the program, on their own context.
        unsafe {
            result::ctx::set_current(self.context)?;
            sys::cuCtxRecordEvent(self.context, self.theirs).result()?;
            stream::wait_event(self.stream, self.theirs, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)?;
            work(self.stream);
            event::record(self.ours, self.stream)?;
            sys::cuCtxWaitEvent(self.context, self.ours).result()
        }
    }
}

/// Runs what is put on the stream, which may read and write these tensors' memory at the addresses given.
///
/// # Panics
/// When the driver refuses, or an earlier kernel failed.
pub fn beside<const N: usize>(index: usize, tensors: [&CubeTensor; N], work: impl FnOnce(CUstream, [u64; N])) {
    // To ask for an address also hands all earlier work to the driver. The buffers are held until the work is queued;
    // who takes their memory then comes after it.
    let held = tensors.map(|tensor| {
        let resource = tensor
            .client
            .get_resource::<<CudaRuntime as Runtime>::Server>(tensor.handle.clone());
        resource.unwrap_or_else(|error| panic!("a buffer on the GPU: {error}"))
    });
    let addresses = std::array::from_fn(|i| held[i].resource().ptr);
    let mut lanes = lanes();
    Lane::of(&mut lanes, index)
        .run(|stream| work(stream, addresses))
        .unwrap_or_else(|error| panic!("a launch on the GPU: {error}"));
}

/// Makes the device's context that of this thread, for what needs one and queues nothing.
///
/// # Panics
/// When the driver refuses.
pub fn enter(index: usize) {
    let context = Lane::of(&mut lanes(), index).context;
    // SAFETY: the context lives as long as the program.
    unsafe { result::ctx::set_current(context) }.unwrap_or_else(|error| panic!("a CUDA context: {error}"));
}

/// One thread at a time, since a lane's events are used by every launch. They are whole even after a panic in one.
fn lanes() -> MutexGuard<'static, HashMap<usize, Lane>> {
    LANES.lock().unwrap_or_else(PoisonError::into_inner)
}
