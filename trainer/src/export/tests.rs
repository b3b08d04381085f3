//! Exported files in llama.cpp, with tiny random models.

use gradients::{AdapterConfig, Architecture, RandomWeights, tiny};
use tempfile::TempDir;

use super::*;

/// A base of random weights in a format, an adapter of random values as large as
/// training makes them, and a text.
fn files(architecture: Architecture, kind: Kind) -> (TempDir, Compared) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let weights = RandomWeights { shape: tiny(architecture), kind, seed: 21 };
    weights.write_gguf(&path("base.gguf")).unwrap();
    let backend = Device::first(DeviceKind::Cpu).unwrap().open(1).unwrap();
    let config = AdapterConfig { rank: 4, alpha: 8.0, seed: 5 };
    let model = Model::load(&backend, &Weights::Random(weights), config, false).unwrap();
    // B starts at zero: small steps of alternating sign in all of it.
    let values: Vec<f32> = model
        .adapter()
        .values()
        .iter()
        .enumerate()
        .map(|(i, value)| value + [0.02, -0.013, 0.007, -0.016][i % 4])
        .collect();
    model.adapter().set_values(&values);
    AdapterFile::of(model.adapter()).write(&path("adapter.gguf"), architecture).unwrap();
    fs::write(path("text"), "Prices rose 4 % while volumes fell; margins are thin.").unwrap();
    let compared = Compared {
        base: path("base.gguf"),
        adapter: path("adapter.gguf"),
        text: path("text"),
        tokens: 40,
        threads: Some(1),
    };
    (directory, compared)
}

#[test]
fn llama_cpp_reads_an_adapter_as_the_trainer_does() {
    for architecture in Architecture::ALL {
        for kind in [Kind::F32, Kind::BF16, Kind::Q8_0] {
            let (directory, compared) = files(architecture, kind);
            let mut args = ParityArgs {
                compared,
                difference_max: 1e-5,
                gradients: false,
                gradient_difference_max: 0.0,
            };
            run_parity(&args).unwrap();
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "nothing is left");
            // The bound bites: without the adapter the two are far apart.
            let text = Text::read(&args.compared).unwrap();
            let live = text.live_adapter(&args.compared.base).unwrap().of(&text.tokens);
            let bare = Llama::load(&args.compared.base).unwrap();
            let bare = { bare }.evaluate(None, &text.tokens, 1).unwrap().of(&text.tokens);
            let apart = mean(live.iter().zip(&bare).map(|(a, b)| f64::from((a - b).abs())));
            assert!(apart > 1e-2, "{architecture:?} {kind:?}: {apart}");
            args.difference_max = 1e-12;
            let message = run_parity(&args).unwrap_err().to_string();
            assert!(message.contains("differ by"), "{message}");
        }
    }
}

#[test]
fn a_merge_that_keeps_the_adapter_passes_and_one_that_loses_it_is_refused() {
    for architecture in Architecture::ALL {
        let (directory, compared) = files(architecture, Kind::parse("q4_1").unwrap());
        let out = directory.path().join("merged.gguf");
        let within = |merged_type| {
            let export = Export { merged_type, kl_max: 1e-3, ..Export::default() };
            merge_within(&export, &compared, &out)
        };
        let message = within(MergedType::Q4_1).unwrap_err().to_string();
        assert!(message.contains("is not the adapter any more"), "{message}");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        assert!(!out.exists());
        assert_eq!(names(), 3, "no candidate is left");
        for merged_type in [MergedType::Q8_0, MergedType::Bf16] {
            within(merged_type).unwrap();
            assert!(out.exists());
            assert_eq!(names(), 4, "no candidate is left");
            let message = within(merged_type).unwrap_err().to_string();
            assert!(message.contains("merged.gguf exists"), "{message}");
            fs::remove_file(&out).unwrap();
        }
    }
}

/// A released adapter has 16 bits a value, which the hooks do not train.
#[test]
fn gradients_over_a_released_adapter_are_those_of_the_hooks() {
    let (directory, mut compared) = files(Architecture::Llama, Kind::F32);
    let adapter = AdapterFile::read(&compared.adapter).unwrap();
    adapter.write_as(&compared.adapter, Architecture::Llama, Kind::F16).unwrap();
    fs::write(&compared.text, "Prices rose 4 % while volumes fell. ".repeat(10)).unwrap();
    compared.tokens = 300;
    let args = ParityArgs {
        compared,
        difference_max: 1e-4,
        gradients: true,
        gradient_difference_max: 1e-3,
    };
    run_parity(&args).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "nothing is left");
}
