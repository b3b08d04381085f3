//! A model on a device: the frozen base with an adapter beside its matrices.

use std::{path::Path, rc::Rc};

use super::{
    EngineError,
    adapter::{Adapter, AdapterConfig},
    block::Block,
    ggml::{Backend, GgufFile, Graph, Kind, Memory, Scratch, Tensor},
    linear::{Frozen, Linear},
    random::RandomWeights,
    shape::{ROPE_FACTORS, Shape, layer_tensor},
};

/// Bytes read from a file at a time.
const CHUNK_BYTES: usize = 16 << 20;

/// Where the base comes from.
pub enum Weights {
    /// A GGUF file.
    File(GgufFile),
    /// A seed.
    Random(RandomWeights),
}

impl Weights {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// Fails when the file is not GGUF.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        GgufFile::open(path).map(Self::File)
    }

    /// Returns the shape of the model.
    ///
    /// # Errors
    /// Fails when the file holds a model the engine does not know.
    pub fn shape(&self) -> Result<Shape, EngineError> {
        match self {
            Self::File(file) => Shape::read(file),
            Self::Random(random) => Ok(random.shape),
        }
    }

    fn kind(&self, name: &str, shape: [usize; 2], is_unpacked: bool) -> Kind {
        match self {
            Self::File(file) => match file.tensor(name).map_or(Kind::F32, |tensor| tensor.kind) {
                kind if is_unpacked && kind.block() > 1 => Kind::BF16,
                kind => kind,
            },
            Self::Random(random) => random.kind_of(shape),
        }
    }

    /// Fills tensor `index` of [`Shape::tensors`].
    fn fill(&self, index: usize, base: &BaseTensor) -> Result<(), EngineError> {
        match self {
            Self::Random(random) => {
                random.fill(index, base.shape, &base.tensor);
                Ok(())
            }
            Self::File(file) => fill_from(file, &base.name, &base.tensor),
        }
    }
}

fn fill_from(file: &GgufFile, name: &str, tensor: &Tensor) -> Result<(), EngineError> {
    let info = file
        .tensor(name)
        .ok_or_else(|| EngineError::gguf(file.path(), format!("tensor {name} is missing")))?;
    let (row, kind) = (info.shape[0], tensor.kind());
    let row_bytes = info.kind.row_bytes(row);
    let mut buffer = vec![0; (CHUNK_BYTES / row_bytes).max(1) * row_bytes];
    let (mut read, mut written) = (0, 0);
    while read < info.bytes {
        let chunk = buffer.len().min(info.bytes - read);
        let chunk = &mut buffer[..chunk];
        file.read(info, read, chunk)?;
        read += chunk.len();
        let unpacked =
            (kind != info.kind).then(|| kind.from_f32(&info.kind.to_f32(chunk, row), row));
        let bytes = unpacked.as_deref().unwrap_or(chunk);
        tensor.write_bytes(written, bytes);
        written += bytes.len();
    }
    Ok(())
}

struct BaseTensor {
    name: String,
    shape: [usize; 2],
    tensor: Tensor,
}

/// The base and its adapter on one device.
pub struct Model {
    pub(super) backend: Rc<Backend>,
    pub(super) shape: Shape,
    pub(super) embedding: Tensor,
    pub(super) blocks: Vec<Block>,
    pub(super) output_norm: Tensor,
    /// `[width, vocabulary]`.
    pub(super) output: Frozen,
    pub(super) rope_factors: Option<Tensor>,
    pub(super) adapter: Adapter,
}

impl Model {
    /// Loads a base and makes an adapter beside it. `is_unpacked` spends memory on speed:
    /// quantised matrices of a file become BF16, for which kernels are faster and round
    /// activations less, and every matrix is kept transposed as well, in BF16 or F32, for
    /// the backward pass.
    ///
    /// # Errors
    /// Fails when the base is not one the engine knows, cannot be read, or does not
    /// fit into the memory of the device.
    pub fn load(
        backend: &Rc<Backend>,
        weights: &Weights,
        config: AdapterConfig,
        is_unpacked: bool,
    ) -> Result<Self, EngineError> {
        let shape = weights.shape()?;
        let base = load_base(backend, weights, &shape, is_unpacked)?;
        let find =
            |name: &str| base.iter().find(|base| base.name == name).map(|base| base.tensor.clone());
        let rope_factors = load_rope_factors(backend, weights)?;
        let row_numbers = row_numbers(backend, &shape)?;
        let adapter = Adapter::new(backend, &shape, config)?;
        let loader = Loader { backend, find: &find, row_numbers: &row_numbers, is_unpacked };
        let blocks = (0..shape.layers)
            .map(|layer| loader.block(layer, &adapter))
            .collect::<Result<_, _>>()?;
        let output_name = if shape.is_tied { "token_embd.weight" } else { "output.weight" };
        let output = loader.frozen(output_name)?;
        Ok(Self {
            backend: Rc::clone(backend),
            shape,
            embedding: loader.vector("token_embd.weight"),
            blocks,
            output_norm: loader.vector("output_norm.weight"),
            output,
            rope_factors,
            adapter,
        })
    }

    /// Returns the adapter.
    pub const fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Returns the shape.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }
}

fn load_base(
    backend: &Rc<Backend>,
    weights: &Weights,
    shape: &Shape,
    is_unpacked: bool,
) -> Result<Vec<BaseTensor>, EngineError> {
    let tensors = shape.tensors();
    let memory = Memory::new(backend, tensors.len());
    let base: Vec<BaseTensor> = tensors
        .into_iter()
        .map(|(name, shape)| {
            let kind = weights.kind(&name, shape, is_unpacked);
            let dimensions = if shape[1] == 1 { &shape[..1] } else { &shape[..] };
            let tensor = memory.tensor(kind, dimensions);
            BaseTensor { name, shape, tensor }
        })
        .collect();
    memory.allocate()?;
    for (index, base) in base.iter().enumerate() {
        weights.fill(index, base)?;
    }
    Ok(base)
}

fn load_rope_factors(
    backend: &Rc<Backend>,
    weights: &Weights,
) -> Result<Option<Tensor>, EngineError> {
    let Weights::File(file) = weights else { return Ok(None) };
    let Some(info) = file.tensor(ROPE_FACTORS) else { return Ok(None) };
    let memory = Memory::new(backend, 1);
    let factors = memory.tensor(info.kind, &info.shape[..1]);
    memory.allocate()?;
    fill_from(file, ROPE_FACTORS, &factors)?;
    Ok(Some(factors))
}

/// The numbers from 0, as many as the longest matrix has rows.
fn row_numbers(backend: &Rc<Backend>, shape: &Shape) -> Result<Tensor, EngineError> {
    let rows = shape.tensors().into_iter().map(|(_, [_, rows])| rows).max().unwrap_or(1);
    let memory = Memory::new(backend, 1);
    let numbers = memory.tensor(Kind::I32, &[rows]);
    memory.allocate()?;
    numbers.write_i32(&(0..i32::try_from(rows).unwrap_or(i32::MAX)).collect::<Vec<_>>());
    Ok(numbers)
}

/// Puts tensors of the base together to what the model computes with.
struct Loader<'a> {
    backend: &'a Rc<Backend>,
    find: &'a dyn Fn(&str) -> Option<Tensor>,
    row_numbers: &'a Tensor,
    is_unpacked: bool,
}

impl Loader<'_> {
    /// # Panics
    /// Panics when the base lacks the tensor, which `Shape::read` has refused.
    #[allow(clippy::expect_used, reason = "checked when the shape was read")]
    fn vector(&self, name: &str) -> Tensor {
        (self.find)(name).expect("a tensor of the shape")
    }

    fn frozen(&self, name: &str) -> Result<Frozen, EngineError> {
        let weight = self.vector(name);
        let row_numbers = self.row_numbers.clone();
        let mut frozen = Frozen { weight, transposed: None, row_numbers };
        if self.is_unpacked {
            frozen.transposed = Some(transpose(self.backend, &frozen)?);
        }
        Ok(frozen)
    }

    fn block(&self, layer: usize, adapter: &Adapter) -> Result<Block, EngineError> {
        let linear = |name: &str| {
            let name = layer_tensor(layer, name);
            #[allow(clippy::expect_used, reason = "an adapter has a pair for each target")]
            let pair = adapter.pair(&name).expect("a target").clone();
            Ok(Linear { frozen: self.frozen(&name)?, pair, scale: adapter.scale() })
        };
        let vector = |name: &str| self.vector(&layer_tensor(layer, name));
        Ok(Block {
            attention_norm: vector("attn_norm"),
            feed_forward_norm: vector("ffn_norm"),
            query_norm: (self.find)(&layer_tensor(layer, "attn_q_norm")),
            key_norm: (self.find)(&layer_tensor(layer, "attn_k_norm")),
            query: linear("attn_q")?,
            key: linear("attn_k")?,
            value: linear("attn_v")?,
            output: linear("attn_output")?,
            gate: linear("ffn_gate")?,
            up: linear("ffn_up")?,
            down: linear("ffn_down")?,
        })
    }
}

/// Transposes a matrix on the device: into F32 when it is F32, else into BF16.
fn transpose(backend: &Rc<Backend>, frozen: &Frozen) -> Result<Tensor, EngineError> {
    let [inside, outside, ..] = frozen.weight.shape();
    let kind = if frozen.weight.kind() == Kind::F32 { Kind::F32 } else { Kind::BF16 };
    let memory = Memory::new(backend, 1);
    let transposed = memory.tensor(kind, &[outside, inside]);
    memory.allocate()?;
    let g = Graph::new(backend, 16);
    g.expand(&g.copy(&g.transpose(&frozen.dequantised(&g)), &transposed));
    // A scratch of its own: this is the largest, and needed only now.
    g.compute(&Scratch::new(backend))?;
    Ok(transposed)
}
