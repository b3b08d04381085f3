//! A run of training: gradients, the optimizer, and checkpoints from which it goes on
//! as if it had never stopped.

use std::{collections::HashMap, fs, io, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    AdamW, AdamWConfig, Batch, Engine, EngineError, Outcome, StepReport, file::write_atomically,
    ggml::Kind,
};

/// The one key of the metadata: the file has the same bytes whatever order a map has.
const STATE: &str = "state";
const STEP: &str = "step";
/// Values of the adapter and the two means of the optimizer.
const TENSORS: [&str; 3] = ["adapter", "adamw.first", "adamw.second"];

/// An engine and the optimizer of its adapter.
pub struct Session {
    engine: Engine,
    optimizer: AdamW,
    config: AdamWConfig,
}

impl Session {
    /// Starts with an optimizer that remembers nothing.
    #[must_use]
    pub fn new(engine: Engine, config: AdamWConfig) -> Self {
        let optimizer = AdamW::new(engine.model().adapter().len());
        Self { engine, optimizer, config }
    }

    /// Returns the engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the engine for passes that add no gradient.
    pub const fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Returns the steps taken.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.optimizer.step
    }

    /// Adds the gradient of a batch to those of the step.
    ///
    /// # Errors
    /// As [`Engine::accumulate`].
    pub fn accumulate(&mut self, batch: &Batch) -> Result<Outcome, EngineError> {
        self.engine.accumulate(batch)
    }

    /// Takes a step with the gradients since the last one. Gradients that are not
    /// finite are dropped: the norm in the report says so.
    pub fn step(&mut self) -> StepReport {
        let adapter = self.engine.model().adapter();
        let (mut values, gradients) = (adapter.values(), adapter.gradients());
        let report = self.optimizer.step(&self.config, &mut values, &gradients);
        adapter.set_values(&values);
        adapter.clear_gradients();
        report
    }

    /// Writes a checkpoint between two steps, under another name, synced and renamed:
    /// a crash leaves the last one or this one. `state` is the caller's: where it
    /// stands in its data, and its random numbers.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn save(&self, path: &Path, state: &str) -> Result<(), EngineError> {
        let adapter = self.engine.model().adapter().values();
        let AdamW { first, second, step } = &self.optimizer;
        let bytes = [&adapter, first, second].map(|numbers| Kind::F32.from_f32(numbers, 1));
        let steps = step.to_le_bytes();
        let write = || {
            let view = |kind, n, bytes| TensorView::new(kind, vec![n], bytes);
            let mut views =
                vec![(STEP, view(Dtype::U64, 1, &steps[..]).map_err(io::Error::other)?)];
            for (name, bytes) in TENSORS.into_iter().zip(&bytes) {
                let n = bytes.len() / size_of::<f32>();
                views.push((name, view(Dtype::F32, n, bytes).map_err(io::Error::other)?));
            }
            let metadata = HashMap::from([(STATE.to_owned(), state.to_owned())]);
            let file = safetensors::serialize(views, Some(metadata)).map_err(io::Error::other)?;
            write_atomically(path, &file)
        };
        write().map_err(EngineError::io(path))
    }

    /// Goes on from a checkpoint of the same adapter, and returns the caller's state.
    ///
    /// # Errors
    /// Fails when the file cannot be read, or is not a checkpoint of such an adapter.
    pub fn restore(&mut self, path: &Path) -> Result<String, EngineError> {
        let bytes = fs::read(path).map_err(EngineError::io(path))?;
        let refuse = |detail: String| EngineError::Checkpoint { path: path.to_owned(), detail };
        let broken = |error: safetensors::SafeTensorError| refuse(error.to_string());
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let state = metadata.metadata().as_ref().and_then(|keys| keys.get(STATE));
        let state = state.ok_or_else(|| refuse("it has no state".into()))?.clone();
        let n = self.engine.model().adapter().len();
        let read = |name: &str| {
            let tensor = file.tensor(name).map_err(broken)?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != [n] {
                let found = tensor.shape();
                return Err(refuse(format!("{name} is {found:?}, this run's has {n} numbers")));
            }
            Ok(Kind::F32.to_f32(tensor.data(), 1))
        };
        let [adapter, first, second] = TENSORS;
        let (adapter, first, second) = (read(adapter)?, read(first)?, read(second)?);
        let steps = file.tensor(STEP).map_err(broken)?;
        let steps = steps.data().try_into().map_err(|_| refuse("step is not one number".into()))?;
        let optimizer = AdamW { first, second, step: u64::from_le_bytes(steps) };
        self.engine.model().adapter().set_values(&adapter);
        self.engine.model().adapter().clear_gradients();
        self.optimizer = optimizer;
        Ok(state)
    }
}
