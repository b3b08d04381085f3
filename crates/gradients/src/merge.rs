//! Merging: a base whose matrices hold what the adapter adds, `W + s B A`.
//!
//! What a format rounds away is lost: on a coarse grid the adapter itself, which is why
//! a merged file is measured against base and live adapter before it serves.

use std::path::Path;

use crate::{
    AdapterFile, EngineError,
    ggml::{GgufFile, GgufWriter, Kind, TensorInfo},
};

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeReport {
    /// Matrices the adapter changed.
    pub merged: usize,
    /// Tensors that were copied as they are.
    pub copied: usize,
}

/// Writes `base` with `adapter` merged into it. Merged matrices get the format
/// `kind`, all other tensors and all keys stay as they are.
///
/// # Errors
/// Fails when a file cannot be read or written, the adapter has a matrix the base
/// lacks or another shape, or rows of a matrix are no whole blocks of the format.
pub fn merge(
    base: &Path,
    adapter: &AdapterFile,
    out: &Path,
    kind: Kind,
) -> Result<MergeReport, EngineError> {
    let file = GgufFile::open(base)?;
    let mut writer = GgufWriter::new(file.tensors().len());
    writer.copy_keys(&file);
    set_file_type(&mut writer, kind);
    let mut report = MergeReport { merged: 0, copied: 0 };
    for tensor in file.tensors() {
        let mut bytes = vec![0; tensor.bytes];
        file.read(tensor, 0, &mut bytes)?;
        match adapter.pair(&tensor.name) {
            None => {
                report.copied += 1;
                writer.tensor(&tensor.name, tensor.kind, tensor.shape, bytes);
            }
            Some([a, b]) => {
                report.merged += 1;
                check(base, tensor, a.1, b.1, kind)?;
                let merged = add(tensor, &bytes, &a.2, &b.2, adapter.alpha, kind);
                writer.tensor(&tensor.name, kind, tensor.shape, merged);
            }
        }
    }
    if report.merged * 2 != adapter.matrices.len() {
        let (found, merged) = (adapter.matrices.len(), report.merged);
        let detail = format!("the adapter has {found} matrices, the base takes {merged} pairs");
        return Err(EngineError::gguf(base, detail));
    }
    writer.write(out)?;
    Ok(report)
}

/// Writes `base` with the same numbers in F32: what is computed with it depends on no
/// format, and not on how a kernel rounds activations to match one. Takes 4 bytes of
/// memory and of disk a weight.
///
/// # Errors
/// Fails when a file cannot be read or written.
pub fn widen(base: &Path, out: &Path) -> Result<(), EngineError> {
    let file = GgufFile::open(base)?;
    let mut writer = GgufWriter::new(file.tensors().len());
    writer.copy_keys(&file);
    set_file_type(&mut writer, Kind::F32);
    for tensor in file.tensors() {
        let mut bytes = vec![0; tensor.bytes];
        file.read(tensor, 0, &mut bytes)?;
        let row = tensor.shape[0];
        let numbers = tensor.kind.to_f32(&bytes, row);
        writer.tensor(&tensor.name, Kind::F32, tensor.shape, Kind::F32.from_f32(&numbers, row));
    }
    writer.write(out)
}

/// llama.cpp shows this number as the format of a file (`llama_ftype` in llama.h).
fn set_file_type(writer: &mut GgufWriter, kind: Kind) {
    let known = [(Kind::F32, 0), (Kind::F16, 1), (Kind::Q8_0, 7), (Kind::BF16, 32)];
    if let Some((_, number)) = known.into_iter().find(|(known, _)| *known == kind) {
        writer.u32("general.file_type", number);
    }
    writer.u32("general.quantization_version", 2);
}

fn check(
    base: &Path,
    tensor: &TensorInfo,
    a: [usize; 2],
    b: [usize; 2],
    kind: Kind,
) -> Result<(), EngineError> {
    let [inside, outside] = tensor.shape;
    let name = &tensor.name;
    if a != [inside, b[0]] || b[1] != outside {
        let shape = tensor.shape;
        let detail = format!("tensor {name} is {shape:?}, the adapter has {a:?} and {b:?}");
        return Err(EngineError::gguf(base, detail));
    }
    if !inside.is_multiple_of(kind.block()) {
        let block = kind.block();
        let detail = format!(
            "tensor {name}: rows of {inside} are no whole blocks of {block}, as \
             {kind:?} has them; merge to Q8_0 or BF16"
        );
        return Err(EngineError::gguf(base, detail));
    }
    Ok(())
}

/// The bytes of `W + alpha / rank B A`, row by row on all cores.
fn add(tensor: &TensorInfo, bytes: &[u8], a: &[f32], b: &[f32], alpha: f32, kind: Kind) -> Vec<u8> {
    let [inside, outside] = tensor.shape;
    let rank = a.len() / inside;
    #[allow(clippy::cast_precision_loss, reason = "a rank")]
    let scale = alpha / rank as f32;
    let row_bytes = tensor.kind.row_bytes(inside);
    let merge_rows = |first: usize, count: usize| {
        let source = &bytes[first * row_bytes..(first + count) * row_bytes];
        let mut weights = tensor.kind.to_f32(source, inside);
        for (i, row) in weights.chunks_exact_mut(inside).enumerate() {
            let factors = &b[(first + i) * rank..][..rank];
            for (factor, direction) in factors.iter().zip(a.chunks_exact(inside)) {
                let factor = scale * factor;
                for (weight, step) in row.iter_mut().zip(direction) {
                    *weight += factor * step;
                }
            }
        }
        kind.from_f32(&weights, inside)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let height = outside.div_ceil(workers);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..outside)
            .step_by(height)
            .map(|first| {
                scope.spawn({
                    let merge_rows = &merge_rows;
                    move || merge_rows(first, height.min(outside - first))
                })
            })
            .collect();
        #[allow(clippy::expect_used, reason = "it only adds numbers")]
        threads.into_iter().flat_map(|thread| thread.join().expect("rows")).collect()
    })
}
