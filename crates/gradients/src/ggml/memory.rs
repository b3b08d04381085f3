//! Tensors and the memory they lie in.

use std::{
    cell::{Cell, RefCell},
    fmt, ptr,
    rc::Rc,
};

use llama_cpp_sys_2 as sys;

use super::{Backend, Kind, Scratch, device::text};
use crate::EngineError;

/// What owns tensors: a ggml context, and the memory of its tensors or what
/// the graph in it reads. It is freed after the last handle to a tensor in it.
pub(super) struct Arena {
    pub(super) context: *mut sys::ggml_context,
    /// Memory of the tensors; null for a graph, whose memory is a scratch.
    buffer: Cell<sys::ggml_backend_buffer_t>,
    /// What nodes of this arena read and where they lie.
    pub(super) keeps: RefCell<Vec<Rc<Arena>>>,
    pub(super) scratch: RefCell<Option<Rc<Scratch>>>,
    /// Last, so that it is closed after everything on it.
    _backend: Rc<Backend>,
}

impl Arena {
    /// Makes room for the descriptions of `tensors` tensors and `bytes` more.
    pub(super) fn new(backend: &Rc<Backend>, tensors: usize, bytes: usize) -> Rc<Self> {
        // SAFETY: takes no pointer; ggml asserts that the memory is there.
        let context = unsafe {
            sys::ggml_init(sys::ggml_init_params {
                mem_size: tensors * (sys::ggml_tensor_overhead() + 64) + bytes,
                mem_buffer: ptr::null_mut(),
                no_alloc: true,
            })
        };
        assert!(!context.is_null(), "ggml has no memory for {tensors} tensors");
        Rc::new(Self {
            context,
            buffer: Cell::new(ptr::null_mut()),
            keeps: RefCell::default(),
            scratch: RefCell::default(),
            _backend: Rc::clone(backend),
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: both came from ggml and are freed once; every handle into them
        // holds an `Rc` of this value and is gone.
        unsafe {
            if !self.buffer.get().is_null() {
                sys::ggml_backend_buffer_free(self.buffer.get());
            }
            sys::ggml_free(self.context);
        }
    }
}

/// A handle to a tensor. Clones refer to the same numbers.
#[derive(Clone)]
pub struct Tensor {
    pub(super) raw: *mut sys::ggml_tensor,
    pub(super) owner: Rc<Arena>,
}

impl Tensor {
    /// Returns the shape, fastest dimension first.
    pub fn shape(&self) -> [usize; 4] {
        // SAFETY: `raw` lives as long as `owner`.
        unsafe { (*self.raw).ne }.map(|n| usize::try_from(n).unwrap_or(0))
    }

    /// Returns dimension `i` as ggml counts it.
    pub(super) fn ne(&self, i: usize) -> i64 {
        // SAFETY: as in `shape`.
        unsafe { (*self.raw).ne[i] }
    }

    /// Returns the bytes from one row to the next.
    pub(super) fn row_stride(&self) -> usize {
        // SAFETY: as in `shape`.
        unsafe { (*self.raw).nb[1] }
    }

    /// Returns the number format.
    pub fn kind(&self) -> Kind {
        // SAFETY: as in `shape`.
        Kind(unsafe { (*self.raw).type_ })
    }

    /// Returns the size in bytes.
    pub fn bytes(&self) -> usize {
        // SAFETY: as in `shape`.
        unsafe { sys::ggml_nbytes(self.raw) }
    }

    /// Copies numbers from the host.
    ///
    /// # Panics
    /// Panics when the tensor is not as long, or holds another format.
    pub fn write_f32(&self, numbers: &[f32]) {
        assert_eq!(self.kind(), Kind::F32);
        self.write_range(0, as_bytes(numbers), numbers.len() * 4 == self.bytes());
    }

    /// Copies numbers from the host to where number `first` lies.
    ///
    /// # Panics
    /// Panics when they reach beyond the tensor, or it holds another format.
    pub fn write_f32_at(&self, first: usize, numbers: &[f32]) {
        assert_eq!(self.kind(), Kind::F32);
        self.write_range(first * size_of::<f32>(), as_bytes(numbers), true);
    }

    /// Copies integers from the host.
    ///
    /// # Panics
    /// As [`Tensor::write_f32`].
    pub fn write_i32(&self, numbers: &[i32]) {
        assert_eq!(self.kind(), Kind::I32);
        self.write_range(0, as_bytes(numbers), numbers.len() * 4 == self.bytes());
    }

    /// Copies raw bytes from the host to `offset`.
    ///
    /// # Panics
    /// Panics when they reach beyond the tensor.
    pub fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        self.write_range(offset, bytes, true);
    }

    fn write_range(&self, offset: usize, bytes: &[u8], fits: bool) {
        assert!(fits && offset + bytes.len() <= self.bytes(), "as long as the tensor");
        assert!(self.is_allocated(), "memory was allocated");
        // SAFETY: the range is within the tensor, which has memory.
        unsafe {
            sys::ggml_backend_tensor_set(self.raw, bytes.as_ptr().cast(), offset, bytes.len());
        }
    }

    /// Copies the numbers to the host.
    ///
    /// # Panics
    /// Panics when the tensor holds another format.
    pub fn read_f32(&self) -> Vec<f32> {
        assert_eq!(self.kind(), Kind::F32);
        assert!(self.is_allocated(), "memory was allocated");
        let mut numbers = vec![0.0f32; self.bytes() / 4];
        // SAFETY: the vector is as long as the tensor, which has memory.
        unsafe {
            let to = numbers.as_mut_ptr().cast();
            sys::ggml_backend_tensor_get(self.raw, to, 0, numbers.len() * 4);
        }
        numbers
    }

    /// Sets all bytes to zero.
    pub fn clear(&self) {
        assert!(self.is_allocated(), "memory was allocated");
        // SAFETY: the range is the tensor, which has memory.
        unsafe { sys::ggml_backend_tensor_memset(self.raw, 0, 0, self.bytes()) };
    }

    fn is_allocated(&self) -> bool {
        // SAFETY: as in `shape`.
        unsafe { !(*self.raw).data.is_null() }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: `raw` lives as long as `owner`; the name is null-terminated.
        let name = unsafe { text((*self.raw).name.as_ptr()) };
        write!(f, "{name} {:?} {:?}", self.kind(), self.shape())
    }
}

/// Integers and floats of 32 bits as their bytes.
fn as_bytes<T: Copy>(numbers: &[T]) -> &[u8] {
    // SAFETY: called with `f32` and `i32`, which have no padding.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Tensors on a device, described first and allocated together.
pub struct Memory {
    arena: Rc<Arena>,
    backend: Rc<Backend>,
}

impl Memory {
    /// Starts the description of at most `tensors` tensors.
    pub fn new(backend: &Rc<Backend>, tensors: usize) -> Self {
        Self { arena: Arena::new(backend, tensors, 0), backend: Rc::clone(backend) }
    }

    /// Describes a tensor.
    pub fn tensor(&self, kind: Kind, shape: &[usize]) -> Tensor {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        // SAFETY: the context is alive, and as many dimensions are given as counted.
        let raw = unsafe {
            let dimensions = i32::try_from(shape.len()).unwrap_or(i32::MAX);
            sys::ggml_new_tensor(self.arena.context, kind.0, dimensions, shape.as_ptr())
        };
        Tensor { raw, owner: Rc::clone(&self.arena) }
    }

    /// Allocates what was described. The numbers are undefined until written.
    ///
    /// # Errors
    /// Fails when the device has not enough memory.
    pub fn allocate(self) -> Result<(), EngineError> {
        // SAFETY: context and backend are alive; called once, as it takes `self`.
        let buffer =
            unsafe { sys::ggml_backend_alloc_ctx_tensors(self.arena.context, self.backend.raw) };
        if buffer.is_null() {
            let (free, _) = self.backend.device().memory();
            return Err(EngineError::Memory { device: self.backend.device().name(), free });
        }
        self.arena.buffer.set(buffer);
        Ok(())
    }
}
