//! Adapters: low-rank matrices beside the frozen ones (LoRA, Hu et al. 2021,
//! arXiv:2106.09685).

use std::rc::Rc;

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use super::{
    EngineError,
    ggml::{Backend, Kind, Memory, Tensor},
    shape::{Shape, TARGETS, layer_tensor},
};

/// What an adapter is made like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdapterConfig {
    /// Rank of the matrices.
    pub rank: usize,
    /// `alpha / rank` scales what they add.
    pub alpha: f32,
    /// Seed of the initial values.
    pub seed: u64,
}

/// The two matrices of one target and what their gradients add up to.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// `[in, rank]`.
    pub(super) a: Tensor,
    /// `[rank, out]`.
    pub(super) b: Tensor,
    /// As `a`.
    pub(super) grad_a: Tensor,
    /// As `b`.
    pub(super) grad_b: Tensor,
}

/// An adapter on a device: a pair for each target of each layer.
#[derive(Debug)]
pub struct Adapter {
    config: AdapterConfig,
    /// Name of the frozen matrix, and the pair beside it.
    pairs: Vec<(String, Pair)>,
}

impl Adapter {
    /// Makes an adapter that changes nothing yet: A is uniform in +-1/sqrt(in), as
    /// reference implementations start it, and B is zero.
    ///
    /// # Errors
    /// Fails when the device has not enough memory.
    pub fn new(
        backend: &Rc<Backend>,
        shape: &Shape,
        config: AdapterConfig,
    ) -> Result<Self, EngineError> {
        let targets = targets(shape);
        let memory = Memory::new(backend, 4 * targets.len());
        let pairs: Vec<_> = targets
            .into_iter()
            .map(|(name, [inside, outside])| {
                let a = || memory.tensor(Kind::F32, &[inside, config.rank]);
                let b = || memory.tensor(Kind::F32, &[config.rank, outside]);
                (name, Pair { a: a(), b: b(), grad_a: a(), grad_b: b() })
            })
            .collect();
        memory.allocate()?;
        let adapter = Self { config, pairs };
        let mut random = ChaCha20Rng::seed_from_u64(config.seed);
        for (_, pair) in &adapter.pairs {
            #[allow(clippy::cast_precision_loss, reason = "a width, and 24 bits")]
            let mut draw = || {
                let unit = (random.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
                unit / (pair.a.shape()[0] as f32).sqrt()
            };
            let n = pair.a.bytes() / size_of::<f32>();
            pair.a.write_f32(&(0..n).map(|_| draw()).collect::<Vec<_>>());
            pair.b.clear();
        }
        adapter.clear_gradients();
        Ok(adapter)
    }

    /// Returns what it was made like.
    pub const fn config(&self) -> AdapterConfig {
        self.config
    }

    /// Returns the factor of what the matrices add.
    #[allow(clippy::cast_precision_loss, reason = "a rank")]
    pub fn scale(&self) -> f32 {
        self.config.alpha / self.config.rank as f32
    }

    /// Returns the pair beside a frozen matrix.
    pub(super) fn pair(&self, name: &str) -> Option<&Pair> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, pair)| pair)
    }

    /// Returns name and shape of the matrices, in the order of [`Adapter::values`]:
    /// the names llama.cpp's adapter files have.
    pub fn matrices(&self) -> Vec<(String, [usize; 2])> {
        let shape = |tensor: &Tensor| [tensor.shape()[0], tensor.shape()[1]];
        self.pairs
            .iter()
            .flat_map(|(name, pair)| {
                [
                    (format!("{name}.lora_a"), shape(&pair.a)),
                    (format!("{name}.lora_b"), shape(&pair.b)),
                ]
            })
            .collect()
    }

    /// Returns the number of values.
    #[allow(clippy::len_without_is_empty, reason = "an adapter is never empty")]
    pub fn len(&self) -> usize {
        self.matrices().iter().map(|(_, [row, rows])| row * rows).sum()
    }

    /// Copies all values to the host, matrix after matrix.
    pub fn values(&self) -> Vec<f32> {
        self.pairs.iter().flat_map(|(_, p)| [p.a.read_f32(), p.b.read_f32()]).flatten().collect()
    }

    /// Overwrites all values.
    ///
    /// # Panics
    /// Panics when there are not [`Adapter::len`] values.
    pub fn set_values(&self, values: &[f32]) {
        assert_eq!(values.len(), self.len(), "values of this adapter");
        let mut left = values;
        for tensor in self.pairs.iter().flat_map(|(_, pair)| [&pair.a, &pair.b]) {
            let (these, others) = left.split_at(tensor.bytes() / size_of::<f32>());
            tensor.write_f32(these);
            left = others;
        }
    }

    /// Copies the sum of the gradients since they were cleared, in the order of
    /// [`Adapter::values`].
    pub fn gradients(&self) -> Vec<f32> {
        let read = |pair: &Pair| [pair.grad_a.read_f32(), pair.grad_b.read_f32()];
        self.pairs.iter().flat_map(|(_, pair)| read(pair)).flatten().collect()
    }

    /// Sets the sum of the gradients to zero.
    pub fn clear_gradients(&self) {
        for (_, pair) in &self.pairs {
            pair.grad_a.clear();
            pair.grad_b.clear();
        }
    }
}

/// Returns name and shape of every matrix an adapter works on.
fn targets(shape: &Shape) -> Vec<(String, [usize; 2])> {
    let is_target = |name: &str| {
        (0..shape.layers).any(|l| TARGETS.iter().any(|target| layer_tensor(l, target) == name))
    };
    shape.tensors().into_iter().filter(|(name, _)| is_target(name)).collect()
}
