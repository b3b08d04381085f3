//! Models of random weights: for gradient tests, and for the speed of a shape
//! whose weights are not at hand.

use std::{ops::Range, path::Path};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use super::{
    EngineError,
    ggml::{GgufWriter, Kind, Tensor},
    shape::{Architecture, Shape},
};

/// Weights written at a time.
const CHUNK: usize = 1 << 20;

/// Weights of a shape, drawn from a seed. They are rounded to BF16, so that the
/// same numbers stand in a model of any wider format.
#[derive(Debug, Clone, Copy)]
pub struct RandomWeights {
    /// Shape of the model.
    pub shape: Shape,
    /// Format of the matrices; vectors are F32.
    pub kind: Kind,
    /// Seed.
    pub seed: u64,
}

/// Two layers of the least width, for tests: every row is whole blocks of Q8_0.
pub const fn tiny(architecture: Architecture) -> Shape {
    Shape {
        architecture,
        layers: 2,
        width: 64,
        heads: 4,
        kv_heads: 2,
        // Wider than `width / heads` where the architecture allows it.
        head: match architecture {
            Architecture::Llama => 16,
            Architecture::Qwen3 => 32,
        },
        feed_forward: 96,
        vocabulary: 320,
        is_tied: matches!(architecture, Architecture::Llama),
        epsilon: 1e-5,
        rope_base: 10_000.0,
    }
}

/// The shape of SmolLM2-135M.
pub const fn smollm2_135m() -> Shape {
    Shape {
        architecture: Architecture::Llama,
        layers: 30,
        width: 576,
        heads: 9,
        kv_heads: 3,
        head: 64,
        feed_forward: 1_536,
        vocabulary: 49_152,
        is_tied: true,
        epsilon: 1e-5,
        rope_base: 100_000.0,
    }
}

/// The shape of Qwen3-4B.
pub const fn qwen3_4b() -> Shape {
    Shape {
        architecture: Architecture::Qwen3,
        layers: 36,
        width: 2_560,
        heads: 32,
        kv_heads: 8,
        head: 128,
        feed_forward: 9_728,
        vocabulary: 151_936,
        is_tied: true,
        epsilon: 1e-6,
        rope_base: 1_000_000.0,
    }
}

impl RandomWeights {
    /// Calls `write` with the bytes of tensor `index` of [`Shape::tensors`], in order.
    ///
    /// Matrices are uniform with variance `1 / in`, which keeps activations of order
    /// one through any number of layers; vectors are uniform in 0.5..1.5. Chunks are
    /// drawn side by side: billions of weights would else take minutes.
    fn generate(&self, index: usize, [row, rows]: [usize; 2], mut write: impl FnMut(&[u8])) {
        let height = (CHUNK / row).clamp(1, rows);
        let starts: Vec<usize> = (0..rows).step_by(height).collect();
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        for group in starts.chunks(workers) {
            let draw =
                |start: usize| self.chunk(index, row, start..rows.min(start + height), rows == 1);
            let parts: Vec<Vec<u8>> = match group {
                // Most tensors of small models: no thread is worth it.
                [start] => vec![draw(*start)],
                _ => std::thread::scope(|scope| {
                    let spawn = |&start: &usize| scope.spawn(move || draw(start));
                    let threads: Vec<_> = group.iter().map(spawn).collect();
                    #[allow(clippy::expect_used, reason = "it only draws numbers")]
                    threads.into_iter().map(|thread| thread.join().expect("numbers")).collect()
                }),
            };
            parts.iter().for_each(|part| write(part));
        }
    }

    /// The bytes of some rows of a tensor.
    fn chunk(&self, index: usize, row: usize, rows: Range<usize>, is_vector: bool) -> Vec<u8> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(index as u64);
        // A word for each weight.
        random.set_word_pos((rows.start * row) as u128);
        // In -1..1, with 24 bits.
        #[allow(clippy::cast_precision_loss, reason = "24 bits fit")]
        let mut uniform = || (random.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0;
        if is_vector {
            let vector: Vec<f32> = (0..row).map(|_| 1.0 + 0.5 * uniform()).collect();
            return Kind::F32.from_f32(&vector, row);
        }
        #[allow(clippy::cast_precision_loss, reason = "a width")]
        let bound = (3.0 / row as f32).sqrt();
        let numbers: Vec<f32> = (0..rows.len() * row).map(|_| bound * uniform()).collect();
        let rounded = Kind::BF16.from_f32(&numbers, row);
        match self.kind {
            Kind::BF16 => rounded,
            kind => kind.from_f32(&Kind::BF16.to_f32(&rounded, row), row),
        }
    }

    /// Returns the format of a tensor.
    pub fn kind_of(&self, shape: [usize; 2]) -> Kind {
        if shape[1] == 1 { Kind::F32 } else { self.kind }
    }

    /// Fills tensor `index` on its device.
    pub fn fill(&self, index: usize, shape: [usize; 2], tensor: &Tensor) {
        let mut offset = 0;
        self.generate(index, shape, |bytes| {
            tensor.write_bytes(offset, bytes);
            offset += bytes.len();
        });
    }

    /// Writes the model as a GGUF file that llama.cpp loads. Its vocabulary is that
    /// of bytes and made-up words.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn write_gguf(&self, path: &Path) -> Result<(), EngineError> {
        let shape = &self.shape;
        let tensors = shape.tensors();
        let mut writer = GgufWriter::new(tensors.len());
        let architecture = shape.architecture.name();
        writer.text("general.architecture", architecture);
        writer.text("general.name", &format!("random {architecture}"));
        let mut set = |field: &str, n: usize| {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            writer.u32(&format!("{architecture}.{field}"), n);
        };
        set("block_count", shape.layers);
        set("context_length", 4_096);
        set("embedding_length", shape.width);
        set("feed_forward_length", shape.feed_forward);
        set("attention.head_count", shape.heads);
        set("attention.head_count_kv", shape.kv_heads);
        set("attention.key_length", shape.head);
        set("attention.value_length", shape.head);
        set("rope.dimension_count", shape.head);
        set("vocab_size", shape.vocabulary);
        let key = |field: &str| format!("{architecture}.{field}");
        writer.f32(&key("attention.layer_norm_rms_epsilon"), shape.epsilon);
        writer.f32(&key("rope.freq_base"), shape.rope_base);
        write_vocabulary(&mut writer, shape.vocabulary);
        for (index, (name, dimensions)) in tensors.iter().enumerate() {
            let mut bytes = Vec::new();
            self.generate(index, *dimensions, |chunk| bytes.extend_from_slice(chunk));
            writer.tensor(name, self.kind_of(*dimensions), *dimensions, bytes);
        }
        writer.write(path)
    }
}

/// A SentencePiece vocabulary: three control tokens, the 256 bytes, the markers of a
/// chat, the space, words.
fn write_vocabulary(writer: &mut GgufWriter, n: usize) {
    const CONTROL: [&str; 3] = ["<unk>", "<s>", "</s>"];
    const MARKERS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
    // Types of llama.cpp: normal, unknown, control, byte.
    const TYPES: [i32; 4] = [1, 2, 3, 6];
    let token = |i: usize| match i {
        0..3 => CONTROL[i].to_owned(),
        3..259 => format!("<0x{:02X}>", i - 3),
        259..261 => MARKERS[i - 259].to_owned(),
        // Spelled in bytes it would be three that are no space.
        261 => "\u{2581}".to_owned(),
        _ => format!("\u{2581}w{i}"),
    };
    let kind = |i: usize| match i {
        0 => TYPES[1],
        1..3 | 259..261 => TYPES[2],
        3..259 => TYPES[3],
        _ => TYPES[0],
    };
    #[allow(clippy::cast_precision_loss, reason = "a rank")]
    let score = |i: usize| -(i as f32);
    writer.text("tokenizer.ggml.model", "llama");
    writer.texts("tokenizer.ggml.tokens", &(0..n).map(token).collect::<Vec<_>>());
    writer.f32s("tokenizer.ggml.scores", &(0..n).map(score).collect::<Vec<_>>());
    writer.i32s("tokenizer.ggml.token_type", &(0..n).map(kind).collect::<Vec<_>>());
    writer.u32("tokenizer.ggml.unknown_token_id", 0);
    writer.u32("tokenizer.ggml.bos_token_id", 1);
    writer.u32("tokenizer.ggml.eos_token_id", 2);
    writer.u32("tokenizer.ggml.eot_token_id", 260);
    writer.flag("tokenizer.ggml.add_space_prefix", false);
    let template =
        "{% for m in messages %}<|im_start|>{{m.role}}\n{{m.content}}<|im_end|>\n{% endfor %}";
    writer.text("tokenizer.chat_template", template);
}
