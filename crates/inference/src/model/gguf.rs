//! A bounded reader for the header of a GGUF file.
//!
//! llama.cpp parses GGUF in C++ and answers some malformed headers with an
//! assert or a memory error. This reader accepts the subset r2r serves and
//! refuses everything else, before any C++ opens the file.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Read},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Model architectures r2r serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Llama and SmolLM2.
    Llama,
    /// Qwen3.
    Qwen3,
}

impl Architecture {
    /// All architectures, in the order error messages list them.
    pub const ALL: [Self; 2] = [Self::Llama, Self::Qwen3];

    /// Returns the name as it stands in a GGUF header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// What a valid header says about its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufHeader {
    /// Architecture.
    pub architecture: Architecture,
    /// `general.name`, or empty.
    pub name: String,
    /// Number of tensors.
    pub n_tensors: u64,
    /// Number of transformer blocks.
    pub n_blocks: u64,
    /// Context length the model was trained for, in tokens.
    pub context_length: u64,
    /// Number of tokens in the vocabulary.
    pub n_vocab: u64,
    /// Jinja source of the chat template, or empty.
    pub chat_template: String,
}

/// One line saying which field of the header is wrong.
#[derive(Debug, Error)]
pub enum GgufError {
    /// A field holds what r2r does not accept.
    #[error("{field}: expected {expected}, found {found}")]
    Field {
        /// Name of the field.
        field: String,
        /// What would be accepted.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The file cannot be read.
    #[error("the header cannot be read")]
    Io(#[from] io::Error),
}

const MAX_TENSORS: u64 = 65_536;
const MAX_KEYS: u64 = 4_096;
const MAX_KEY_BYTES: u64 = 256;
const MAX_STRING_BYTES: u64 = 1 << 20;
const MAX_ARRAY_ITEMS: u64 = 1 << 21;
/// Bound on everything before the tensor data.
const MAX_HEADER_BYTES: u64 = 256 << 20;
const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

enum Value {
    Integer(u64),
    Float(f64),
    Text(String),
    Array(u64),
}

impl Value {
    fn describe(&self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
            Self::Array(items) => format!("an array of {items}"),
        }
    }
}

struct Header<R> {
    reader: R,
    consumed: u64,
    limit: u64,
}

/// Reads the header of a GGUF file of `file_size` bytes. Reads no tensor data
/// and allocates no more than the strings it keeps.
///
/// # Errors
/// Returns the first field that is not acceptable.
pub fn read_header(reader: impl Read, file_size: u64) -> Result<GgufHeader, GgufError> {
    let mut header = Header { reader, consumed: 0, limit: file_size.min(MAX_HEADER_BYTES) };
    let magic = header.bytes::<4>("magic")?;
    if magic != *b"GGUF" {
        return Err(field("magic", "GGUF", magic.escape_ascii()));
    }
    let version = header.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(field("version", "2 or 3", version));
    }
    let n_tensors = header.count("tensor count", 1..=MAX_TENSORS)?;
    let n_keys = header.count("key count", 1..=MAX_KEYS)?;
    let values = header.values(n_keys)?;
    let summary = summarize(&values, n_tensors)?;
    let alignment = match values.get("general.alignment") {
        None => 32,
        Some(Value::Integer(n)) if n.is_power_of_two() && (8..=65_536).contains(n) => *n,
        Some(other) => {
            let expected = "a power of two in 8..=65536";
            return Err(field("general.alignment", expected, other.describe()));
        }
    };
    header.tensors(n_tensors, alignment, file_size)?;
    Ok(summary)
}

fn field(field: impl Into<String>, expected: impl Into<String>, found: impl ToString) -> GgufError {
    GgufError::Field { field: field.into(), expected: expected.into(), found: found.to_string() }
}

impl<R: Read> Header<R> {
    fn take(&mut self, n: u64, what: &str) -> Result<(), GgufError> {
        self.consumed = self.consumed.saturating_add(n);
        if self.consumed > self.limit {
            let expected = format!("it to end within {} bytes", self.limit);
            return Err(field(what, expected, format!("byte {}", self.consumed)));
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        self.take(N as u64, what)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    fn count(
        &mut self,
        what: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, GgufError> {
        let n = self.u64(what)?;
        if !range.contains(&n) {
            let expected = format!("{}..={}", range.start(), range.end());
            return Err(field(what, expected, n));
        }
        Ok(n)
    }

    fn skip(&mut self, n: u64, what: &str) -> Result<(), GgufError> {
        self.take(n, what)?;
        let skipped = io::copy(&mut (&mut self.reader).take(n), &mut io::sink())?;
        if skipped != n {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    fn string(&mut self, max: u64, what: &str) -> Result<String, GgufError> {
        let n = self.count(what, 0..=max)?;
        self.take(n, what)?;
        let mut bytes = Vec::new();
        (&mut self.reader).take(n).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != n {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        String::from_utf8(bytes).map_err(|_| field(what, "UTF-8", "other bytes"))
    }

    fn values(&mut self, n_keys: u64) -> Result<HashMap<String, Value>, GgufError> {
        let mut values = HashMap::new();
        for _ in 0..n_keys {
            let key = self.string(MAX_KEY_BYTES, "key")?;
            let kind = self.u32(&key)?;
            let value = self.value(kind, &key)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(field(key, "the key once", "it twice"));
            }
        }
        Ok(values)
    }

    fn value(&mut self, kind: u32, key: &str) -> Result<Value, GgufError> {
        Ok(match kind {
            0 => Value::Integer(u64::from(self.bytes::<1>(key)?[0])),
            1 => signed(i64::from(i8::from_le_bytes(self.bytes(key)?))),
            2 => Value::Integer(u64::from(u16::from_le_bytes(self.bytes(key)?))),
            3 => signed(i64::from(i16::from_le_bytes(self.bytes(key)?))),
            4 => Value::Integer(u64::from(self.u32(key)?)),
            5 => signed(i64::from(i32::from_le_bytes(self.bytes(key)?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.bytes(key)?))),
            7 => match self.bytes::<1>(key)?[0] {
                bit @ 0..=1 => Value::Integer(u64::from(bit)),
                other => return Err(field(key, "a truth value, 0 or 1", other)),
            },
            TYPE_STRING => Value::Text(self.string(MAX_STRING_BYTES, key)?),
            TYPE_ARRAY => Value::Array(self.array(key)?),
            10 => Value::Integer(self.u64(key)?),
            11 => signed(i64::from_le_bytes(self.bytes(key)?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes(key)?)),
            other => return Err(field(key, "a value type in 0..=12", other)),
        })
    }

    fn array(&mut self, key: &str) -> Result<u64, GgufError> {
        let kind = self.u32(key)?;
        let items = self.count(key, 0..=MAX_ARRAY_ITEMS)?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            TYPE_STRING => {
                for _ in 0..items {
                    let n = self.count(key, 0..=MAX_STRING_BYTES)?;
                    self.skip(n, key)?;
                }
                return Ok(items);
            }
            other => return Err(field(key, "an array of scalars or strings", other)),
        };
        self.skip(items * width, key)?;
        Ok(items)
    }

    fn tensors(&mut self, n: u64, alignment: u64, file_size: u64) -> Result<(), GgufError> {
        let mut names = HashSet::new();
        // Where the next tensor must start, and where the last one ends.
        let (mut next, mut end) = (0u64, 0u64);
        for _ in 0..n {
            let name = self.string(MAX_KEY_BYTES, "tensor name")?;
            let (size, offset) = self.tensor(&name)?;
            // llama.cpp lays tensors out one after the other and asserts it.
            if offset != next {
                let expected = format!("offset {next}");
                return Err(field(format!("tensor {name}"), expected, offset));
            }
            end = offset.saturating_add(size);
            next = end
                .checked_next_multiple_of(alignment)
                .ok_or_else(|| field(format!("tensor {name}"), "a size that fits", size))?;
            if !names.insert(name.clone()) {
                return Err(field(format!("tensor {name}"), "the name once", "it twice"));
            }
        }
        let start = self.consumed.next_multiple_of(alignment);
        let needed = start.saturating_add(end);
        if needed > file_size {
            let expected = format!("a file of {needed} bytes");
            return Err(field("tensor data", expected, file_size));
        }
        Ok(())
    }

    /// Returns the size of a tensor and its offset, both in bytes.
    fn tensor(&mut self, name: &str) -> Result<(u64, u64), GgufError> {
        let what = format!("tensor {name}");
        let n_dims = self.u32(&what)?;
        if !(1..=4).contains(&n_dims) {
            return Err(field(what, "1 to 4 dimensions", n_dims));
        }
        let first = self.count(&what, 1..=1 << 40)?;
        let mut rows = 1u64;
        for _ in 1..n_dims {
            let n = self.count(&what, 1..=1 << 40)?;
            rows = rows
                .checked_mul(n)
                .ok_or_else(|| field(&what, "dimensions that fit", "an overflow"))?;
        }
        let kind = self.u32(&what)?;
        let (block, bytes) = block_layout(kind)
            .ok_or_else(|| field(&what, "a known tensor type", format!("type {kind}")))?;
        if first % block != 0 {
            return Err(field(what, format!("rows of a multiple of {block}"), first));
        }
        let size = (first / block)
            .checked_mul(bytes)
            .and_then(|row| row.checked_mul(rows))
            .filter(|size| *size < 1 << 48)
            .ok_or_else(|| field(&what, "a size that fits", "an overflow"))?;
        Ok((size, self.u64(&what)?))
    }
}

/// Negative integers never occur in the keys this reader looks at; they are
/// kept as a float so that a count check refuses them.
fn signed(value: i64) -> Value {
    #[allow(clippy::cast_precision_loss, reason = "only shown in a message")]
    u64::try_from(value).map_or(Value::Float(value as f64), Value::Integer)
}

/// Weights and bytes of one block of a ggml tensor type.
const fn block_layout(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 => (1, 4),      // F32
        1 | 30 => (1, 2), // F16, BF16
        2 => (32, 18),    // Q4_0
        3 => (32, 20),    // Q4_1
        6 => (32, 22),    // Q5_0
        7 => (32, 24),    // Q5_1
        8 => (32, 34),    // Q8_0
        10 => (256, 84),  // Q2_K
        11 => (256, 110), // Q3_K
        12 => (256, 144), // Q4_K
        13 => (256, 176), // Q5_K
        14 => (256, 210), // Q6_K
        20 => (32, 18),   // IQ4_NL
        23 => (256, 136), // IQ4_XS
        _ => return None,
    })
}

fn summarize(values: &HashMap<String, Value>, n_tensors: u64) -> Result<GgufHeader, GgufError> {
    let text = |key: &str| match values.get(key) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let found = text("general.architecture");
    let architecture = Architecture::ALL
        .into_iter()
        .find(|architecture| architecture.name() == found)
        .ok_or_else(|| {
            let names = Architecture::ALL.map(Architecture::name).join(" or ");
            field("general.architecture", names, format!("{found:?}"))
        })?;
    let integer = |key: &str, max: u64| {
        let key = format!("{}.{key}", architecture.name());
        match values.get(&key) {
            Some(Value::Integer(n)) if (1..=max).contains(n) => Ok(*n),
            other => {
                let found = other.map_or("nothing".to_owned(), Value::describe);
                Err(field(key, format!("1..={max}"), found))
            }
        }
    };
    let n_blocks = integer("block_count", 512)?;
    let width = integer("embedding_length", 1 << 16)?;
    let heads = integer("attention.head_count", 1 << 10)?;
    if width % heads != 0 {
        let expected = format!("a multiple of {heads} heads");
        return Err(field("embedding_length", expected, width));
    }
    let epsilon_key = format!("{}.attention.layer_norm_rms_epsilon", architecture.name());
    match values.get(&epsilon_key) {
        Some(Value::Float(epsilon)) if *epsilon > 0.0 && *epsilon < 1e-2 => {}
        other => {
            let found = other.map_or("nothing".to_owned(), Value::describe);
            return Err(field(epsilon_key, "a number between 0 and 0.01", found));
        }
    }
    let n_vocab = match values.get("tokenizer.ggml.tokens") {
        Some(Value::Array(n)) if (256..=1 << 20).contains(n) => *n,
        other => {
            let found = other.map_or("nothing".to_owned(), Value::describe);
            return Err(field("tokenizer.ggml.tokens", "256..=1048576 tokens", found));
        }
    };
    Ok(GgufHeader {
        architecture,
        name: text("general.name"),
        n_tensors,
        n_blocks,
        context_length: integer("context_length", 1 << 24)?,
        n_vocab,
        chat_template: text("tokenizer.chat_template"),
    })
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
