//! The devices ggml can compute on, and backends: devices that were opened.

use std::{ffi::CStr, ptr, rc::Rc};

use llama_cpp_sys_2 as sys;

use crate::EngineError;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processors of this machine.
    Cpu,
    /// A graphics processor with memory of its own, or one that shares the host's.
    Gpu,
    /// Something that only assists the processors.
    Accelerator,
}

impl DeviceKind {
    /// Returns the name as the command line takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Accelerator => "acc",
        }
    }
}

/// A device ggml was built for and found on this machine.
#[derive(Debug, Clone, Copy)]
pub struct Device(sys::ggml_backend_dev_t);

impl Device {
    /// Returns all devices, in ggml's order.
    pub fn all() -> Vec<Self> {
        // SAFETY: the registry is built on the first call and never shrinks; every
        // index below the count is valid.
        unsafe {
            (0..sys::ggml_backend_dev_count())
                .map(|index| Self(sys::ggml_backend_dev_get(index)))
                .collect()
        }
    }

    /// Returns the first device of a kind.
    ///
    /// # Errors
    /// Fails when this build of ggml has no such device, or the machine has none.
    pub fn first(kind: DeviceKind) -> Result<Self, EngineError> {
        Self::all().into_iter().find(|device| device.kind() == kind).ok_or_else(|| {
            EngineError::Device {
                wanted: kind.name(),
                found: Self::all().iter().map(Self::name).collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// Returns the short name, for example `CPU` or `CUDA0`.
    pub fn name(&self) -> String {
        // SAFETY: devices live as long as the process, and so do their names.
        unsafe { text(sys::ggml_backend_dev_name(self.0)) }
    }

    /// Returns the name of the hardware.
    pub fn description(&self) -> String {
        // SAFETY: as in `name`.
        unsafe { text(sys::ggml_backend_dev_description(self.0)) }
    }

    /// Returns what the device is.
    pub fn kind(&self) -> DeviceKind {
        // SAFETY: devices live as long as the process.
        match unsafe { sys::ggml_backend_dev_type(self.0) } {
            sys::GGML_BACKEND_DEVICE_TYPE_CPU => DeviceKind::Cpu,
            sys::GGML_BACKEND_DEVICE_TYPE_GPU | sys::GGML_BACKEND_DEVICE_TYPE_IGPU => {
                DeviceKind::Gpu
            }
            _ => DeviceKind::Accelerator,
        }
    }

    /// Returns free and total memory in bytes.
    pub fn memory(&self) -> (usize, usize) {
        let (mut free, mut total) = (0, 0);
        // SAFETY: devices live as long as the process; both pointers are valid for
        // the call.
        unsafe { sys::ggml_backend_dev_memory(self.0, &mut free, &mut total) };
        (free, total)
    }

    /// Opens the device. `threads` are those of a CPU; other devices ignore them.
    ///
    /// # Errors
    /// Fails when the device cannot be initialised.
    pub fn open(self, threads: usize) -> Result<Rc<Backend>, EngineError> {
        // SAFETY: devices live as long as the process; no parameters are given.
        let raw = unsafe { sys::ggml_backend_dev_init(self.0, ptr::null()) };
        if raw.is_null() {
            return Err(EngineError::Open { device: self.name() });
        }
        let backend = Backend { raw, device: self };
        backend.set_threads(threads);
        Ok(Rc::new(backend))
    }
}

/// An opened device. Memory and graphs of it keep it alive.
#[derive(Debug)]
pub struct Backend {
    pub(super) raw: sys::ggml_backend_t,
    device: Device,
}

impl Backend {
    /// Returns the device that was opened.
    pub const fn device(&self) -> Device {
        self.device
    }

    /// Sets the number of threads where the device has them. The function is
    /// looked up at run time, so that no backend need be linked by name.
    fn set_threads(&self, threads: usize) {
        let threads = i32::try_from(threads.max(1)).unwrap_or(1);
        // SAFETY: the registry outlives the process, and what it returns under this
        // name has this signature (ggml-backend.h, ggml_backend_set_n_threads_t).
        unsafe {
            let registry = sys::ggml_backend_dev_backend_reg(self.device.0);
            let name = c"ggml_backend_set_n_threads".as_ptr();
            let function = sys::ggml_backend_reg_get_proc_address(registry, name);
            if !function.is_null() {
                let set: unsafe extern "C" fn(sys::ggml_backend_t, i32) =
                    std::mem::transmute(function);
                set(self.raw, threads);
            }
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `ggml_backend_dev_init` and is freed once. What was
        // allocated on it holds an `Rc` of this value and is gone.
        unsafe { sys::ggml_backend_free(self.raw) };
    }
}

/// Copies a string of ggml's.
///
/// # Safety
/// `string` is null or a valid null-terminated string.
pub(super) unsafe fn text(string: *const std::ffi::c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the caller guarantees a valid string.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
