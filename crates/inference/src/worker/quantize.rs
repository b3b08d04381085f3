//! Conversion of a model file to another quantisation, alone or with an adapter merged.

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path};

use gradients::{AdapterFile, ggml::Kind};
use llama_cpp_2::llama_backend::LlamaBackend;

use crate::{model::Quantization, protocol::QuantizeJob};

/// Converts a verified file. Runs in a process of its own: ggml aborts on
/// what it dislikes.
pub(super) fn run(job: &QuantizeJob) -> Result<(), String> {
    match &job.adapter {
        Some(adapter) => merge(job, adapter),
        None => convert(job),
    }
}

/// Only matrices of the adapter are converted.
fn merge(job: &QuantizeJob, adapter: &Path) -> Result<(), String> {
    let adapter = AdapterFile::read(adapter).map_err(|error| error.to_string())?;
    let name = job.quantization.name();
    let kind = Kind::parse(name).ok_or_else(|| format!("ggml has no type {name}"))?;
    let merged = gradients::merge(&job.from, &adapter, &job.to, kind);
    merged.map(drop).map_err(|error| error.to_string())
}

fn convert(job: &QuantizeJob) -> Result<(), String> {
    let _backend = LlamaBackend::init().map_err(|error| error.to_string())?;
    let (from, to) = (c_path(&job.from)?, c_path(&job.to)?);
    // SAFETY: the function only returns a struct of plain values.
    let mut params = unsafe { llama_cpp_sys_2::llama_model_quantize_default_params() };
    params.ftype = match job.quantization {
        Quantization::Q4_0 => llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q4_0,
        Quantization::Q8_0 => llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_Q8_0,
        Quantization::Bf16 => llama_cpp_sys_2::LLAMA_FTYPE_MOSTLY_BF16,
    };
    params.allow_requantize = true;
    // SAFETY: both paths are null-terminated and outlive the call, and the
    // parameters are the library's defaults with two plain fields changed.
    let code =
        unsafe { llama_cpp_sys_2::llama_model_quantize(from.as_ptr(), to.as_ptr(), &params) };
    match code {
        0 => Ok(()),
        code => Err(format!("llama_model_quantize returned {code}")),
    }
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())
}
