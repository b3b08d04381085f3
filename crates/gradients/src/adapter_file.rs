//! Adapter files: the GGUF that llama.cpp loads beside a base.

use std::path::Path;

use crate::{
    Adapter, AdapterConfig, Architecture, EngineError,
    ggml::{GgufFile, GgufWriter, Kind},
};

/// An adapter as a file holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterFile {
    /// `alpha / rank` scales what the matrices add.
    pub alpha: f32,
    /// The matrices, `<target>.lora_a` of `[in, rank]` before `<target>.lora_b` of
    /// `[rank, out]`.
    pub matrices: Vec<Matrix>,
}

/// Name, shape and values of a matrix.
pub type Matrix = (String, [usize; 2], Vec<f32>);

impl AdapterFile {
    /// Copies an adapter from its device.
    #[must_use]
    pub fn of(adapter: &Adapter) -> Self {
        let matrices = Self::matrices(adapter, &adapter.values());
        Self { alpha: adapter.config().alpha, matrices }
    }

    /// Divides numbers of an adapter, its values or their gradients, into matrices.
    #[must_use]
    pub fn matrices(adapter: &Adapter, numbers: &[f32]) -> Vec<Matrix> {
        let mut left = numbers;
        let mut take = |(name, shape): (String, [usize; 2])| {
            let (these, others) = left.split_at(shape[0] * shape[1]);
            left = others;
            (name, shape, these.to_vec())
        };
        adapter.matrices().into_iter().map(&mut take).collect()
    }

    /// Returns rank and alpha, for an adapter these values fit into.
    ///
    /// # Errors
    /// Fails when the file at `path`, which this was read from, has no matrices.
    pub fn config(&self, path: &Path) -> Result<AdapterConfig, EngineError> {
        let first = self.matrices.iter().find(|(name, ..)| name.ends_with(".lora_a"));
        let rank = first.map(|(_, [_, rank], _)| *rank);
        let rank = rank.ok_or_else(|| EngineError::gguf(path, "it has no matrices"))?;
        Ok(AdapterConfig { rank, alpha: self.alpha, seed: 0 })
    }

    /// Copies the values to an adapter on a device.
    ///
    /// # Errors
    /// Fails when the adapter has other matrices than the file at `path`, which this
    /// was read from.
    pub fn apply(&self, adapter: &Adapter, path: &Path) -> Result<(), EngineError> {
        let mut values = Vec::with_capacity(adapter.len());
        let matrices = adapter.matrices();
        for (name, shape) in &matrices {
            let found = self.matrices.iter().find(|(n, s, _)| n == name && s == shape);
            let found = found.ok_or_else(|| {
                EngineError::gguf(path, format!("it has no matrix {name} of {shape:?}"))
            })?;
            values.extend_from_slice(&found.2);
        }
        if matrices.len() != self.matrices.len() {
            let (n, found) = (matrices.len(), self.matrices.len());
            return Err(EngineError::gguf(path, format!("it has {found} matrices, not {n}")));
        }
        adapter.set_values(&values);
        Ok(())
    }

    /// Returns the pair of a target `[in, rank]`, `[rank, out]`.
    #[must_use]
    pub fn pair(&self, target: &str) -> Option<[&Matrix; 2]> {
        let find = |end: &str| {
            self.matrices
                .iter()
                .find(|(name, ..)| name.strip_suffix(end).is_some_and(|start| start == target))
        };
        Some([find(".lora_a")?, find(".lora_b")?])
    }

    /// Reads an adapter of this program or another.
    ///
    /// # Errors
    /// Fails when the file is not an adapter, or its matrices are of another type than
    /// [`AdapterFile::KINDS`].
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let file = GgufFile::open(path)?;
        let refuse = |detail: String| EngineError::gguf(path, detail);
        let kind = file.text("adapter.type").unwrap_or_default();
        if kind != "lora" {
            return Err(refuse(format!("adapter.type is {kind:?}, expected \"lora\"")));
        }
        let alpha = file
            .f32("adapter.lora.alpha")
            .ok_or_else(|| refuse("adapter.lora.alpha is missing".into()))?;
        let read = |tensor: &crate::ggml::TensorInfo| {
            if !Self::KINDS.contains(&tensor.kind) {
                let (name, kind) = (&tensor.name, tensor.kind);
                return Err(refuse(format!("tensor {name} is {kind:?}, expected F32 or F16")));
            }
            let mut bytes = vec![0; tensor.bytes];
            file.read(tensor, 0, &mut bytes)?;
            let values = tensor.kind.to_f32(&bytes, tensor.shape[0]);
            Ok((tensor.name.clone(), tensor.shape, values))
        };
        let matrices = file.tensors().iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { alpha, matrices })
    }

    /// Types a file may hold matrices in: that of training, and half the bytes.
    pub const KINDS: [Kind; 2] = [Kind::F32, Kind::F16];

    /// Writes the file for a base of an architecture, with the values as they are.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn write(&self, path: &Path, architecture: Architecture) -> Result<(), EngineError> {
        self.write_as(path, architecture, Kind::F32)
    }

    /// Writes the file for a base of an architecture, its matrices of a type.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn write_as(
        &self,
        path: &Path,
        architecture: Architecture,
        kind: Kind,
    ) -> Result<(), EngineError> {
        let mut writer = GgufWriter::new(self.matrices.len());
        writer.text("general.type", "adapter");
        writer.text("general.architecture", architecture.name());
        writer.text("adapter.type", "lora");
        writer.f32("adapter.lora.alpha", self.alpha);
        for (name, shape, values) in &self.matrices {
            writer.tensor(name, kind, *shape, kind.from_f32(values, shape[0]));
        }
        writer.write(path)
    }
}
