use proptest::prelude::*;

use super::*;

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn key(out: &mut Vec<u8>, name: &str, kind: u32, value: &[u8]) {
    string(out, name);
    out.extend(kind.to_le_bytes());
    out.extend(value);
}

/// A complete tiny file: nine keys and one F32 tensor of 32 weights.
fn file() -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(9u64.to_le_bytes());
    let mut text = Vec::new();
    string(&mut text, "llama");
    key(&mut out, "general.architecture", 8, &text);
    key(&mut out, "general.alignment", 4, &32u32.to_le_bytes());
    for (name, value) in [
        ("llama.block_count", 2u32),
        ("llama.context_length", 64),
        ("llama.embedding_length", 32),
        ("llama.attention.head_count", 4),
    ] {
        key(&mut out, name, 4, &value.to_le_bytes());
    }
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    key(&mut out, epsilon, 6, &1e-5f32.to_le_bytes());
    let mut tokens = 8u32.to_le_bytes().to_vec();
    tokens.extend(300u64.to_le_bytes());
    for token in 0..300 {
        string(&mut tokens, &token.to_string());
    }
    key(&mut out, "tokenizer.ggml.tokens", 9, &tokens);
    key(&mut out, "llama.expert_count", 5, &(-1i32).to_le_bytes());
    string(&mut out, "token_embd.weight");
    out.extend(1u32.to_le_bytes());
    out.extend(32u64.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.resize(out.len().next_multiple_of(32) + 128, 0);
    out
}

fn read(bytes: &[u8]) -> Result<GgufHeader, GgufError> {
    read_header(bytes, bytes.len() as u64)
}

#[test]
fn reads_a_valid_header() {
    let header = read(&file()).unwrap();
    assert_eq!(header.architecture, Architecture::Llama);
    assert_eq!((header.n_blocks, header.n_vocab), (2, 300));
}

#[test]
fn names_the_field_that_is_wrong() {
    let check = |from: &[u8], to: &[u8], expected: &str| {
        let mut bytes = file();
        let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(b"GGUF", b"GGML", "magic: expected GGUF");
    check(b"GGUF\x03", b"GGUF\x09", "version: expected 2 or 3, found 9");
    check(b"llama", b"gpt2!", "general.architecture: expected llama or qwen3");
    check(b"block_count\x04\0\0\0\x02", b"block_count\x04\0\0\0\0", "block_count");
    check(b"context_length", b"context_lengtj", "context_length");
    check(b"head_count\x04\0\0\0\x04", b"head_count\x04\0\0\0\x05", "heads");
    check(b"_epsilon\x06\0\0\0", b"_epsilon\x06\0\0\0\0\0\xc0\x7f", "epsilon");
    check(b"weight\x01", b"weight\x09", "1 to 4 dimensions");
    check(b"weight\x01\0\0\0\x20", b"weight\x01\0\0\0\x21", "tensor data");
}

#[test]
fn refuses_counts_before_it_allocates() {
    let mut bytes = file();
    bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(read(&bytes).unwrap_err().to_string().contains("tensor count"));
    assert!(read(&file()[..200]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// No mutation panics, and a truncated file is never accepted.
    #[test]
    fn survives_mutation(
        edits in prop::collection::vec((0usize..4_000, any::<u8>()), 1..6),
        cut in prop::option::of(0usize..4_000),
    ) {
        let mut bytes = file();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        let _ = read(&bytes);
    }

    #[test]
    fn survives_noise(noise in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut bytes = file()[..24].to_vec();
        bytes.extend(noise);
        prop_assert!(read(&bytes).is_err());
    }
}
