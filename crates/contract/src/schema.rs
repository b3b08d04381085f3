//! The JSON Schema of an answer, and the digest that names this contract.

use domain::{Digest, Ticker};
use jsonschema::Validator;
use serde_json::Value;
use thiserror::Error;

use crate::{phrases::PHRASES, prompt::system_prompt, thesis::DISCLAIMER};

const SCHEMA: &str = include_str!("../../../schemas/thesis.schema.json");

/// `schemas/thesis.schema.json`, compiled once.
#[derive(Debug)]
pub struct Schema {
    document: Value,
    validator: Validator,
}

/// An answer does not have the shape the schema promises.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// The schema itself does not compile.
    #[error("schemas/thesis.schema.json is not a valid schema: {0}")]
    Schema(String),
    /// The instance is invalid.
    #[error("at {path}: {message}")]
    Instance {
        /// JSON pointer into the answer.
        path: String,
        /// What is wrong there.
        message: String,
    },
}

impl Schema {
    /// Compiles the schema, with `format` checked and not just noted.
    ///
    /// # Errors
    /// Fails when the embedded schema is broken, which a test rules out.
    pub fn compile() -> Result<Self, SchemaError> {
        let broken = |e: &dyn std::fmt::Display| SchemaError::Schema(e.to_string());
        let document: Value = serde_json::from_str(SCHEMA).map_err(|e| broken(&e))?;
        let options = jsonschema::options().should_validate_formats(true);
        let validator = options.build(&document).map_err(|e| broken(&e))?;
        Ok(Self { document, validator })
    }

    /// Returns the schema document.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// Validates an answer.
    ///
    /// # Errors
    /// Returns the first place that does not fit.
    pub fn validate(&self, answer: &Value) -> Result<(), SchemaError> {
        self.validator.validate(answer).map_err(|e| SchemaError::Instance {
            path: e.instance_path().to_string(),
            message: e.to_string(),
        })
    }
}

/// Names and texts of files of source code.
macro_rules! code {
    ($($file:literal),* $(,)?) => { [$(($file, include_str!($file))),*] };
}

/// The code that decides what the model reads and may write, and what becomes of it: a
/// change of a rule must show in the digest.
const CODE: [(&str, &str); 16] = code![
    "assemble.rs",
    "direction.rs",
    "invariants.rs",
    "numbers.rs",
    "phrases.rs",
    "plan.rs",
    "prompt.rs",
    "sizing.rs",
    "thesis.rs",
    "verify.rs",
    "../../domain/src/calibration.rs",
    "../../domain/src/evidence.rs",
    "../../domain/src/label.rs",
    "../../domain/src/read.rs",
    "../../domain/src/section.rs",
    "../../domain/src/time.rs",
];

/// Returns the digest over everything that decides what the model reads and may
/// write: system prompt, phrases, schema, ticker rule, disclaimer, version and
/// the code of the rules, here and in `domain`.
#[must_use]
pub fn contract_digest() -> Digest {
    let texts = [system_prompt(), PHRASES, SCHEMA];
    let rules = [env!("CARGO_PKG_VERSION"), Ticker::PATTERN, DISCLAIMER];
    // Length prefixes keep ("ab", "c") and ("a", "bc") apart.
    let framed: String = texts
        .iter()
        .chain(&rules)
        .chain(CODE.iter().map(|(_, text)| text))
        .map(|part| format!("{}:{part}", part.len()))
        .collect();
    Digest::of(framed)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Files that decide nothing of a thesis.
    const APART: [&str; 7] = [
        "lib.rs",
        "rewards.rs",
        "schema.rs",
        "../../domain/src/clock.rs",
        "../../domain/src/digest.rs",
        "../../domain/src/lib.rs",
        "../../domain/src/ticker.rs",
    ];

    #[test]
    fn every_file_of_rules_is_in_the_digest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let known: BTreeSet<&str> = CODE.iter().map(|(file, _)| *file).chain(APART).collect();
        for directory in ["", "../../domain/src/"] {
            for entry in fs::read_dir(root.join(directory)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let file = format!("{directory}{name}");
                let is_code = file.ends_with(".rs");
                assert!(!is_code || known.contains(file.as_str()), "{file}: in CODE or in APART?");
            }
        }
    }

    #[test]
    fn the_schema_compiles_and_holds_the_ticker_rule() {
        let schema = Schema::compile().unwrap();
        let pattern = &schema.document()["properties"]["ticker"]["pattern"];
        assert_eq!(pattern, Ticker::PATTERN);
    }
}
