//! GGUF files: models that are read, models and adapters that are written.

use std::{
    ffi::{CString, c_char},
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::{Path, PathBuf},
    ptr,
};

use llama_cpp_sys_2 as sys;

use super::{Kind, device::text};
use crate::{EngineError, file::replace};

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Name, for example `blk.0.attn_q.weight`.
    pub name: String,
    /// Number format.
    pub kind: Kind,
    /// Shape, fastest dimension first; two dimensions, or one and a 1.
    pub shape: [usize; 2],
    /// Size in bytes.
    pub bytes: usize,
    offset: u64,
}

/// An open GGUF file whose header was parsed.
///
/// ggml parses it in C++: open what `inference::model` accepted, or what this
/// program wrote.
pub struct GgufFile {
    raw: *mut sys::gguf_context,
    path: PathBuf,
    file: File,
    tensors: Vec<TensorInfo>,
}

impl GgufFile {
    /// Opens a file and parses its header.
    ///
    /// # Errors
    /// Fails when the file cannot be read, is not GGUF, or holds a tensor of more
    /// than two dimensions.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let file = File::open(path).map_err(EngineError::io(path))?;
        let c_path = c_string(path.as_os_str().as_bytes());
        let mut context = ptr::null_mut();
        // SAFETY: the path is null-terminated; `context` is valid for the call.
        let raw = unsafe {
            let params = sys::gguf_init_params { no_alloc: true, ctx: &mut context };
            sys::gguf_init_from_file(c_path.as_ptr(), params)
        };
        if raw.is_null() {
            return Err(EngineError::gguf(path, "not a GGUF file ggml can read"));
        }
        let mut opened = Self { raw, path: path.to_owned(), file, tensors: Vec::new() };
        // SAFETY: `raw` and `context` were made above; the context holds a tensor of each
        // name, and is freed once, after the last use.
        let tensors = unsafe {
            let tensors = opened.list(context);
            sys::ggml_free(context);
            tensors
        };
        opened.tensors = tensors?;
        Ok(opened)
    }

    /// # Safety
    /// `context` is what ggml made for this file.
    unsafe fn list(&self, context: *mut sys::ggml_context) -> Result<Vec<TensorInfo>, EngineError> {
        // SAFETY: indices are below the count; the context has the tensors.
        unsafe {
            let start = sys::gguf_get_data_offset(self.raw);
            (0..sys::gguf_get_n_tensors(self.raw))
                .map(|i| {
                    let name = sys::gguf_get_tensor_name(self.raw, i);
                    let tensor = sys::ggml_get_tensor(context, name);
                    let name = text(name);
                    let [a, b, 1, 1] = (*tensor).ne else {
                        let detail = format!("tensor {name} has more than two dimensions");
                        return Err(EngineError::gguf(&self.path, detail));
                    };
                    Ok(TensorInfo {
                        kind: Kind(sys::gguf_get_tensor_type(self.raw, i)),
                        shape: [a, b].map(|n| usize::try_from(n).unwrap_or(0)),
                        bytes: sys::gguf_get_tensor_size(self.raw, i),
                        offset: (start + sys::gguf_get_tensor_offset(self.raw, i)) as u64,
                        name,
                    })
                })
                .collect()
        }
    }

    /// Returns the path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Returns the tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Reads bytes `offset..offset + buffer.len()` of a tensor.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is too short.
    pub fn read(
        &self,
        tensor: &TensorInfo,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), EngineError> {
        self.file
            .read_exact_at(buffer, tensor.offset + offset as u64)
            .map_err(EngineError::io(&self.path))
    }

    /// Returns a 32-bit integer of the header.
    pub fn u32(&self, key: &str) -> Option<u32> {
        let id = self.find(key, sys::GGUF_TYPE_UINT32)?;
        // SAFETY: the key is there and has this type.
        Some(unsafe { sys::gguf_get_val_u32(self.raw, id) })
    }

    /// Returns a number of the header.
    pub fn f32(&self, key: &str) -> Option<f32> {
        let id = self.find(key, sys::GGUF_TYPE_FLOAT32)?;
        // SAFETY: the key is there and has this type.
        Some(unsafe { sys::gguf_get_val_f32(self.raw, id) })
    }

    /// Returns a text of the header.
    pub fn text(&self, key: &str) -> Option<String> {
        let id = self.find(key, sys::GGUF_TYPE_STRING)?;
        // SAFETY: the key is there and has this type; the string is copied.
        Some(unsafe { text(sys::gguf_get_val_str(self.raw, id)) })
    }

    fn find(&self, key: &str, kind: sys::gguf_type) -> Option<i64> {
        let key = c_string(key.as_bytes());
        // SAFETY: the key is null-terminated; the id is checked before use.
        unsafe {
            let id = sys::gguf_find_key(self.raw, key.as_ptr());
            (id >= 0 && sys::gguf_get_kv_type(self.raw, id) == kind).then_some(id)
        }
    }
}

impl Drop for GgufFile {
    fn drop(&mut self) {
        // SAFETY: made in `open`, freed once.
        unsafe { sys::gguf_free(self.raw) };
    }
}

/// A GGUF file under construction.
pub struct GgufWriter {
    raw: *mut sys::gguf_context,
    context: *mut sys::ggml_context,
    /// Where the data of the tensors lies until the file is written.
    data: Vec<Vec<u8>>,
}

impl GgufWriter {
    /// Starts a file of at most `tensors` tensors.
    pub fn new(tensors: usize) -> Self {
        // SAFETY: takes no pointer.
        unsafe {
            let context = sys::ggml_init(sys::ggml_init_params {
                mem_size: (tensors + 1) * (sys::ggml_tensor_overhead() + 64),
                mem_buffer: ptr::null_mut(),
                no_alloc: true,
            });
            assert!(!context.is_null(), "ggml has no memory for {tensors} tensors");
            Self { raw: sys::gguf_init_empty(), context, data: Vec::new() }
        }
    }

    /// Copies all keys of a file.
    pub fn copy_keys(&mut self, from: &GgufFile) {
        // SAFETY: both are alive.
        unsafe { sys::gguf_set_kv(self.raw, from.raw) };
    }

    /// Sets a text.
    pub fn text(&mut self, key: &str, value: &str) {
        let (key, value) = (c_string(key.as_bytes()), c_string(value.as_bytes()));
        // SAFETY: both strings are null-terminated and copied.
        unsafe { sys::gguf_set_val_str(self.raw, key.as_ptr(), value.as_ptr()) };
    }

    /// Sets a truth value.
    pub fn flag(&mut self, key: &str, value: bool) {
        let key = c_string(key.as_bytes());
        // SAFETY: the key is null-terminated and copied.
        unsafe { sys::gguf_set_val_bool(self.raw, key.as_ptr(), value) };
    }

    /// Sets an integer.
    pub fn u32(&mut self, key: &str, value: u32) {
        let key = c_string(key.as_bytes());
        // SAFETY: the key is null-terminated and copied.
        unsafe { sys::gguf_set_val_u32(self.raw, key.as_ptr(), value) };
    }

    /// Sets a number.
    pub fn f32(&mut self, key: &str, value: f32) {
        let key = c_string(key.as_bytes());
        // SAFETY: the key is null-terminated and copied.
        unsafe { sys::gguf_set_val_f32(self.raw, key.as_ptr(), value) };
    }

    /// Sets a list of texts.
    pub fn texts(&mut self, key: &str, values: &[String]) {
        let key = c_string(key.as_bytes());
        let values: Vec<CString> = values.iter().map(|v| c_string(v.as_bytes())).collect();
        let mut pointers: Vec<*const c_char> = values.iter().map(|v| v.as_ptr()).collect();
        // SAFETY: as many null-terminated strings as counted, which ggml copies.
        unsafe {
            let list = pointers.as_mut_ptr();
            sys::gguf_set_arr_str(self.raw, key.as_ptr(), list, pointers.len());
        }
    }

    /// Sets a list of integers.
    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        let key = c_string(key.as_bytes());
        let (list, n) = (values.as_ptr().cast(), values.len());
        // SAFETY: as many numbers of this type as counted, which ggml copies.
        unsafe {
            sys::gguf_set_arr_data(self.raw, key.as_ptr(), sys::GGUF_TYPE_INT32, list, n);
        }
    }

    /// Sets a list of numbers.
    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        let key = c_string(key.as_bytes());
        let (list, n) = (values.as_ptr().cast(), values.len());
        // SAFETY: as in `i32s`.
        unsafe {
            sys::gguf_set_arr_data(self.raw, key.as_ptr(), sys::GGUF_TYPE_FLOAT32, list, n);
        }
    }

    /// Appends a tensor.
    ///
    /// # Panics
    /// Panics when `bytes` is not as long as the shape asks for.
    pub fn tensor(&mut self, name: &str, kind: Kind, shape: [usize; 2], bytes: Vec<u8>) {
        assert_eq!(bytes.len(), kind.row_bytes(shape[0]) * shape[1], "{name} of {shape:?}");
        let name = c_string(name.as_bytes());
        let ne = shape.map(|n| n as i64);
        // A vector has one dimension in files of llama.cpp.
        let dimensions = if shape[1] == 1 { 1 } else { 2 };
        // SAFETY: context and file are alive; the data lives in `self` until the file
        // is written; moving the outer vector does not move it.
        unsafe {
            let tensor = sys::ggml_new_tensor(self.context, kind.0, dimensions, ne.as_ptr());
            sys::ggml_set_name(tensor, name.as_ptr());
            (*tensor).data = bytes.as_ptr().cast_mut().cast();
            sys::gguf_add_tensor(self.raw, tensor);
        }
        self.data.push(bytes);
    }

    /// Writes the file under another name beside `path`, syncs it and renames it.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn write(self, path: &Path) -> Result<(), EngineError> {
        let write = |temporary: &Path| {
            let c_path = c_string(temporary.as_os_str().as_bytes());
            // SAFETY: the file is alive, its data in `self`, the path null-terminated.
            let is_written = unsafe { sys::gguf_write_to_file(self.raw, c_path.as_ptr(), false) };
            // ggml does not see that a disk is full when it closes the file.
            if !is_written || fs::metadata(temporary)?.len() != self.len() as u64 {
                return Err(io::Error::other("the file was not written whole: is the disk full?"));
            }
            Ok(())
        };
        replace(path, write).map_err(EngineError::io(path))
    }

    /// Returns the bytes of the file.
    fn len(&self) -> usize {
        // SAFETY: the file is alive.
        let (header, alignment) =
            unsafe { (sys::gguf_get_meta_size(self.raw), sys::gguf_get_alignment(self.raw)) };
        let tensors = self.data.iter().map(|bytes| bytes.len().next_multiple_of(alignment));
        header + tensors.sum::<usize>()
    }
}

impl Drop for GgufWriter {
    fn drop(&mut self) {
        // SAFETY: both were made in `new` and are freed once.
        unsafe {
            sys::gguf_free(self.raw);
            sys::ggml_free(self.context);
        }
    }
}

/// A null-terminated copy; a null inside ends it, as it does in C.
pub(super) fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
