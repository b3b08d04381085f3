//! Forward and backward over a model, one batch at a time.
//!
//! With checkpointing (Chen et al. 2016, arXiv:1604.06174) only the inputs of layers
//! are kept on the way forward; on the way back each layer is computed again
//! before its gradient. Without, all that the way back reads is kept.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    EngineError,
    batch::Batch,
    block::{Saved, Sight},
    ggml::{Backend, Graph, Kind, Memory, Scratch, Tensor},
    head::{Head, Outcome},
    model::Model,
};

/// Bounds on nodes of a graph: a layer forward, the same and back.
const FORWARD_NODES: usize = 160;
const LAYER_NODES: usize = 640;

/// Passes are over a multiple of this many tokens: fast kernels for sums over tokens, as
/// attention has them, take whole vectors only. What is added to a batch is seen by none of
/// its tokens, and has no gradient.
const LENGTH_MULTIPLE: usize = 32;

/// How the engine trades memory for time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineConfig {
    /// Keep the inputs of layers only, and compute layers twice.
    pub is_checkpointed: bool,
    /// Targets whose logits are on the device at a time; a row of logits is as long
    /// as the vocabulary.
    pub head_rows: usize,
}

impl Default for EngineConfig {
    /// Checkpointed, 128 rows.
    fn default() -> Self {
        Self { is_checkpointed: true, head_rows: 128 }
    }
}

/// A model, and the memory its passes need.
pub struct Engine {
    model: Model,
    config: EngineConfig,
    head: Head,
    scratch: Rc<Scratch>,
    /// Holds what the way back reads, when nothing is computed twice.
    activations: Rc<Scratch>,
    room: Option<Room>,
}

/// Inputs and results for batches of one length.
struct Room {
    /// `[n]`.
    tokens: Tensor,
    sight: Sight,
    /// `[width, n]`: the inputs of layers, or only of the last norm.
    inputs: Vec<Tensor>,
    /// `[width, n]`: the gradient that goes down, and where the next one is written.
    dx: [Tensor; 2],
}

impl Room {
    fn new(model: &Model, n: usize, inputs: usize) -> Result<Self, EngineError> {
        let backend: &Rc<Backend> = &model.backend;
        let memory = Memory::new(backend, inputs + 5);
        let wide = || memory.tensor(Kind::F32, &[model.shape.width, n]);
        let room = Self {
            tokens: memory.tensor(Kind::I32, &[n]),
            sight: Sight {
                positions: memory.tensor(Kind::I32, &[n]),
                mask: memory.tensor(Kind::F32, &[n, n]),
                rope_factors: model.rope_factors.clone(),
            },
            inputs: (0..inputs).map(|_| wide()).collect(),
            dx: [wide(), wide()],
        };
        memory.allocate()?;
        Ok(room)
    }

    fn last(&self) -> &Tensor {
        &self.inputs[self.inputs.len() - 1]
    }
}

impl Engine {
    /// Prepares passes over a model.
    ///
    /// # Errors
    /// Fails when the device has not enough memory.
    pub fn new(model: Model, config: EngineConfig) -> Result<Self, EngineError> {
        let head = Head::new(&model, config.head_rows)?;
        let [scratch, activations] = [(); 2].map(|()| Scratch::new(&model.backend));
        Ok(Self { model, config, head, scratch, activations, room: None })
    }

    /// Returns the model.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Gives the model back, to be computed with in another way.
    #[must_use]
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Returns how many nodes of each operation were computed so far.
    pub fn census(&self) -> BTreeMap<&'static str, u64> {
        let mut census = self.scratch.census();
        for (name, n) in self.activations.census() {
            *census.entry(name).or_default() += n;
        }
        census
    }

    /// Returns the bytes of memory for nodes of graphs.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch.bytes() + self.activations.bytes()
    }

    /// Computes log-probabilities and entropies of the targets.
    ///
    /// # Errors
    /// Fails when the batch has no tokens or one beyond the vocabulary, or the device
    /// lacks an operation or memory.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<Outcome, EngineError> {
        let room = self.enter(batch)?;
        let graph = self.graph(FORWARD_NODES * (self.model.shape.layers + 1));
        let x = self.layers(&graph, &room, &mut |_, _| {});
        graph.expand(&graph.copy(&x, room.last()));
        drop(x);
        graph.compute(&self.scratch)?;
        let outcome = self.head.run(&self.model, &self.scratch, batch, room.last(), None);
        self.room = Some(room);
        outcome
    }

    /// As [`Engine::evaluate`], and adds the gradient of the loss to those of the adapter.
    ///
    /// # Errors
    /// As [`Engine::evaluate`].
    pub fn accumulate(&mut self, batch: &Batch) -> Result<Outcome, EngineError> {
        let room = self.enter(batch)?;
        let saved = match self.config.is_checkpointed {
            true => {
                self.forward_checkpointed(&room)?;
                Vec::new()
            }
            false => self.forward_saving(&room)?,
        };
        room.dx[0].clear();
        let (last, dx) = (room.last(), Some(&room.dx[0]));
        let outcome = self.head.run(&self.model, &self.scratch, batch, last, dx)?;
        self.backward(&room, saved)?;
        self.room = Some(room);
        Ok(outcome)
    }

    /// Writes what all passes read. The room is given back after the pass.
    fn enter(&mut self, batch: &Batch) -> Result<Room, EngineError> {
        batch.check(self.model.shape.vocabulary)?;
        let n = batch.len().next_multiple_of(LENGTH_MULTIPLE);
        let room = match self.room.take() {
            Some(room) if room.tokens.shape()[0] == n => room,
            other => {
                // Freed before the next is made.
                drop(other);
                let inputs = if self.config.is_checkpointed { self.model.shape.layers } else { 0 };
                Room::new(&self.model, n, inputs + 1)?
            }
        };
        let padded = |numbers: &[i32]| {
            let mut numbers = numbers.to_vec();
            numbers.resize(n, 0);
            numbers
        };
        room.tokens.write_i32(&padded(&batch.tokens));
        room.sight.positions.write_i32(&padded(&batch.positions));
        room.sight.mask.write_f32(&batch.mask(n));
        Ok(room)
    }

    fn graph(&self, nodes: usize) -> Graph {
        Graph::new(&self.model.backend, nodes)
    }

    /// All layers: tokens `[n]` to the input of the last norm `[width, n]`. `visit`
    /// sees each layer's input, and what it would keep.
    fn layers(&self, graph: &Graph, room: &Room, visit: &mut dyn FnMut(&Tensor, Saved)) -> Tensor {
        let mut x = graph.get_rows(&self.model.embedding, &room.tokens);
        for block in &self.model.blocks {
            let (y, saved) = block.forward(graph, &self.model.shape, &x, &room.sight);
            visit(&x, saved);
            x = y;
        }
        x
    }

    fn forward_checkpointed(&self, room: &Room) -> Result<(), EngineError> {
        let graph = self.graph(FORWARD_NODES * (self.model.shape.layers + 1));
        let mut inputs = room.inputs.iter();
        let mut store = |x: &Tensor| {
            if let Some(input) = inputs.next() {
                graph.expand(&graph.copy(x, input));
            }
        };
        let x = self.layers(&graph, room, &mut |x, _| store(x));
        store(&x);
        drop(x);
        graph.compute(&self.scratch)
    }

    fn forward_saving(&self, room: &Room) -> Result<Vec<Saved>, EngineError> {
        let graph = self.graph(FORWARD_NODES * (self.model.shape.layers + 1));
        let mut all = Vec::new();
        let x = self.layers(&graph, room, &mut |_, saved| {
            saved.all().for_each(|tensor| graph.retain(tensor));
            all.push(saved);
        });
        graph.expand(&graph.copy(&x, room.last()));
        drop(x);
        graph.compute(&self.activations)?;
        Ok(all)
    }

    /// From the gradient of the last norm's input, in `room.dx[0]`, through all layers.
    fn backward(&self, room: &Room, mut saved: Vec<Saved>) -> Result<(), EngineError> {
        let shape = &self.model.shape;
        let [mut above, mut below] = [&room.dx[0], &room.dx[1]];
        for (layer, block) in self.model.blocks.iter().enumerate().rev() {
            let graph = self.graph(LAYER_NODES);
            let saved = saved.pop().unwrap_or_else(|| {
                block.forward(&graph, shape, &room.inputs[layer], &room.sight).1
            });
            let is_first = layer == 0;
            let dx = block.backward(&graph, shape, &saved, &room.sight, above, is_first);
            if let Some(dx) = dx {
                graph.expand(&graph.copy(&dx, below));
            }
            // Recomputed, they are nodes of the graph; kept, later layers need theirs.
            drop(saved);
            graph.compute(&self.scratch)?;
            std::mem::swap(&mut above, &mut below);
        }
        Ok(())
    }
}
