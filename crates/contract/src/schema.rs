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

/// The code that decides what the model reads and may write: a change of a rule
/// must show in the digest.
const CODE: [&str; 5] = [
    include_str!("direction.rs"),
    include_str!("phrases.rs"),
    include_str!("plan.rs"),
    include_str!("prompt.rs"),
    include_str!("verify.rs"),
];

/// Returns the digest over everything that decides what the model reads and may
/// write: system prompt, phrases, schema, ticker rule, disclaimer, version and
/// the code of the rules.
#[must_use]
pub fn contract_digest() -> Digest {
    let texts = [system_prompt(), PHRASES, SCHEMA];
    let rules = [env!("CARGO_PKG_VERSION"), Ticker::PATTERN, DISCLAIMER];
    // Length prefixes keep ("ab", "c") and ("a", "bc") apart.
    let framed: String = texts
        .iter()
        .chain(&rules)
        .chain(&CODE)
        .map(|part| format!("{}:{part}", part.len()))
        .collect();
    Digest::of(framed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_compiles_and_holds_the_ticker_rule() {
        let schema = Schema::compile().unwrap();
        let pattern = &schema.document()["properties"]["ticker"]["pattern"];
        assert_eq!(pattern, Ticker::PATTERN);
    }
}
