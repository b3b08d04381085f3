//! Gradients against those of llama.cpp's own training hooks.

use super::{PASSES, relative_error, tiny_engine, tiny_weights, uniform};
use crate::{
    AdapterFile, Architecture, Batch,
    ggml::{HOOK_TOKENS, Kind, llama_opt},
};

#[test]
fn gradients_agree_with_the_hooks_of_llama_cpp() {
    for architecture in Architecture::ALL {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        tiny_weights(architecture, Kind::F32).write_gguf(&path("base.gguf")).unwrap();
        let mut engine = tiny_engine(architecture, Kind::F32, PASSES);
        let file = AdapterFile::of(engine.model().adapter());
        file.write(&path("adapter.gguf"), architecture).unwrap();
        let tokens: Vec<u32> =
            uniform(23, HOOK_TOKENS + 1).iter().map(|x| (160.0 + 159.0 * x) as u32).collect();
        let hooks = llama_opt(&path("base.gguf"), &path("adapter.gguf"), &tokens, 1).unwrap();

        let batch = Batch::text(&tokens).unwrap();
        let loss = engine.accumulate(&batch).unwrap().loss(&batch);
        assert!((loss / hooks.loss - 1.0).abs() < 1e-5, "{loss} {}", hooks.loss);
        let adapter = engine.model().adapter();
        let mut own = AdapterFile::matrices(adapter, &adapter.gradients());
        own.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(own.len(), hooks.gradients.len());
        for ((name, shape, own), (hook, other, found)) in own.iter().zip(&hooks.gradients) {
            assert_eq!((name, shape), (hook, other));
            let error = relative_error(own, found);
            assert!(error < 1e-4, "{architecture:?} {name}: {error}");
        }
        let message = llama_opt(&path("base.gguf"), &path("adapter.gguf"), &tokens[1..], 1);
        assert!(message.unwrap_err().to_string().contains("the hooks take 257"));
        let refused = llama_opt(&path("base.gguf"), &path("base.gguf"), &tokens, 1);
        assert!(refused.unwrap_err().to_string().contains("llama.cpp refuses it"));
    }
}
